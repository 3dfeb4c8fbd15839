"""Fresh tasks over rounds: every batch is used once whatever is killed, fails or comes late, and no new tasks is a
normal end, in the campaign and in the compiled pipeline.

What one round takes is in tests/tasks/test_dropped.
"""

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.campaign.local import Campaign, RoundResult, Skipped
from selftaught.campaign.order import CampaignOrder
from selftaught.core.canonical import canonical
from selftaught.core.errors import NothingNew, RoundFailed
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Message, Task, dataset
from selftaught.round.intake import drawn, listed, missing, past
from selftaught.settings import Settings
from selftaught.state.ledger import Ledger as RoundLedger
from selftaught.state.ledger import PlanEntry, RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from selftaught.state.tracking import NOTHING_NEW, Tracker
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.source import Inbox
from selftaught.tasks.sources.word_problems import WordProblems
from tests.campaign.test_local import Desk, desk
from tests.plans import fixed
from tests.rounds import (
    BLOCKS,
    ENGINE,
    REPOSITORY,
    Round,
    command,
    database,
    environment,
    model,
    platform,
    recipe,
    recorded_blocks,
    requests,
    written,
)

__all__ = ["database", "desk", "model", "platform", "recorded_blocks", "requests"]

MONDAY = date(2026, 11, 16)
LINE = "line"


def put(bucket: Path, rows: Iterable[Mapping[str, Any]], on: date = MONDAY) -> str:
    """A drop of `rows` in `bucket`."""
    file = bucket.with_name("to-drop.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return batches.write([file], str(bucket), on)


def riddles(word: str, count: int = 26) -> list[dict[str, Any]]:
    return [{"question": f"{word} {chr(97 + n)}?", "answer": str(n)} for n in range(count)]


# The watermark, on claims alone ---------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """A bucket and a store in which rounds are fixed and end as `prepare` and `report` have it, without any model."""

    folder: Path
    train: int = 1000
    dropped: dict[str, set[str]] = field(default_factory=dict)
    number: int = 1
    attempt: int = 0
    began: int = 0

    def __post_init__(self) -> None:
        (self.folder / "bucket").mkdir(parents=True)
        uri = f"sqlite:///{self.folder}/none.db"
        settings = Settings(home=self.folder, store="store", tracking_uri=uri, engines="", events="")
        self.platform = Platform(settings, DirectoryStore(self.folder / "store"), Tracker(uri))
        tasks = {"type": "inbox", "path": str(self.folder / "bucket"), "at_least": 1, "train": self.train}
        stages = [{"sample": {"type": "iid"}, "verify": {"type": "answer_match"}, "evaluate": {"type": "accuracy"}}]
        parsed = {"name": "fresh", "models": {"policy": "none"}, "tasks": tasks, "stages": stages}
        self.recipe = Recipe.parse(json.dumps(parsed))

    def drop(self, count: int, days: int) -> None:
        """A drop of new riddles, dated before or after the others."""
        word = f"R{''.join(chr(97 + int(digit)) for digit in str(len(self.dropped)))}"
        rows = riddles(word, count)
        name = put(self.folder / "bucket", rows, MONDAY + timedelta(days=days))
        self.dropped[name] = {row["question"] for row in rows}

    @property
    def key(self) -> RoundKey:
        return RoundKey(LINE, "campaign", self.number, self.attempt)

    def prepare(self, killed: bool = False) -> bytes | None:
        """Fix the round that is due, unless nothing is new; a killed one has written its tasks and claimed nothing."""
        done = self.platform.store.claimed(PlanEntry(self.key).key)
        if done is not None:
            return done
        try:
            taken = drawn(self.platform, self.recipe, self.key)
        except NothingNew:
            return None
        made = dataset.write(self.folder / "tasks", taken.tasks, "tasks")
        self.platform.store.put("datasets", made.digest, self.folder / "tasks")
        if killed:
            return None
        self.began += 1
        plan = fixed(self.key, made.digest, float(self.began), drops=taken.drops)
        return self.platform.store.claim(PlanEntry(self.key).key, plan)

    def end(self, outcome: str) -> None:
        """End the round that was fixed: it is recorded, or it has failed and is due as another attempt."""
        if self.platform.store.claimed(PlanEntry(self.key).key) is None:
            return
        if outcome == "failed":
            self.attempt += 1
            return
        self.platform.store.claim(RecordEntry(self.key).key, outcome.encode())
        self.number, self.attempt = self.number + 1, 0

    def plans(self, ended: bool) -> list[Mapping[str, Any]]:
        names = [key.removeprefix("plans/") for key in self.platform.store.claims(f"plans/{LINE}")]
        found = (self.platform.store.claimed(f"plans/{n}") for n in names if not ended or self._has_ended(n))
        return [json.loads(plan) for plan in found if plan]

    def _has_ended(self, name: str) -> bool:
        return self.platform.store.claimed(f"rounds/{name}") is not None

    def used(self) -> Counter[str]:
        """How often each batch was used by rounds that have ended."""
        return Counter(drop for plan in self.plans(ended=True) for drop in plan["drops"])

    def tasks(self, ended: bool) -> list[Task]:
        folders = (self.platform.store.local("datasets", plan["tasks"], self.folder) for plan in self.plans(ended))
        return [task for folder in folders for task in dataset.read(folder, Task)]

    def drain(self) -> None:
        """Go on until nothing waits, or it is plain that something always will: too few are made enough by a batch."""
        for _ in range(60):
            if len(self.used()) >= len(self.dropped):
                return
            if self.prepare() is None:
                self.drop(26, 99)
            self.end("refused")


ACTIONS = st.one_of(
    st.tuples(st.just("drop"), st.integers(1, 26), st.integers(-30, 30)),
    st.sampled_from([("prepare",), ("killed",), ("promoted",), ("refused",), ("failed",), ("killed, then promoted",)]),
)


@settings(max_examples=40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(actions=st.lists(ACTIONS, max_size=14), train=st.sampled_from([5, 1000]))
def test_every_drop_is_used_once_in_any_order_of_drops_kills_and_failures(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[Any, ...]], train: int
):
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "home", train)
    for action, *given_ in actions:
        if action == "drop":
            ledger.drop(*given_)
        elif action == "prepare":
            ledger.prepare()
        else:
            ledger.prepare(killed=action.startswith("killed"))
            ledger.end(action.rpartition(" ")[2])
    ledger.drain()
    assert ledger.used() == Counter(dict.fromkeys(ledger.dropped, 1))
    questions = [task.question for task in ledger.tasks(ended=True)]
    assert sorted(questions) == sorted(question for each in ledger.dropped.values() for question in each)
    ever = {(task.question, task.split) for task in ledger.tasks(ended=False)}
    assert len(ever) == len({question for question, _ in ever}), "a task changed its set between rounds"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home")


