"""The step's runner: draw a round's tasks, prove that the sets are disjoint, put them in a fixed order.

Equal sources and draws give equal lists, byte for byte, so that a repeated step gives the same data set.
"""

import hashlib
from collections.abc import Sequence

from selftaught.blocks import Draw, TaskSource
from selftaught.records import Task
from selftaught.tasks.contamination import require_disjoint


def seeds(campaign: str, round: int, attempt: int) -> Draw:
    """The draw of one attempt at one round of `campaign`; a refused round that is tried again gets other tasks."""
    return Draw(campaign=_seed(campaign), round=_seed(campaign, round, attempt))


def _seed(*parts: str | int) -> int:
    """63 bits that follow from `parts` on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def prepare(source: TaskSource, draw: Draw) -> list[Task]:
    """The tasks of all sets, ordered by set (train, gate, report, guard), then by id.

    Raises BadInput when the source cannot give them, RoundFailed when the sets overlap.
    """
    return ordered(source, source.draw(draw))


def ordered(source: TaskSource, tasks: Sequence[Task]) -> list[Task]:
    """`tasks` of `source` in their fixed order. Raises RoundFailed when their sets overlap."""
    require_disjoint(tasks)
    order = list(source.sizes())
    return sorted(tasks, key=lambda task: (order.index(task.split), task.id))
