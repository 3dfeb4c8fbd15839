"""The verify step: groups and examples pass through it, and what must not be trained on leaves nothing behind."""

import weakref
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.records import Example, Group, Record, Rollout, Task, Turn, dataset
from selftaught.records.dataset import Writer
from selftaught.verification.runner import IN_FLIGHT
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]

RIGHT = 4
"""Rollouts a task, all of them right."""


def sampled(folder: Path, model: Path, tasks: int, **stage: object) -> Round:
    """A round of `tasks` training tasks whose shards are there, as `sample` leaves them."""
    round = Round(folder, recipe(model, tasks={"train": tasks}, **stage), campaign=folder.name)
    round.prepare()
    drawn = dataset.read(Path(round.artifact("tasks").path), Task)
    mine = sorted((task for task in drawn if task.split == "train"), key=lambda task: task.id)
    for shard in range(round.shards):
        rows = [answered(task) for task in mine[shard :: round.shards]]
        fields = {"new_tokens": 1.0, "seconds": 1.0}
        dataset.write(Path(round.artifact(f"groups-{shard}").path), rows, "groups", counts=fields)
    return round


def answered(task: Task) -> Group:
    said = [(Turn(content=f"Way {index}. The answer is {task.answer}.", token_ids=(1, 2)),) for index in range(RIGHT)]
    fields = {"task": task.id, "model": "m", "temperature": 1.0}
    return Group(task=task, rollouts=tuple(Rollout(index=n, turns=turns, **fields) for n, turns in enumerate(said)))


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> dict[type, list[int]]:
    """By kind of row how many of those that were read or written were there at once, noted at each row written."""
    rows: list[weakref.ref[Record]] = []
    counts: dict[type, list[int]] = {Group: [], Example: []}
    read, add = Record.from_row.__func__, Writer.add

    def noted_read(cls: type[Record], row: dict[str, object]) -> Record:
        made = read(cls, row)
        rows.append(weakref.ref(made))
        return made

    def noted_add(self: Writer, row: Record) -> None:
        rows.append(weakref.ref(row))
        there = {id(each): type(each) for ref in rows if (each := ref()) is not None}
        for kind, most in counts.items():
            most.append(list(there.values()).count(kind))
        add(self, row)

    monkeypatch.setattr(Record, "from_row", classmethod(noted_read))
    monkeypatch.setattr(Writer, "add", noted_add)
    return counts


def test_groups_and_examples_pass_through_however_many_there_are(
    platform: Platform, model: Path, tmp_path: Path, alive: dict[type, list[int]]
):
    tasks = 4 * IN_FLIGHT
    curators = [{"type": "accepted", "per_task": None}, {"type": "unfiltered", "max_examples": 20}]
    round = sampled(tmp_path / "round", model, tasks, curate=curators)
    round.verify()
    assert dataset.manifest(Path(round.artifact("examples").path)).rows == tasks * RIGHT
    assert max(alive[Group]) <= 2 * (IN_FLIGHT + round.shards)  # each as it came, and with its verdicts
    assert max(alive[Example]) <= 2 * RIGHT


def test_a_held_out_problem_among_the_examples_leaves_no_examples(
    platform: Platform, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    round = sampled(tmp_path / "round", model, 12)
    drawn = dataset.read(Path(round.artifact("tasks").path), Task)
    leaked = [answered(next(task for task in drawn if task.split == "gate"))]
    dataset.write(Path(round.artifact("groups-0").path), leaked, "groups", counts={"new_tokens": 1.0, "seconds": 1.0})
    with pytest.raises(SystemExit):
        round.verify()
    assert "training examples overlap held-out tasks" in capsys.readouterr().err
    assert Path(round.artifact("verified").path).exists()
    assert list(tmp_path.rglob("*examples*")) == []