def test_a_round_that_is_prepared_twice_keeps_its_drops_though_others_came(ledger: Ledger):
    ledger.drop(26, 0)
    first = ledger.prepare()
    ledger.drop(26, -1)
    assert ledger.prepare() == first


def test_a_late_drop_with_an_older_date_is_used(ledger: Ledger):
    ledger.drop(26, 0)
    ledger.prepare()
    ledger.end("promoted")
    ledger.drop(26, -400)
    assert json.loads(ledger.prepare() or "")["drops"] == [list(ledger.dropped)[1]]


def test_a_failed_round_uses_nothing_and_its_tasks_keep_their_sets(ledger: Ledger):
    ledger.drop(26, 0)
    first = json.loads(ledger.prepare() or "")
    ledger.end("failed")
    again = json.loads(ledger.prepare() or "")
    assert (again["drops"], again["tasks"]) == (first["drops"], first["tasks"])


def test_another_campaign_of_the_line_begins_with_nothing_used_and_the_same_sets(ledger: Ledger):
    ledger.drop(26, 0)
    ledger.prepare()
    ledger.end("promoted")
    taken = drawn(ledger.platform, ledger.recipe, RoundKey(LINE, "another"))
    assert sorted((t.question, t.split) for t in taken.tasks) == sorted(
        (t.question, t.split) for t in ledger.tasks(ended=True)
    )


def test_another_line_has_a_past_of_its_own(ledger: Ledger):
    ledger.drop(26, 0)
    ledger.prepare()
    ledger.end("promoted")
    assert past(ledger.platform, "other", "campaign").assigned == []
    assert past(ledger.platform, "lin", "campaign").assigned == []


