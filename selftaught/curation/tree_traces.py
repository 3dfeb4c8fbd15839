"""Traces of a tree: right answers that the search also valued highly, for the policy to learn.

ReST-MCTS*, Zhang et al. 2024 (arXiv 2406.03816): answer-verified traces of a value above a threshold. Nodes on the way
are not checked.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from selftaught.curation.base import Selection
from selftaught.records import Group, Rollout, TargetType


class TreeTraces(Selection, type="tree_traces"):
    """Pick from the right answers of a tree whose value is at least `threshold`.

    Hinted answers are right by the hint and have no value: they are picked only where `hinted` says so. The reference
    also wants 50 characters; short answers are complete here, so `min_chars` is 0 unless it is set.
    """

    gives: ClassVar[TargetType | None] = "imitate"

    threshold: Annotated[float, Field(ge=0, le=1, description="the value of an answer, at least")] = 0.2
    min_chars: Annotated[NonNegativeInt, Field(description="characters of an answer at least")] = 0
    hinted: Annotated[bool, Field(description="pick right answers that were sampled with a hint, too")] = False

    def candidates(self, group: Group) -> Iterator[Rollout]:
        """The right answers of `group` that are good enough."""
        return (rollout for rollout in group.accepted() if self._good(group, rollout))

    def _good(self, group: Group, rollout: Rollout) -> bool:
        if group.tree is None or len(rollout.text) < self.min_chars:
            return False
        return self.hinted if rollout.hinted else group.tree.nodes[rollout.index].value >= self.threshold
