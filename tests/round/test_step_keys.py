"""What a step's output is kept under: every input that decides the output is in the key, each by itself.

A key that leaves an input out hands a round the output of another one without a word, so each row below changes one
thing and asks for another key. What a step does with its inputs is tested where the step is.
"""

import importlib
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks.packages import package_that_brought
from selftaught.platform import Platform, input_key
from selftaught.records import Example, Group, Record, Rollout, Segment, Task, Turn, dataset
from selftaught.records.dataset import Manifest
from selftaught.round.job import Job, ModelRef, ReplaySource, Reused
from selftaught.round.steps import evaluate, sample, train, verify
from tests.rounds import BLOCKS, SEARCH, Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]
OTHER = ModelRef(digest="f" * 64)
Change = Callable[["Step"], "Step"]
Produce = Callable[[Path, str], Manifest]


class Asked(BaseException):
    """A step asked for the output under this key."""

    def __init__(self, key: str) -> None:
        self.key = key


NOTHING = {"new_tokens": 0.0, "seconds": 0.0}


@dataclass(frozen=True)
class Step:
    """A step about to be run: its name, its job, and the rows that it is given."""

    name: str
    job: Job
    rows: tuple[Record, ...]
    folder: Path
    shard: int = 0
    which: str = "gate"
    challenger: str = "c" * 64

    def key(self, patch: pytest.MonkeyPatch) -> str:
        """The key that the step asks for first."""
        job, data = self.folder / "job.json", self.folder / "data"
        job.write_text(self.job.model_dump_json())
        dataset.write(data, self.rows, _kind(self.rows[0]), counts=NOTHING)
        patch.setattr(Platform, "memoize", _once(self.name))
        patch.setattr("selftaught.round.steps.train.input_key", _raise)
        with pytest.raises(Asked) as asked:
            self._run(str(job), str(data), str(self.folder / "out"))
        return asked.value.key

    def _run(self, job: str, data: str, out: str) -> None:
        match self.name:
            case "sample":
                sample.run(job, self.shard, data, out)
            case "verify" | "curate":
                # The others have no tasks.
                dataset.write(Path(f"{data}-none"), (), "groups", counts=NOTHING)
                verify.run(job, [data, *[f"{data}-none"] * (self.job.shards - 1)], out, f"{out}-examples")
            case "train":
                train.run(job, data, out)
            case _:
                evaluate.run(job, self.challenger, self.which, data, out)


def _once(wanted: str) -> Callable[..., Manifest]:
    """`Platform.memoize` that stops at the step called `wanted`, and makes what comes before it."""

    def once(_: Platform, step: str, inputs: Mapping[str, Any], out: Path, produce: Produce) -> Manifest:
        if step == wanted:
            raise Asked(input_key(step, inputs))
        return produce(out, "")

    return once


def _raise(step: str, inputs: Mapping[str, Any]) -> str:
    raise Asked(input_key(step, inputs))


def _kind(row: Record) -> str:
    kinds: dict[type[Record], str] = {Task: "tasks", Group: "groups", Example: "examples"}
    return kinds[type(row)]


# What is changed ------------------------------------------------------------------------------------------------------


def job(**changes: Any) -> Change:
    """Fields of the job."""
    return lambda step: _replaced(step, job=step.job.model_copy(update=changes))


def stage(**changes: Any) -> Change:
    """Fields of the recipe's only stage, as in YAML."""

    def changed(step: Step) -> Step:
        found = step.job.recipe.model_dump(mode="json")
        found["stages"] = [found["stages"][0] | changes]
        return _replaced(step, job=step.job.model_copy(update={"recipe": type(step.job.recipe).model_validate(found)}))

    return changed


def asked(**changes: Any) -> Change:
    """Fields of the recipe itself, as in YAML."""

    def changed(step: Step) -> Step:
        found = step.job.recipe.model_dump(mode="json") | changes
        return _replaced(step, job=step.job.model_copy(update={"recipe": type(step.job.recipe).model_validate(found)}))

    return changed


def given(**changes: Any) -> Change:
    """The step's own arguments."""
    return lambda step: _replaced(step, **changes)


def fewer(step: Step) -> Step:
    """Two rows less, one of each shard."""
    return _replaced(step, rows=step.rows[:-2])


def corrected(step: Step) -> Step:
    """The same tasks with another worked solution."""
    texts = {"reference": "3 and 4 make 7."}
    return _replaced(step, rows=tuple(row.model_copy(update={"texts": texts}) for row in step.rows))


def _replaced(step: Step, **changes: Any) -> Step:
    return Step(**{name: getattr(step, name) for name in Step.__dataclass_fields__} | changes)


