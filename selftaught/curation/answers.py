"""Answers of a group as curators compare them: what was said, and what the verifiers said of it.

An answer is the last one of a rollout, that of a turn by its name, or the task's worked solution. Only what the model
ended itself, and was asked for without the right answer in sight, counts. Which answers are paired is the curators'
business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from selftaught.curation.base import asked_with, distinct, drawn, is_complete, sampled, segments
from selftaught.records import Group, Message, Rollout, Segment, content_id, in_words


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: what is said to the task, and what the verifiers said of it; no score where they said nothing.

    `at` is the position of the turn in its dialogue that it is, and `asked` what that turn was asked with.
    """

    id: str
    said: tuple[Segment, ...]
    passed: bool = False
    score: float | None = None
    at: int = 0
    asked: tuple[Message, ...] = ()

    @property
    def text(self) -> list[str]:
        """Its words."""
        return [word for segment in self.said for message in segment.messages for word in in_words(message).split()]


def complete(group: Group) -> Iterator[tuple[int, Rollout]]:
    """The rollouts of `group` that the model ended itself and that were not hinted, with their places."""
    for at, rollout in enumerate(group.rollouts):
        if is_complete(rollout) and not rollout.hinted:
            yield at, rollout


def judged(group: Group) -> list[tuple[int, Rollout]]:
    """Of those that are `complete`, the ones that every required verifier could judge, with their places."""
    return [(at, rollout) for at, rollout in complete(group) if group.was_judged(at)]


def answers(group: Group, seed: int, by: str | None) -> list[Answer]:
    """The last answers of complete rollouts, each text once, in the order drawn; `by` gives scores (None: all do)."""
    own = distinct(rollout for _, rollout in complete(group))
    return [_last(group, rollout, by) for rollout in drawn(own, None, seed)]


def turns(group: Group, names: tuple[str, str], seed: int, by: str | None) -> Iterator[tuple[Answer, Answer]]:
    """What was said in the turns of those `names`, of each rollout in which both were, in the order drawn."""
    for rollout in drawn(group.rollouts, None, seed):
        one, other = (_turn(group, rollout, name, by) for name in names)
        if one and other:
            yield one, other


def reference(group: Group, field: str) -> list[Answer]:
    """The worked solution, where the task has one."""
    text = group.task.texts.get(field)
    return [Answer(content_id([group.id, field]), (Segment.answer(text),))] if text else []


def _last(group: Group, rollout: Rollout, by: str | None) -> Answer:
    at = group.rollouts.index(rollout)
    said = sampled(group, rollout).sequences[0][1:]
    return Answer(rollout.id, said, group.passed(at), _score(group, at, "", by))


def _turn(group: Group, rollout: Rollout, name: str, by: str | None) -> Answer | None:
    """None where it was not said, was cut off, or follows a hint."""
    at = next((at for at, turn in enumerate(rollout.turns) if turn.name == name), None)
    if at is None or any(turn.hinted for turn in rollout.turns[: at + 1]):
        return None
    turn = rollout.turns[at]
    if turn.finish_reason != "stop":
        return None
    index = group.rollouts.index(rollout)
    return Answer(
        content_id([rollout.id, name]),
        tuple(segments(turn)),
        group.passed(index, name),
        _score(group, index, name, by),
        at,
        asked_with(group, rollout, at),
    )


def _score(group: Group, at: int, turn: str, by: str | None) -> float | None:
    """The score of that answer of rollout `at`; None where it has none, or could not be judged."""
    found: Sequence[float] = [
        each.score for each in group.verdicts_on(at, turn) if each.score is not None and by in (None, each.verifier)
    ]
    return fmean(found) if found and group.was_judged(at, turn) else None
