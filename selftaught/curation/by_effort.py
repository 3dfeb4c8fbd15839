"""Difficulty by search effort: train on the tasks that took a search long, unsolved ones counting as the hardest.

ThinkLite, Wang et al. 2025 (arXiv 2504.07934), on text: tasks that took more than 5 iterations, or were never solved.
Its public script stores solved tasks only and so loses the hardest; here they are counted, and give what they have.
"""

import math
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from selftaught.curation.base import Selection
from selftaught.records import Group, Rollout, TargetType


class ByEffort(Selection, type="by_effort"):
    """Pick from the right answers of tasks that took more than `above` iterations.

    A task that the search did not solve has taken infinitely many: its hinted right answers, if there are any, are
    picked. For searches that stop at the first right answer (`limits.solved`).
    """

    gives: ClassVar[TargetType | None] = "imitate"

    above: Annotated[NonNegativeInt, Field(description="iterations of the search")] = 5

    def candidates(self, group: Group) -> Iterator[Rollout]:
        """The right answers of `group`, if it was hard."""
        return group.accepted() if effort(group) > self.above else iter(())


def effort(group: Group) -> float:
    """The iterations after which the task was solved, those of earlier rounds on the same tree included.

    Infinite when no answer is right without a hint.
    """
    if group.tree is None or all(rollout.hinted for rollout in group.accepted()):
        return math.inf
    return group.tree.iterations