REUSED = Reused(round="line/campaign/1-0", trees="a" * 64, rows=3, valued=True)
SAMPLE = {"type": "iid", "k": 2, "max_tokens": 32}
QUIET = asked(chat_template={"enable_thinking": False})
SEED, ACCURACY = job(seed=7), {"type": "accuracy"}
VERIFY = stage(verify=[{"type": "answer_match"}, {"type": "equations"}])
MATTERS: list[tuple[str, str, Change]] = [
    ("sample", "policy", job(sampler=OTHER)),
    ("sample", "temperature", stage(sample=SAMPLE | {"temperature": 0.3})),
    ("sample", "how tokens are drawn", stage(sample=SAMPLE | {"top_p": 0.9})),
    ("sample", "variables of the chat template", QUIET),
    ("verify", "variables of the chat template", QUIET),
    ("train", "variables of the chat template", QUIET),
    ("evaluate", "variables of the chat template", QUIET),
    ("sample", "number of samples", stage(sample=SAMPLE | {"k": 3})),
    ("sample", "kind of sampler", stage(sample=SEARCH)),
    ("sample", "seed", SEED),
    ("sample", "shard", given(shard=1)),
    ("sample", "number of shards", job(shards=3)),
    ("sample", "tasks", fewer),
    ("sample", "texts of tasks", corrected),
    ("sample", "earlier rounds' trees", job(reused=(REUSED,))),
    ("verify", "groups", fewer),
    ("verify", "verifiers", VERIFY),
    ("curate", "verified groups", fewer),
    ("curate", "curators", stage(curate=[{"type": "accepted", "per_task": 1, "minimum": 1}])),
    ("curate", "replay", stage(replay=5)),
    ("curate", "earlier rounds", job(earlier=(ReplaySource(tasks="a" * 64, examples="b" * 64),))),
    ("curate", "tasks, among which no example may be", job(tasks="c" * 64)),
    ("curate", "seed", SEED),
    ("train", "model", job(trainee=OTHER)),
    ("train", "models beside the policy", job(trainees={"value": OTHER})),
    ("train", "examples", fewer),
    ("train", "settings of the objective", stage(train=[{"type": "nudge", "gain": 0.1}])),
    ("train", "objectives", stage(train=[{"type": "nudge"}, {"type": "nudge"}])),
    ("train", "seed", SEED),
    ("evaluate", "model", job(champion=OTHER)),
    ("evaluate", "set", given(which="report")),
    ("evaluate", "tasks", fewer),
    ("evaluate", "texts of tasks", corrected),
    ("evaluate", "metrics", stage(evaluate=[ACCURACY, {"type": "pass_at_k", "k": 2}])),
    ("evaluate", "sampling of a metric", stage(evaluate=[ACCURACY | {"max_tokens": 5}])),
    ("evaluate", "tasks of a metric", stage(evaluate=[ACCURACY | {"tasks": 3}])),
    ("evaluate", "verifiers of a metric", stage(evaluate=[ACCURACY | {"verify": {"type": "equations"}}])),
]
"""Step, what is changed, and the change."""


@pytest.fixture
def steps(platform: Platform, model: Path, tmp_path: Path) -> Callable[[str], Step]:
    """The steps of a prepared round, each with rows that it could work on."""
    prepared = Round(tmp_path / "round", recipe(model))
    prepared.prepare()
    tasks = dataset.read(Path(prepared.made["tasks"].path), Task)
    splits = sorted(tasks, key=lambda task: task.split == "train")
    held_out = sorted((task for task in tasks if task.split != "train"), key=lambda task: task.split == "gate")
    groups = tuple(map(_group, tasks[:3]))
    examples = tuple(_example(group) for group in groups)
    rows = {"sample": splits, "verify": groups, "curate": groups, "train": examples, "evaluate": held_out}
    return lambda name: Step(name, prepared.job, tuple(rows[name]), tmp_path)


def _group(task: Task) -> Group:
    turns = (Turn(content="The answer is 1."),)
    return Group(task=task, rollouts=(Rollout(task=task.id, index=0, model="m", turns=turns, temperature=1.0),))


def _example(group: Group) -> Example:
    said = (Segment.context(group.task.messages), Segment.answer("The answer is 1."))
    return Example(sequences=(said,), task=group.id, rollout=group.rollouts[0].id)


@pytest.mark.parametrize("name", ["sample", "verify", "curate", "train", "evaluate"])
def test_what_decides_a_steps_output_is_in_its_key_and_nothing_else(
    steps: Callable[[str], Step], monkeypatch: pytest.MonkeyPatch, name: str
):
    step = steps(name)
    key = step.key(monkeypatch)
    changes = {what: change for step, what, change in MATTERS if step == name}
    assert [what for what, change in changes.items() if change(step).key(monkeypatch) == key] == []
    assert job(started=step.job.started + 1)(step).key(monkeypatch) == key


def _of_tomorrow(package: str) -> str:
    return f"{package} of tomorrow"


JUDGED = stage(verify=[{"type": "judged"}])
ASKING = stage(sample={"type": "rationalise", "k": 2, "max_tokens": 32}, verify=[{"type": "judged"}])


def measured_by_a_judge(step: Step) -> Step:
    """On the report set: a gate refuses a judge that the recipe does not name."""
    metric = {"type": "accuracy", "verify": {"type": "judged"}}
    return given(which="report")(stage(evaluate=[metric], gate=None)(step))


