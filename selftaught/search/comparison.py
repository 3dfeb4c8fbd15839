"""What searches found beside what independent answers would have found, at the same new tokens, task by task.

A task's control is a pool of independent answers. Sampling would have stopped where the tree stopped; so what it would
have found is a mean over the orders in which the answers might have come, of those that had ended by then. Within a
request all orders are as likely. Requests stay in theirs: one was made because those before it had come to too little,
so its answers cannot have come first (over all orders of the pool sampling would look worse than it is).
Right is what all verifiers pass. No statistics of its own: intervals over tasks are `selftaught.core.statistics`'.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise, permutations, product
from math import factorial, prod
from typing import Any

import numpy as np

from selftaught.core.statistics import mean_interval
from selftaught.records import Control, Group, Rollout

ORDERS = 1000
"""Orders that are checked: all of them where there are no more, else random ones."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a task: whether it was solved (or how likely), and how many different right answers."""

    solved: float
    distinct: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One task: what its search found in `budget` new tokens, and what independent answers would have.

    The control took `cost` tokens; where they are fewer than `budget` (`short`), sampling would have found more.
    """

    budget: int
    cost: int
    search: Found
    sampling: Found

    @property
    def short(self) -> bool:
        """Whether the pool was used up before the tree had stopped."""
        return self.cost < self.budget


def compared(groups: Iterable[Group]) -> Iterator[Compared]:
    """The comparison of each verified group that has a control; hinted answers are not counted."""
    for group in groups:
        if group.control is not None and group.control.verdicts:
            own = {_said(rollout) for rollout in group.accepted() if not rollout.hinted}
            found = Found(solved=float(bool(own)), distinct=float(len(own)))
            sampling = sampled(group.control, int(group.id, 16))
            yield Compared(group.control.budget, group.control.tokens, found, sampling)


def sampled(control: Control, seed: int) -> Found:
    """What the answers of `control` come to on average, over the orders within requests, until its budget is spent."""
    said = [_said(each) if control.passed(i) else None for i, each in enumerate(control.rollouts)]
    names = {text: name for name, text in enumerate(dict.fromkeys(text for text in said if text is not None))}
    kinds = np.array([-1 if text is None else names[text] for text in said])
    lengths = np.array([rollout.completion_tokens for rollout in control.rollouts])
    orders = _orders(control.requests, seed)
    in_time = np.where(np.cumsum(lengths[orders], axis=1) <= control.budget, kinds[orders], -1)
    different = sum(float((in_time == kind).any(axis=1).mean()) for kind in names.values())
    return Found(solved=float((in_time >= 0).any(axis=1).mean()), distinct=different)


def _orders(requests: Sequence[int], seed: int) -> Any:
    """Orders of the answers of `requests`, one a row: each request's places among themselves."""
    places = [range(*ends) for ends in pairwise(accumulate(requests, initial=0))]
    if prod(map(factorial, requests)) <= ORDERS:
        return np.array([list(chain.from_iterable(order)) for order in product(*map(permutations, places))])
    drawn = np.random.default_rng(seed)
    return np.hstack([drawn.permuted(np.tile(np.array(each), (ORDERS, 1)), axis=1) for each in places])


def _said(rollout: Rollout) -> str:
    """What tells answers apart: their text, white space apart."""
    return " ".join(rollout.text.split())


def figures(tasks: Sequence[Compared]) -> Mapping[str, float]:
    """The comparison over `tasks`, by name; empty where there are none.

    Means of both sides, and the mean difference a task (`gain`) with a 95 % interval (`low`, `high`) where there are
    two tasks or more. `cost` and `budget` are new tokens in all, of the control and of its trees; `short` counts tasks
    whose control was shorter than the tree.
    """
    if not tasks:
        return {}
    values = {
        "tasks": float(len(tasks)),
        "budget": float(sum(task.budget for task in tasks)),
        "cost": float(sum(task.cost for task in tasks)),
        "short": float(sum(task.short for task in tasks)),
    }
    solved = _side_by_side([(task.search.solved, task.sampling.solved) for task in tasks], (-1.0, 1.0))
    distinct = _side_by_side([(task.search.distinct, task.sampling.distinct) for task in tasks], None)
    values |= {f"solved.{name}": value for name, value in solved.items()}
    values |= {f"distinct.{name}": value for name, value in distinct.items()}
    return {f"search.control.{name}": value for name, value in values.items()}


def _side_by_side(pairs: Sequence[tuple[float, float]], bounds: tuple[float, float] | None) -> dict[str, float]:
    means = [sum(side) / len(pairs) for side in zip(*pairs, strict=True)]
    values = {"search": means[0], "sampling": means[1], "gain": means[0] - means[1]}
    if len(pairs) < 2:
        return values
    interval = mean_interval([search - sampling for search, sampling in pairs], bounds=bounds)
    return values | {"low": interval.low, "high": interval.high}
