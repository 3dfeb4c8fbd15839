"""Inputs and results of row sources: what a line's earlier rounds have fixed, and the tasks of a round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selftaught.records import Task
from selftaught.tasks.lean import AnyTask
from selftaught.tasks.sameness import Common


@dataclass(frozen=True, slots=True)
class InboxHistory:
    """What earlier rounds have fixed.

    `assigned` are the tasks of every round of the line, whatever became of it, whose sets are settled; `seen` those of
    the campaign's rounds that have ended, and `drops` the batches that these have used.
    """

    assigned: Sequence[AnyTask] = ()
    seen: Sequence[AnyTask] = ()
    drops: frozenset[str] = frozenset()


NOTHING = InboxHistory()
"""The past of a line that has had no round."""


@dataclass(frozen=True, slots=True)
class TaskDraw:
    """The tasks of a round and the batches that it uses up; `broken` says what is wrong with those set aside."""

    tasks: Sequence[Task]
    drops: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    common: Common | None = None
    """What so many of the rows share that it says nothing of any; None where a source has no rows but its tasks."""
    alike: str = ""
    """Which held-out tasks read much like training tasks without being the same, in words."""
