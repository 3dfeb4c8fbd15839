"""leaks: held-out problems among the training examples, looked for before training and once more before the decision.

No measurement on them would mean anything, so they end the round. How two problems are found to be the same is
`selftaught.tasks.contamination`'s business.
"""

from collections.abc import Iterable, Sequence

from selftaught.core.errors import RoundFailed
from selftaught.platform import Platform
from selftaught.records import Example, Task
from selftaught.round.job import Job
from selftaught.round.replay import trained_tasks
from selftaught.tasks.contamination import check_examples


def require_no_leak(platform: Platform, job: Job, tasks: Sequence[Task], examples: Iterable[Example]) -> None:
    """Raise RoundFailed, naming the problems, when `examples` ask one of the `tasks` of the round that are held out."""
    held_out = [task for task in tasks if task.split != "train"]
    known = {task.id: task for task in (*trained_tasks(platform, job), *tasks) if task.split == "train"}
    if found := check_examples(examples, known, held_out):
        raise RoundFailed(
            "training examples overlap held-out tasks, so nothing measured on them counts:\n" + "\n".join(found)
        )
