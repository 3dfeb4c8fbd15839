"""The step's runner: draws a round's tasks, checks that the sets are disjoint, puts them in a fixed order.

Equal sources, draws and pasts give equal lists, byte for byte, so that a repeated step gives the same data set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from selftaught.blocks import Draw, TaskSource
from selftaught.blocks.boundary import called, iterated
from selftaught.core.errors import BadInput
from selftaught.records import Task, named_set
from selftaught.state.round_key import RoundKey
from selftaught.tasks.contamination import alike, require_disjoint
from selftaught.tasks.past import NOTHING, InboxHistory, TaskDraw
from selftaught.tasks.sources.rows import Columns
from selftaught.tasks.splits import PromptedSource


def seeds(key: RoundKey) -> Draw:
    """The draw of one attempt at one round; a round that is tried again gets other tasks."""
    return Draw(campaign=key.campaign_seed, round=key.seed)


FIELD = re.compile(r"(?<=[ (])tasks\.(?=[a-z])")
"""How messages of sources name a field of theirs."""

Sets = Mapping[str, TaskSource]
"""The sources of a recipe's named sets."""
NO_SETS: Sets = {}


def prepare(source: TaskSource, draw: Draw, past: InboxHistory = NOTHING, sets: Sets = NO_SETS) -> list[Task]:
    """The tasks of all sets, ordered by set (train, gate, report, guard, then the named ones), then by id.

    Raises BadInput when the source cannot give them, RoundFailed when the sets overlap.
    """
    return list(taken(source, draw, past, sets).tasks)


def taken(source: TaskSource, draw: Draw, past: InboxHistory = NOTHING, sets: Sets = NO_SETS) -> TaskDraw:
    """The tasks as `prepare` gives them, with what a source of rows tells of them.

    `past` is what the line's rounds have used: such a source keeps a problem in its set, and no held-out task may be
    one that any of them was trained on. Raises as `prepare` does, and NothingNew when too few tasks were uploaded.
    """
    found = _drawn(source, draw, past)
    found = replace(found, tasks=[*found.tasks, *_of_sets(sets, draw)])
    trained = {task.id: task for task in past.assigned if task.split == "train"}.values()
    asked = [source.asked_now(task) for task in trained] if isinstance(source, PromptedSource) else list(trained)
    require_disjoint(found.tasks, found.common, asked)
    order = [*source.sizes(), *map(named_set, sets)]
    tasks = sorted(found.tasks, key=lambda task: (order.index(task.split), task.id))
    return replace(found, tasks=tasks, alike=alike(tasks))


def _drawn(source: TaskSource, draw: Draw, past: InboxHistory) -> TaskDraw:
    if isinstance(source, Columns):
        return called(source, "take", TaskDraw, lambda: source.take(draw, past))
    return TaskDraw(_tasks_of(source, draw))


def _tasks_of(source: TaskSource, draw: Draw) -> list[Task]:
    tasks = list(iterated(source, "draw", Task, lambda: source.draw(draw)))
    if strange := {task.split for task in tasks} - source.sizes().keys():
        raise BadInput(f"tasks '{source.name}': gave tasks of the set {min(strange)}, which is none. Fix the block.")
    return tasks


def _of_sets(sets: Sets, draw: Draw) -> Iterator[Task]:
    """The tasks of named sets: what their sources give for reports, the same in every round of a campaign."""
    for name, source in sets.items():
        try:
            for task in iterated(source, "reported", Task, partial(source.reported, draw)):
                yield task.model_copy(update={"split": named_set(name)})
        except BadInput as error:
            said = FIELD.sub(f"sets.{name}.tasks.", str(error))
            raise BadInput(f"sets.{name}: {said}") from None
