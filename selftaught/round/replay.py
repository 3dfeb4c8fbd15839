"""replay: the examples of a campaign's earlier rounds, trained on again with a round's own.

Which rounds those are is fixed when the round is (`earlier`), so that a repeated step finds the same ones. Whether and
how many examples are replayed is the stage's `replay`.
"""

from collections.abc import Iterable, Iterator
from typing import get_args

from selftaught.curation.base import drawn
from selftaught.platform import Platform
from selftaught.records import Example, TargetType, Task
from selftaught.round.history import records
from selftaught.round.job import Job, ReplaySource


def earlier(platform: Platform, line: str, campaign: str) -> tuple[ReplaySource, ...]:
    """The data of every round of the campaign that has come to an end, promoted or not, oldest first."""
    found: list[ReplaySource] = []
    for _, past in records(platform, line, campaign):
        digests = {each.kind: each.digest for each in past.round.datasets}
        found.append(ReplaySource(tasks=digests["tasks"], examples=digests["examples"]))
    return tuple(found)


def replayed(platform: Platform, job: Job, own: Iterable[str]) -> list[Example]:
    """At most the stage's `replay` examples of each target from earlier rounds, drawn by the seed, but for its `own`.

    `own` are their texts' ids: an example is the same in two rounds whatever its label, and the newer round gives it.
    Equal jobs and ids give equal lists. Twice as many examples as are replayed are in memory at most, however many
    there are.
    """
    count, drawing = job.blocks.replay, {kind: list[Example]() for kind in get_args(TargetType)}
    for example in _others(platform, job, set(own)):
        kind = drawing[example.target.type]
        kind.append(example)
        if len(kind) > 2 * count:
            kind[:] = drawn(kind, count, job.seed)
    return [example for kind in drawing.values() for example in drawn(kind, count, job.seed)]


def _others(platform: Platform, job: Job, known: set[str]) -> Iterator[Example]:
    """The examples of the earlier rounds, of the newest first, each once and none that is `known`."""
    for past in reversed(job.earlier):
        for example in platform.rows(past.examples, Example):
            if example.text_id not in known:
                known.add(example.text_id)
                yield example


def drawn_tasks(platform: Platform, job: Job) -> list[Task]:
    """The tasks of all sets that were drawn for this round."""
    return list(platform.rows(job.tasks, Task))


def trained_tasks(platform: Platform, job: Job) -> list[Task]:
    """The training tasks of the earlier rounds whose examples may be replayed."""
    return [task for past in job.earlier for task in platform.rows(past.tasks, Task) if task.split == "train"]
