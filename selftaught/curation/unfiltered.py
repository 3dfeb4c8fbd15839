"""Unfiltered rollouts: the control that shows whether the verifier does the work.

The same selection as `accepted`, without a look at the verdicts. Set `max_examples` to the number that `accepted`
gave, so that both train on as much. It is not meant to be promoted.
"""

from collections.abc import Sequence
from typing import ClassVar

from selftaught.curation.base import Selection
from selftaught.records import Group, Rollout, TargetType


class Unfiltered(Selection, type="unfiltered"):
    """Pick from all rollouts, right or wrong."""

    gives: ClassVar[TargetType | None] = "imitate"

    def candidates(self, group: Group) -> Sequence[Rollout]:
        """All rollouts of `group`."""
        return group.rollouts
