"""How full verification keeps a judge: many groups against the time that the judge alone would take.

A judge of 50 ms is asked about 1,000 groups of four answers, as many at once as a step asks, with a journal on disk as
a step keeps it. The baseline is the judge with nothing around it: so many answers of 50 ms at so many at once. Prints
both, their ratio and the processor time, the same for a judge whose answers take 25 to 200 ms (its baseline is their
mean), and one group after the other for comparison, from 40 of them. Usage: `python benchmarks/bench_judging.py`.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from selftaught.blocks import Context, Verifier, silent
from selftaught.records import Group, Judged, Message, Rollout, Task, Turn, Verdict
from selftaught.state.journal import FileJournal
from selftaught.verification.runner import ASKED, verify

GROUPS, ANSWERS, SECONDS = 1_000, 4, 0.05
UNEVEN = (0.025, 0.025, 0.025, 0.05, 0.05, 0.05, 0.1, 0.2)


class Slow(Verifier, type="bench_judge"):
    """Passes everything, after a while."""

    role: str = "judge"
    seconds: tuple[float, ...]

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict a rollout."""
        await asyncio.sleep(self.seconds[int(group.task.answer or 0) % len(self.seconds)])
        return [Verdict.of(self.name, True, "it seems so") for _ in group.rollouts]


def main() -> None:
    """Measure and print."""
    groups = [_group(n) for n in range(GROUPS)]
    for name, seconds in (("50 ms", (SECONDS,)), ("25 to 200 ms", UNEVEN)):
        ideal = GROUPS * sum(seconds) / len(seconds) / ASKED
        took, computed = _took(groups, Slow(seconds=seconds))
        print(
            f"a judge of {name:12} ideal {ideal:6.2f} s   took {took:6.2f} s   ratio {took / ideal:5.2f}   "
            f"processor {computed:5.2f} s"
        )
    print(f"one after the other       about {asyncio.run(_serial(groups[:40])) * GROUPS / 40:6.2f} s")


def _took(groups: Sequence[Group], judge: Verifier) -> tuple[float, float]:
    """Seconds on the clock, and of the processor."""
    with TemporaryDirectory() as folder, FileJournal(Path(folder) / "journal.jsonl", Judged) as journal:
        begin, computed = time.perf_counter(), time.process_time()
        asyncio.run(verify(groups, [judge], Context(), silent, journal))
        return time.perf_counter() - begin, time.process_time() - computed


async def _serial(groups: Sequence[Group]) -> float:
    judge, begin = Slow(seconds=(SECONDS,)), time.perf_counter()
    for group in groups:
        await judge.judge(group, Context())
    return time.perf_counter() - begin


def _group(number: int) -> Group:
    task = Task(messages=(Message(role="user", content=f"How many? {number}"),), answer=str(number), source="bench")
    rollouts = (
        Rollout(task=task.id, index=i, model="m", turns=(Turn(content=f"{i} of them"),), temperature=1.0)
        for i in range(ANSWERS)
    )
    return Group(task=task, rollouts=tuple(rollouts))


if __name__ == "__main__":
    main()
