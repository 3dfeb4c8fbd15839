"""minted: tasks that a model wrote, and that are too much like a held-out one, are left out of training.

A drawn task that is held out ends the round (`leaks`); a written one costs itself, since nobody chose it.
"""

from collections.abc import Sequence

from selftaught.platform import Platform
from selftaught.records import Task
from selftaught.round.job import Job
from selftaught.round.replay import drawn_tasks, trained_tasks
from selftaught.tasks.contamination import giving_away


def leaking(platform: Platform, job: Job, minted: Sequence[Task]) -> frozenset[str]:
    """The ids of the tasks that a model wrote, `minted`, and that give a held-out task of the round away."""
    if not minted:
        return frozenset()
    tasks = drawn_tasks(platform, job)
    train = [task for task in (*trained_tasks(platform, job), *tasks) if task.split == "train"]
    return giving_away(minted, train, [task for task in tasks if task.split != "train"])