@pytest.mark.parametrize(
    ("name", "asks", "matters"),
    [
        ("sample", JUDGED, False),
        ("sample", ASKING, True),
        ("verify", JUDGED, True),
        ("evaluate", JUDGED, False),
        ("evaluate", measured_by_a_judge, True),
        ("train", JUDGED, False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_judge_is_in_the_keys_of_the_steps_that_ask_it(
    steps: Callable[[str], Step], monkeypatch: pytest.MonkeyPatch, name: str, asks: Change, matters: bool
):
    step = asks(steps(name))
    judges = [job(roles={"judge": ModelRef(digest=letter * 64)})(step).key(monkeypatch) for letter in "ab"]
    assert len(set(judges)) == (2 if matters else 1)


@pytest.mark.parametrize(
    ("name", "change", "matters"),
    [
        ("sample", JUDGED, False),
        ("verify", JUDGED, True),
        ("verify", given(), False),
        ("curate", given(), False),
        ("train", given(), True),
        ("evaluate", measured_by_a_judge, True),
        ("evaluate", given(), False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_new_version_of_a_package_is_in_the_keys_of_the_steps_that_use_its_blocks(
    steps: Callable[[str], Step],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    change: Change,
    matters: bool,
):
    step, about = change(steps(name)), BLOCKS / "recorded_blocks-0.1.dist-info"
    before = step.key(monkeypatch)
    newer = tmp_path / "site" / "recorded_blocks-0.2.dist-info"
    shutil.copytree(about, newer)
    (newer / "METADATA").write_text((about / "METADATA").read_text().replace("0.1", "0.2"))
    monkeypatch.setattr(sys, "path", [str(newer.parent), *sys.path])
    package_that_brought.cache_clear()
    assert (step.key(monkeypatch) != before) == matters
    package_that_brought.cache_clear()


def test_a_role_without_a_model_is_the_policy_in_keys(steps: Callable[[str], Step], monkeypatch: pytest.MonkeyPatch):
    """Verdicts that a policy gave on its own answers are no other policy's."""
    step = JUDGED(steps("verify"))
    own = step.key(monkeypatch)
    assert job(roles={"judge": step.job.sampler})(step).key(monkeypatch) == own
    assert job(sampler=OTHER)(step).key(monkeypatch) != own


RATIONALISE = {"type": "rationalise", "k": 2, "max_tokens": 32}
GUIDED = stage(evaluate=[ACCURACY, {"type": "strategy", "label": "it", "sample": RATIONALISE}])


@pytest.mark.parametrize(("name", "asks"), [("sample", stage(sample=RATIONALISE)), ("evaluate", GUIDED)])
def test_the_stages_verifiers_are_in_the_key_where_a_sampler_may_ask_them_and_nowhere_else(
    steps: Callable[[str], Step], monkeypatch: pytest.MonkeyPatch, name: str, asks: Change
):
    plain, asking = steps(name), asks(steps(name))
    assert VERIFY(plain).key(monkeypatch) == plain.key(monkeypatch)
    assert VERIFY(asking).key(monkeypatch) != asking.key(monkeypatch)


def test_other_software_measures_again(steps: Callable[[str], Step], monkeypatch: pytest.MonkeyPatch):
    """The champion's kept scores would be of other conditions than those that the challenger is measured under."""
    step = steps("evaluate")
    keys = [step.key(monkeypatch)]
    monkeypatch.setattr("selftaught.round.steps.evaluate.version", _of_tomorrow)
    keys.append(step.key(monkeypatch))
    monkeypatch.setenv("SELFTAUGHT_RUNTIME", "another")
    keys.append(step.key(monkeypatch))
    assert len(set(keys)) == 3


def test_what_is_installed_here_is_no_condition_where_a_cluster_answers(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
):
    """A round that was begun in Pods and resumes from a machine with vLLM takes the scores that there are."""
    away = replace(platform, settings=platform.settings.model_copy(update={"serving": "kserve"}))
    before = evaluate.conditions(away, [])
    monkeypatch.setattr("selftaught.round.steps.evaluate.version", _of_tomorrow)
    assert evaluate.conditions(away, []) == before
    assert evaluate.conditions(platform, []) != before


def test_another_engine_of_the_cluster_measures_again(platform: Platform):
    """The runtime is called the same after an upgrade."""

    def measured_by(image: str) -> dict[str, str]:
        settings = platform.settings.model_copy(update={"serving": "kserve", "image_engine": image})
        return evaluate.conditions(replace(platform, settings=settings), [])

    assert measured_by("engine@sha256:1") != measured_by("engine@sha256:2")


def test_a_verifiers_code_is_a_condition_of_its_scores(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also of one that another package brings, whose fields are the same after its bug was fixed."""
    module = tmp_path / "mine_that_verifies.py"
    module.write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]
    mine: Any = importlib.import_module(module.stem).Mine()
    before = evaluate.conditions(platform, [mine])
    assert evaluate.conditions(platform, [mine]) == before
    module.write_text("class Mine: right = True\n")
    after = evaluate.conditions(platform, [mine])
    assert {name for name in before if before[name] != after[name]} == {"code"}
