"""Which training rollouts the page shows in full: some accepted, some rejected, and what a verifier could not judge."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from selftaught.records import Group, Rollout, Task, Verdict

Judgement = Literal["accepted", "rejected", "error"]
EACH = 8
"""How many rollouts of each judgement are shown."""


@dataclass(frozen=True, slots=True)
class JudgedRollout:
    """One training rollout and what the verifiers said of it."""

    task: Task
    rollout: Rollout
    verdicts: tuple[Verdict, ...]
    judgement: Judgement


def to_read(groups: Iterable[Group]) -> list[JudgedRollout]:
    """Up to `EACH` rollouts of each judgement, no two of one judgement from one task, in the order of `groups`."""
    groups = list(groups)
    kinds: tuple[Judgement, ...] = ("accepted", "rejected", "error")
    return [judged for kind in kinds for judged in islice(_firsts(groups, kind), EACH)]


def _firsts(groups: Iterable[Group], kind: Judgement) -> Iterator[JudgedRollout]:
    for group in groups:
        of_kind = (judged for judged in _judged(group) if judged.judgement == kind)
        yield from islice(of_kind, 1)


def _judged(group: Group) -> Iterator[JudgedRollout]:
    for i, (rollout, verdicts) in enumerate(zip(group.rollouts, group.verdicts, strict=False)):
        judgement = "error" if any(v.error for v in verdicts) else "accepted" if group.passed(i) else "rejected"
        yield JudgedRollout(group.task, rollout, verdicts, judgement)
