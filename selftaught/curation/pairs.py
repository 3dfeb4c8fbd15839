"""Pairs: of two answers to one task, which is to be preferred; whole answers, each behind the task's own prompt.

What the sides are is what methods differ in: right over wrong (iterative RPO, Pang et al. 2024, arXiv 2404.19733), best
over worst by a judge's scores (DNO, Rosset et al. 2024, arXiv 2404.03715), the worked solution over the model's own
answer (SPIN, Chen et al. 2024, arXiv 2401.01335). Steps of trees are paired by `step_pairs`; how pairs are learnt from
is the objective's business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import override

from selftaught.curation.base import PerGroupCurator, asked, distinct, drawn, sampled
from selftaught.records import Example, Group, Prefer, Rollout, Segment, content_id

Side = Literal["passed", "failed", "best", "worst", "sampled", "reference"]
ONE: frozenset[Side] = frozenset({"best", "worst", "reference"})
"""The sides of which a task has one answer: it is paired with each of the other side's."""


class Pairs(PerGroupCurator, type="pairs"):
    """A `prefer` example each pair of answers, one of the side `better` and one of the side `worse`.

    A side: the answers that all verifiers `passed`, those that one `failed`, the one that they score `best` or `worst`
    (`by`), every one that was `sampled`, or the task's worked solution (`reference`). Answers are
    drawn by the seed, and each is in one pair at most; the only one of its side is in every pair. Duplicates, and
    answers that were cut off, hinted, or could not be judged (but of `sampled`) are left out, and so are pairs of equal
    texts.
    """

    better: Annotated[Side, Field(description="the side that is preferred")] = "passed"
    worse: Annotated[Side, Field(description="the other side")] = "failed"
    by: Annotated[
        str | None, Field(description="the verifier whose scores count; null: the mean of all verifiers' scores")
    ] = None
    margin: Annotated[
        float, Field(ge=0, le=1, description="scores of the two differ by more than this; a reference has none")
    ] = 0.0
    per_task: Annotated[PositiveInt | None, Field(description="pairs of one task at most; null is all")] = 4
    field: Annotated[str, Field(min_length=1, description="name of the reference among the texts of a task")] = (
        "reference"
    )

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.better == self.worse:
            raise ValueError(f"better and worse are both '{self.better}', so nothing tells them apart; change one")
        return self

    @property
    @override
    def uses_references(self) -> bool:
        return "reference" in (self.better, self.worse)

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """The pairs of `group`, in the order drawn."""
        answers = _answers(group, seed, self.by)
        better, worse = (self._side(group, side, answers) for side in (self.better, self.worse))
        better = better * len(worse) if self.better in ONE else better
        worse = worse * len(better) if self.worse in ONE else worse
        apart = (pair for pair in zip(better, worse, strict=False) if self._apart(*pair))
        yield from (_example(group, *pair) for pair in islice(apart, self.per_task))

    def _side(self, group: Group, side: Side, answers: Sequence["_Answer"]) -> list["_Answer"]:
        if side == "reference":
            return _reference(group, self.field)
        if side == "sampled":
            return list(answers)
        judged = [answer for answer in answers if answer.score is not None]
        if side in ("passed", "failed"):
            return [answer for answer in judged if answer.passed == (side == "passed")]
        ranked = sorted(judged, key=lambda answer: answer.score or 0.0, reverse=side == "best")
        return ranked[:1]

    def _apart(self, one: "_Answer", other: "_Answer") -> bool:
        """Whether two answers differ, and their scores by more than the margin, where both have one."""
        scores = [side.score for side in (one, other) if side.score is not None]
        return one.text != other.text and (len(scores) < 2 or max(scores) - min(scores) > self.margin)


@dataclass(frozen=True, slots=True)
class _Answer:
    """One answer: what is said to the task, and what the verifiers said of it; no score where they said nothing."""

    id: str
    said: tuple[Segment, ...]
    passed: bool = False
    score: float | None = None

    @property
    def text(self) -> list[str]:
        """Its words."""
        return [word for segment in self.said for message in segment.messages for word in message.content.split()]


def _answers(group: Group, seed: int, by: str | None) -> list[_Answer]:
    """The answers to the task's own prompt that the model ended itself, each once, in the order drawn."""
    own = [rollout for rollout in group.rollouts if rollout.finish_reason == "stop" and not rollout.hinted]
    return [_answer(group, rollout, by) for rollout in drawn(distinct(own), None, seed)]


def _answer(group: Group, rollout: Rollout, by: str | None) -> _Answer:
    at = group.rollouts.index(rollout)
    said = sampled(group, rollout).sequences[0][1:]
    return _Answer(rollout.id, said, group.passed(at), _score(group, at, by))


def _score(group: Group, at: int, by: str | None) -> float | None:
    """The score of the last answer of rollout `at`; None where it has none, or could not be judged."""
    on_last = group.verdicts_on(at)
    scores = [each.score for each in on_last if each.score is not None and by in (None, each.verifier)]
    return fmean(scores) if scores and not any(each.is_missing for each in on_last) else None


def _reference(group: Group, field: str) -> list[_Answer]:
    text = group.task.texts.get(field)
    return [_Answer(content_id([group.id, field]), (Segment.answer(text),))] if text else []


def _example(group: Group, better: _Answer, worse: _Answer) -> Example:
    return Example(
        sequences=tuple((asked(group), *side.said) for side in (better, worse)),
        target=Prefer(),
        task=group.id,
        rollout=content_id([better.id, worse.id]),
    )