def test_what_was_used_by_a_day_is_of_the_rounds_that_began_until_then(tmp_path: Path):
    """A watch counts from the round that made the champion on: what later rounds took is new to it."""
    store = DirectoryStore(tmp_path / "store")
    tasks = {
        day: [Task(messages=(Message(role="user", content=day),), answer="1", source="s", split="gate")]
        for day in ("monday", "tuesday", "wednesday")
    }
    platform: Any = SimpleNamespace(store=store, ledger=RoundLedger(store), rows=lambda digest, _: tasks[digest])
    for number, day in enumerate(tasks, 1):
        key = RoundKey(LINE, "campaign", number)
        store.claim(PlanEntry(key).key, fixed(key, day, started=float(number), drops=[day]))
        if day != "wednesday":  # which has not ended
            store.claim(RecordEntry(key).key, b"{}")
    used = {until: past(platform, LINE, "campaign", until) for until in (0.5, 1.0, 2.5, float("inf"))}
    assert [sorted(found.drops) for found in used.values()] == [
        [], ["monday"], ["monday", "tuesday"], ["monday", "tuesday"],
    ]  # fmt: skip
    assert [len(found.seen) for found in used.values()] == [0, 1, 2, 2]
    assert [len(found.assigned) for found in used.values()] == [3] * 4


def test_the_list_says_what_was_used_what_waits_and_what_is_broken(ledger: Ledger):
    ledger.drop(26, 0)
    ledger.prepare()
    ledger.end("refused")
    ledger.drop(3, 1)
    bad = put(ledger.folder / "bucket", [{"question": "No answer?"}], MONDAY + timedelta(days=2))
    found, lacking = listed(ledger.platform, ledger.recipe, LINE, "campaign")
    assert lacking == missing(ledger.platform, ledger.recipe, LINE, "campaign")
    assert lacking is not None
    assert "3 new tasks in 1 batches" in lacking
    assert [(each.state, each.tasks) for each in found] == [("used", None), ("waiting", 3), ("broken", None)]
    assert (found[2].drop, "no column 'answer'" in found[2].problem) == (bad, True)


# Rounds for real ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


def word_problems(seed: int, count: int = 90) -> list[dict[str, Any]]:
    """Rows that the simulated engine can answer."""
    source = WordProblems(train=count, gate=1, report=1, instruction="")
    made = [task for task in source.draw(Draw(seed, seed)) if task.split == "train"]
    return [{"question": task.question, "answer": task.answer} for task in made]


def tasks(bucket: Path, **fields: Any) -> dict[str, Any]:
    """The tasks of a recipe whose tasks are uploaded into `bucket`."""
    instruction = WordProblems(train=1, gate=1, report=1).instruction
    given_ = {"path": str(bucket), "instruction": instruction, "at_least": 50, "guard": 0, "train": 500}
    return {"type": "inbox", "gate": 60, "report": 60, **given_, **fields}


def test_a_line_remembers_the_instruction_of_every_round(ledger: Ledger):
    ledger.drop(26, 0)
    plan = json.loads(ledger.prepare() or "") | {"recipe": {"tasks": {"instruction": "Say a word."}}}
    key = PlanEntry(RoundKey(LINE, "other")).key
    ledger.platform.store.claim(key, json.dumps(plan | {"campaign": "other", "round": 1, "attempt": 0}).encode())
    assert {task.instruction for task in past(ledger.platform, LINE, "campaign").assigned} == {"Say a word."}


def test_prepare_run_twice_gives_the_same_job_and_tells_what_it_used(
    platform: Platform, model: Path, bucket: Path, tmp_path: Path
):
    name = put(bucket, word_problems(1))
    put(bucket, [{"question": "No answer?"}], MONDAY - timedelta(days=1))
    first, again = (Round(tmp_path / each, recipe(model, tasks=tasks(bucket))) for each in ("first", "again"))
    first.prepare()
    put(bucket, word_problems(2), MONDAY - timedelta(days=2))
    again.prepare()
    assert again.job == first.job
    assert first.job.drops == (name,)
    folders = [Path(each.made["tasks"].path) for each in (first, again)]
    assert dataset.manifest(folders[0]) == dataset.manifest(folders[1])
    result = platform.tracker.client.get_run(first.job.run).data
    assert result.tags["selftaught.drops"] == name
    assert "no column 'answer'" in result.tags["selftaught.drops_broken"]
    assert result.metrics["tasks.new"] == len(dataset.read(folders[0], Task))


def short(ended: RoundResult | Skipped) -> tuple[int, int, str]:
    outcome = ended.report.last.outcome if isinstance(ended, RoundResult) else NOTHING_NEW
    return ended.key.number, ended.key.attempt, outcome


def run(desk: Desk, bucket: Path, rounds: int = 1, **changes: Any) -> list[tuple[int, int, str]]:
    return [short(ended) for ended in desk.campaign(rounds, tasks=tasks(bucket), **changes).run()]


