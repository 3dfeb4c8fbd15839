"""Pairs the scores of two models task by task, and refuses where they did not answer the same tasks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selftaught.errors import BadInput
from selftaught.records import Split, TaskScore


@dataclass(frozen=True, slots=True)
class Pairs:
    """Values of both models on one metric and split; value i of both is of task i, tasks by id."""

    champion: tuple[float, ...]
    challenger: tuple[float, ...]


def common(scores: Sequence[TaskScore]) -> list[TaskScore]:
    """Those of `scores` whose task every model in them was measured on, by metric and split, in their order."""
    models = {score.model for score in scores}
    measured: dict[tuple[str, str, str], set[str]] = {}
    for score in scores:
        measured.setdefault(_where(score), set()).add(score.model)
    return [score for score in scores if measured[_where(score)] == models]


def _where(score: TaskScore) -> tuple[str, str, str]:
    return score.metric, score.split, score.task


def pair(scores: Iterable[TaskScore], metric: str, split: Split, champion: str, challenger: str) -> Pairs:
    """The values of `champion` and `challenger` (digests) on `metric` and `split`.

    Raises BadInput when one of them was not measured, or on other tasks than the other.
    """
    rows = [score for score in scores if score.metric == metric and score.split == split]
    before, after = _values(rows, champion), _values(rows, challenger)
    for digest, values in ((champion, before), (challenger, after)):
        if not values:
            raise BadInput(
                f"no '{metric}' scores of model {digest[:8]} on the {split} set. Evaluate both models with '{metric}'."
            )
    if apart := sorted(before.keys() ^ after.keys()):
        raise BadInput(
            f"models {champion[:8]} and {challenger[:8]} were measured on different tasks of the {split} set: "
            f"{len(apart)} were answered by one of them alone ({apart[0]} first). Evaluate both on the same set."
        )
    return _aligned(sorted(before), before, after)


def _values(rows: Iterable[TaskScore], model: str) -> dict[str, float]:
    return {row.task: row.value for row in rows if row.model == model}


def _aligned(tasks: Sequence[str], before: dict[str, float], after: dict[str, float]) -> Pairs:
    return Pairs(tuple(before[task] for task in tasks), tuple(after[task] for task in tasks))
