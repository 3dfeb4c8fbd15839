"""Pairs the scores of two models task by task, and refuses where they did not answer the same tasks.

A task on which a verifier failed to judge an answer of either model leaves the pair: an answer that nobody could judge
is neither right nor wrong, and counting it against the one model would be a gain of the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selftaught.core.errors import BadInput
from selftaught.records import Split, TaskScore


@dataclass(frozen=True, slots=True)
class Pairs:
    """Values of both models on one metric and split; value i of both is of task i of `tasks`, which are sorted ids.

    `left` tasks are not among them, and `errors` are the shares of answers of either model that could not be judged;
    `alone` are the tasks of which that is so of the one model's answers and not of the other's.
    """

    champion: tuple[float, ...]
    challenger: tuple[float, ...]
    tasks: tuple[str, ...]
    left: int = 0
    errors: tuple[float, float] = (0.0, 0.0)
    alone: tuple[int, int] = (0, 0)

    @property
    def difference(self) -> NDArray[np.float64]:
        """Challenger minus champion, a task."""
        return np.asarray(self.challenger, float) - np.asarray(self.champion, float)


def common(scores: Sequence[TaskScore]) -> list[TaskScore]:
    """Those of `scores` whose task every model in that metric and split was measured on, in their order."""
    models: dict[tuple[str, str], set[str]] = {}
    measured: dict[tuple[str, str, str], set[str]] = {}
    for score in scores:
        models.setdefault((score.metric, score.split), set()).add(score.model)
        measured.setdefault(_where(score), set()).add(score.model)
    return [score for score in scores if measured[_where(score)] == models[score.metric, score.split]]


def _where(score: TaskScore) -> tuple[str, str, str]:
    return score.metric, score.split, score.task


def pair(scores: Iterable[TaskScore], metric: str, split: Split, champion: str, challenger: str) -> Pairs:
    """The values of `champion` and `challenger` (digests) on `metric` and `split`.

    Raises BadInput when one of them was not measured, or on other tasks than the other, or no task was judged.
    """
    rows = [score for score in scores if score.metric == metric and score.split == split]
    before, after = _by_task(rows, champion), _by_task(rows, challenger)
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
    judged = [task for task in sorted(before) if not before[task].errors and not after[task].errors]
    if not judged:
        raise BadInput(f"no task of the {split} set was judged for both models. Fix the verifier and run again.")
    return Pairs(
        _aligned(judged, before),
        _aligned(judged, after),
        tuple(judged),
        len(before) - len(judged),
        (_errors(before), _errors(after)),
        (_alone(before, after), _alone(after, before)),
    )


def _by_task(rows: Iterable[TaskScore], model: str) -> dict[str, TaskScore]:
    return {row.task: row for row in rows if row.model == model}


def _aligned(tasks: Sequence[str], scores: Mapping[str, TaskScore]) -> tuple[float, ...]:
    return tuple(scores[task].value for task in tasks)


def _alone(scores: Mapping[str, TaskScore], others: Mapping[str, TaskScore]) -> int:
    """How many tasks have an answer that could not be judged among `scores` alone."""
    return sum(score.errors > 0 and not others[task].errors for task, score in scores.items())


def _errors(scores: Mapping[str, TaskScore]) -> float:
    """The share of rollouts that could not be judged; a score without its answers stands for one."""
    answers = sum(max(len(score.passed), 1) for score in scores.values())
    return sum(score.errors for score in scores.values()) / answers
