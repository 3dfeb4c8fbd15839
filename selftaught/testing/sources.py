"""What every task source has to hold to: one draw gives one list, its sets share nothing, and gold answers are right.

Draws are those of a round and of the next one. Whether problems are any good for a model is for a pilot to say.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from selftaught.blocks import Draw, TaskSource
from selftaught.records import Task
from selftaught.tasks.draw import prepare
from selftaught.testing.apart import run_apart
from selftaught.verification.gold import gold_checks
from selftaught.verification.task_check import TaskCheck

FIRST, NEXT = Draw(campaign=1, round=1), Draw(campaign=1, round=2)


def check_source(source: TaskSource) -> Iterator[str]:
    """What `source` does that none may, a sentence each. Raises what a round's draw would."""
    tasks = prepare(source, FIRST)
    if prepare(source, FIRST) != tasks:
        yield "two equal draws gave different tasks"
    given = Counter(task.split for task in tasks)
    yield from (
        f"{split}: {given[split]} tasks, and {size} are asked for"
        for split, size in source.sizes().items()
        if given[split] != size
    )
    if _report(tasks) != _report(prepare(source, NEXT)):
        yield "the report set is another in the next round of a campaign"
    if unknown := [task for task in tasks if task.answer is None and not task.check]:
        yield f"{unknown[0].question!r}: neither an answer nor a check says what is right"
    yield from _wrong_gold(tasks)


def _report(tasks: Sequence[Task]) -> list[str]:
    return [task.id for task in tasks if task.split == "report"]


def _wrong_gold(tasks: Sequence[Task]) -> Iterator[str]:
    for check in run_apart(gold_checks(tasks, [TaskCheck()])):
        if check.first is not None:
            yield f"{check.first.question!r}: its check refuses its own solution: {check.said}"