def test_a_round_learns_from_drops_and_the_next_one_finds_nothing_new(desk: Desk, bucket: Path, requests: Path):
    put(bucket, word_problems(1, 300))
    assert run(desk, bucket, rounds=3) == [(1, 0, "promoted"), (2, 0, NOTHING_NEW)]
    asked = requests.read_text()
    assert run(desk, bucket) == [(2, 0, NOTHING_NEW)]
    assert requests.read_text() == asked
    assert desk.rounds() == [(1, 0, "promoted"), (2, 0, NOTHING_NEW)]
    (*_, quiet) = desk.platform.tracker.rounds("line", "campaign")
    info = desk.platform.tracker.client.get_run(quiet.run)
    assert info.info.status == "FINISHED"
    assert "0 new tasks in 0 batches" in info.data.tags["selftaught.nothing_new"]
    put(bucket, word_problems(2, 300))
    ((number, attempt, outcome),) = run(desk, bucket)
    assert (number, attempt) == (2, 0)
    assert desk.rounds() == [(1, 0, "promoted"), (2, 0, outcome)]
    assert outcome in ("promoted", "refused")


def test_a_round_that_failed_leaves_its_drops_to_the_next_attempt(desk: Desk, bucket: Path):
    put(bucket, word_problems(1, 300))
    with pytest.raises(RoundFailed):
        run(desk, bucket, curate={"type": "accepted", "minimum": 10_000})
    assert run(desk, bucket) == [(1, 1, "promoted")]


def test_no_new_tasks_start_no_engine_and_adopt_no_model(platform: Platform, bucket: Path, model: Path, tmp_path: Path):
    parsed = Recipe.parse(canonical(recipe(tmp_path / "no-such-model", tasks=tasks(bucket))).decode())
    events: list[Mapping[str, Any]] = []
    (quiet,) = Campaign(platform, CampaignOrder(parsed, "new", "campaign"), events.append).run()
    assert short(quiet) == (1, 0, NOTHING_NEW)
    assert events == []
    assert platform.tracker.versions("new") == []


def test_the_command_ends_with_0_and_says_nothing_new(database: Path, bucket: Path, home: Path, model: Path):
    shutil.copytree(database, home)
    path = written(bucket / "recipe.yaml", recipe(model, tasks=tasks(bucket)))
    done = subprocess.run(
        command(path), cwd=REPOSITORY, env=environment(home), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    plan, found = map(json.loads, done.stdout.splitlines())
    assert (found["round"], found["outcome"]) == (1, "nothing new")
    assert "0 new tasks in 0 batches" in found["reason"] == plan["plan"]["nothing_new"]


def test_the_compiled_pipeline_ends_in_prepare_where_the_drops_went_meanwhile(
    platform: Platform, bucket: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    """The check before the pipeline saw batches, `prepare` sees none: the run ends, and nothing is trained."""
    monkeypatch.setattr("selftaught.campaign.local.nothing_new", lambda *_: None)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, BLOCKS, REPOSITORY))))
    monkeypatch.chdir(REPOSITORY)
    parsed = Recipe.parse(canonical(recipe(model, tasks=tasks(bucket))).decode())
    campaign = Campaign(platform, CampaignOrder(parsed, "line", "campaign"), lambda event: None)
    key = RoundKey("line", "campaign")
    assert [short(ended) for ended in campaign.run()] == [(1, 0, NOTHING_NEW)]
    assert [(r.key, r.outcome) for r in platform.tracker.rounds("line", "campaign")] == [(key, NOTHING_NEW)]
    assert len(platform.tracker.versions("line")) == 1
    assert "nothing new" not in (log := (campaign.folder / "round-1-0" / "log.txt").read_text())
    assert "prepare: " in log and "0 new tasks in 0 batches" in log
    assert "sample" not in log.partition("0 new tasks in 0 batches")[2].partition("Traceback")[0]


def test_what_a_schedule_asks_before_it_starts_is_what_prepare_asks(platform: Platform, bucket: Path, model: Path):
    parsed = Recipe.parse(canonical(recipe(model, tasks=tasks(bucket))).decode())
    assert "0 new tasks" in (missing(platform, parsed, "line", "campaign") or "")
    put(bucket, word_problems(1, 300))
    assert missing(platform, parsed, "line", "campaign") is None
    assert isinstance(parsed.tasks, Inbox)
    assert platform.tracker.rounds("line", "campaign") == []
