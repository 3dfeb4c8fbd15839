"""replay: the examples of a campaign's earlier rounds, trained on again with a round's own.

Which rounds those are is fixed when the round is (`earlier`), so that a repeated step finds the same ones. Whether and
how many examples are replayed is the stage's `replay`.
"""

from collections.abc import Sequence
from typing import get_args

from selftaught.curation.selection import drawn
from selftaught.records import Example, ExampleKind, Task
from selftaught.round.history import told_rounds
from selftaught.round.job import Earlier, Job, Workplace


def earlier(place: Workplace, line: str, campaign: str) -> tuple[Earlier, ...]:
    """The data of every round of the campaign that has come to an end, promoted or not, oldest first."""
    found: list[Earlier] = []
    for _, told in told_rounds(place, line, campaign):
        digests = {each.kind: each.digest for each in told.datasets}
        found.append(Earlier(tasks=digests["tasks"], examples=digests["examples"]))
    return tuple(found)


def with_replay(place: Workplace, job: Job, own: Sequence[Example]) -> list[Example]:
    """`own`, and after it at most the stage's `replay` examples of each kind from earlier rounds, drawn by the seed.

    The newer of two rounds gives an example that both have. Equal jobs and examples give equal lists.
    """
    known = {example.id for example in own}
    old: dict[str, Example] = {}
    for past in reversed(job.earlier):
        for example in place.rows(past.examples, Example):
            if example.id not in known:
                old.setdefault(example.id, example)
    kinds = ([each for each in old.values() if each.kind == kind] for kind in get_args(ExampleKind))
    return [*own, *(each for kind in kinds for each in drawn(kind, job.blocks.replay, job.seed))]


def drawn_tasks(place: Workplace, job: Job) -> list[Task]:
    """The tasks of all sets that were drawn for this round."""
    return place.rows(job.tasks, Task)


def trained_tasks(place: Workplace, job: Job) -> list[Task]:
    """The training tasks of the earlier rounds whose examples may be replayed."""
    return [task for past in job.earlier for task in place.rows(past.tasks, Task) if task.split == "train"]
