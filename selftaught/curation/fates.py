"""Fates: what became of a rollout's answers, by their verdicts and those of the task's other rollouts.

It picks nothing: curators do, by these names.
"""

from statistics import fmean
from typing import Literal

from selftaught.records import Group, Rollout

Fate = Literal["all", "passed", "failed", "recovered", "held", "improved", "best"]

OF_TWO: frozenset[Fate] = frozenset({"recovered", "held", "improved"})
"""Those of rollouts with more than one answer."""


def fates(group: Group, at: int) -> set[Fate]:
    """What became of rollout `at`: none of those that need a verdict where a verifier could not give one."""
    found: set[Fate] = {"all"}
    if any(verdict.is_missing for verdict in group.verdicts[at]):
        return found
    passed, rollout = group.passed(at), group.rollouts[at]
    found.add("passed" if passed else "failed")
    if _is_best(group, at):
        found.add("best")
    if len(rollout.answers) > 1:
        *before, last = (answer_score(group, at, position) for position in rollout.answers)
        found |= {"improved"} if last > max(before) else set()
        first = rollout.turns[rollout.answers[0]].name
        found |= {"held" if group.passed(at, first) else "recovered"} if passed else set()
    return found


def answer_score(group: Group, at: int, position: int) -> float:
    """The mean score that the required verifiers gave the answer of rollout `at` in the turn at `position`; else 0."""
    on = group.verdicts_on(at, group.rollouts[at].turns[position].name)
    return fmean([each.score or 0.0 for each in on if each.required] or [0.0])


def _is_best(group: Group, at: int) -> bool:
    """Whether no answer of rollout `at` has a lower score than another to its prompt; of equals the first is best."""
    rollout = group.rollouts[at]
    return all(_rank(group, at, position) >= _best_rank(group, rollout, position) for position in rollout.answers)


def _best_rank(group: Group, rollout: Rollout, position: int) -> tuple[float, int]:
    """The highest rank of an answer that followed what is before `position` in `rollout`."""
    before, turn = _branches(rollout, position)[:-1], rollout.turns[position].name
    return max(
        _rank(group, at, answer)
        for at, other in enumerate(group.rollouts)
        for answer in other.answers
        if _branches(other, answer)[:-1] == before and other.turns[answer].name == turn
    )


def _rank(group: Group, at: int, position: int) -> tuple[float, int]:
    return answer_score(group, at, position), -_branches(group.rollouts[at], position)[-1]


def _branches(rollout: Rollout, position: int) -> tuple[int, ...]:
    """Which branch led to the turn at `position`, turn by turn; independent answers are branches of one turn."""
    said = sum(turn.role == "assistant" for turn in rollout.turns[: position + 1])
    return rollout.path[:said] or (rollout.index,)
