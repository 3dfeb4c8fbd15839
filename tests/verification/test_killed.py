"""Verification that is killed half-way: what a judge had said is kept, and nobody asks it again."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from selftaught.records import Judged
from selftaught.state.journal import FileJournal
from selftaught.verification.runner import ASKED
from tests.rounds import REPOSITORY
from tests.waiting import until

GROUPS = 4 * ASKED
PROGRAM = f"""
import asyncio, json, sys
from pathlib import Path
from selftaught.blocks import Context, Verifier
from selftaught.records import Group, Judged, Message, Rollout, Task, Turn, Verdict
from selftaught.state.journal import FileJournal
from selftaught.verification.runner import verify

folder, seconds = Path(sys.argv[1]), float(sys.argv[2])

class Judge(Verifier, type="slow_judge"):
    role: str = "judge"
    async def verify(self, group, context):
        with (folder / "asked").open("a") as file:
            file.write(group.id + "\\n")
        await asyncio.sleep(seconds * (1 + int(group.task.answer) % 7))
        return [Verdict.of(self.name, int(group.task.answer) % 2 == 0) for _ in group.rollouts]

def group(n):
    task = Task(messages=(Message(role="user", content=str(n)),), answer=str(n), source="test")
    said = Rollout(task=task.id, index=0, model="m", turns=(Turn(content=str(n)),), temperature=1.0)
    return Group(task=task, rollouts=(said,))

with FileJournal(folder / "journal.jsonl", Judged) as journal:
    groups = [group(n) for n in range({GROUPS})]
    made = asyncio.run(verify(groups, [Judge()], Context(), lambda *_, **__: None, journal))
print(json.dumps([[each.task.question, each.passed(0)] for each in made]))
"""


def begun(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_nothing_that_was_answered_before_a_kill_is_asked_again(tmp_path: Path):
    killed = begun(tmp_path, 0.05)
    until(lambda: len(lines(tmp_path / "journal.jsonl")) > ASKED)
    killed.kill()
    killed.communicate()
    with FileJournal(tmp_path / "journal.jsonl", Judged) as journal:
        kept = journal.read().keys()
    before = lines(tmp_path / "asked")
    assert ASKED < len(kept) < len(before) < GROUPS
    found, _ = begun(tmp_path, 0).communicate()
    assert json.loads(found) == [[str(n), n % 2 == 0] for n in range(GROUPS)]
    after = lines(tmp_path / "asked")[len(before) :]
    assert not kept & set(after)
    asked = Counter([*before, *after])
    assert len(asked) == GROUPS
    assert {id for id, times in asked.items() if times > 1} == set(before) - kept
