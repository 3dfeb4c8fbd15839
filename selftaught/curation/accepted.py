"""Accepted rollouts: train on what every verifier passed.

Rejection-sampling fine-tuning, Yuan et al. 2023 (arXiv 2308.01825): distinct right answers of each task, capped, so
that easy tasks do not fill the data set. It does not weigh or pair examples.
"""

from collections.abc import Iterator
from typing import ClassVar

from selftaught.curation.base import Selection
from selftaught.records import Group, Rollout, TargetType


class Accepted(Selection, type="accepted"):
    """Pick from the rollouts that all verifiers passed."""

    gives: ClassVar[TargetType | None] = "imitate"

    def candidates(self, group: Group) -> Iterator[Rollout]:
        """The accepted rollouts of `group`."""
        return group.accepted()
