"""Pairs: of two answers to one task, which is to be preferred.

What the sides are is what methods differ in: right over wrong (iterative RPO, Pang et al. 2024, arXiv 2404.19733), best
over worst by a judge's scores (DNO, Rosset et al. 2024, arXiv 2404.03715), the worked solution over the model's own
answer (SPIN, Chen et al. 2024, arXiv 2401.01335), a turn of a dialogue over another: a correction over the attempt, or
the other way round where it spoilt it (SCL, He et al. 2024, arXiv 2410.04055), a teacher's correction over the own one
(SuperCorrect, Yang et al. 2024, arXiv 2410.09008), one model's answer over another's (Self-Reinforcement, Tong et al.
2024, arXiv 2405.04086). Steps of trees are paired by `step_pairs`; how pairs are learnt from is the objective's
business.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import override

from selftaught.curation.answers import Answer, answers, reference, turns
from selftaught.curation.base import PerGroupCurator, asked, distinct_examples
from selftaught.records import Example, Group, Prefer, Segment, TargetType, content_id

Side = Literal["passed", "failed", "best", "worst", "sampled", "reference"]
SIDES: tuple[str, ...] = get_args(Side)
ONE: frozenset[str] = frozenset({"best", "worst", "reference"})
"""The sides of which a task has one answer: it is paired with each of the other side's."""

TurnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Pairs(PerGroupCurator, type="pairs"):
    """A `prefer` example each pair of answers, one of the side `better` and one of the side `worse`.

    A side: the answers that all verifiers `passed`, those that one `failed`, the one that they score `best` or `worst`
    (`by`), every one that was `sampled`, or the task's worked solution (`reference`). Answers are drawn by the seed,
    and each is in one pair at most; the only one of its side is in every pair.

    Or both sides are names of turns: what was said in the one and in the other of the same dialogue, where the better
    one scores higher. With `margin: null` the first is preferred whatever the verifiers say.

    Duplicates, and answers that were cut off, hinted, or could not be judged (but of `sampled`, or with `margin: null`)
    are left out, and so are pairs of equal texts.
    """

    gives: ClassVar[TargetType | None] = "prefer"

    better: Annotated[Side | TurnName, Field(description="the side that is preferred, or the name of a turn")] = (
        "passed"
    )
    worse: Annotated[Side | TurnName, Field(description="the other side, or another turn")] = "failed"
    by: Annotated[
        str | None, Field(description="the verifier whose scores count; null: the mean of all verifiers' scores")
    ] = None
    margin: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(
            description="scores of the two differ by more than this, those of turns in favour of `better`; a reference "
            "has none; null: scores do not matter"
        ),
    ] = 0.0
    per_task: Annotated[PositiveInt | None, Field(description="pairs of one task at most; null is all")] = 4
    field: Annotated[str, Field(min_length=1, description="name of the reference among the texts of a task")] = (
        "reference"
    )

    prompt: Annotated[
        Literal["task", "as_sampled"],
        Field(description="what both are said to: the task, or what the earlier of two turns was asked with"),
    ] = "task"

    @model_validator(mode="after")
    def _two_sides(self) -> Self:
        if self.better == self.worse:
            raise ValueError(f"better and worse are both '{self.better}', so nothing tells them apart; change one")
        named = self.turn_names
        if len(named) == 1:
            meant = get_close_matches(named[0], SIDES, 1)
            raise ValueError(
                f"'{named[0]}' is no side of a task's answers, and a turn is paired with another turn. "
                f"{f'Did you mean {meant[0]}?' if meant else 'Name two turns, or two sides.'}\n"
                f"  accepted: {', '.join(SIDES)}"
            )
        if self.prompt == "as_sampled" and not named:
            raise ValueError("prompt: as_sampled is for turns, which better and worse do not name; leave it out")
        return self

    @property
    @override
    def uses_references(self) -> bool:
        return "reference" in (self.better, self.worse)

    @property
    @override
    def verifiers(self) -> tuple[str, ...]:
        return (self.by,) if self.by else ()

    @property
    @override
    def turn_names(self) -> tuple[str, ...]:
        return tuple(side for side in (self.better, self.worse) if side not in SIDES)

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """The pairs of `group`, in the order drawn."""
        found = self._turns(group, seed) if self.turn_names else self._sides(group, seed)
        made = (self._example(group, *pair) for pair in found)
        yield from islice(distinct_examples(made), self.per_task)

    # Turns ------------------------------------------------------------------------------------------------------------

    def _turns(self, group: Group, seed: int) -> Iterator[tuple[Answer, Answer]]:
        made = turns(group, (self.better, self.worse), seed, self.by)
        return (pair for pair in made if self._ahead(*pair))

    def _ahead(self, better: Answer, worse: Answer) -> bool:
        if better.text == worse.text or self.margin is None:
            return better.text != worse.text
        return better.score is not None and worse.score is not None and better.score - worse.score > self.margin

    # Sides ------------------------------------------------------------------------------------------------------------

    def _sides(self, group: Group, seed: int) -> Iterator[tuple[Answer, Answer]]:
        every = answers(group, seed, self.by)
        better, worse = (self._side(group, side, every) for side in (self.better, self.worse))
        better = better * len(worse) if self.better in ONE else better
        worse = worse * len(better) if self.worse in ONE else worse
        return (pair for pair in zip(better, worse, strict=False) if self._apart(*pair))

    def _side(self, group: Group, side: str, answers: Sequence[Answer]) -> list[Answer]:
        if side == "reference":
            return reference(group, self.field)
        if side == "sampled":
            return list(answers)
        judged = [answer for answer in answers if answer.score is not None]
        if side in ("passed", "failed"):
            return [answer for answer in judged if answer.passed == (side == "passed")]
        ranked = sorted(judged, key=lambda answer: answer.score or 0.0, reverse=side == "best")
        return ranked[:1]

    def _apart(self, one: Answer, other: Answer) -> bool:
        """Whether two answers differ, and their scores by more than the margin, where both have one."""
        scores = [side.score for side in (one, other) if side.score is not None]
        close = self.margin is not None and len(scores) == 2 and abs(scores[0] - scores[1]) <= self.margin
        return one.text != other.text and not close

    # Examples ---------------------------------------------------------------------------------------------------------

    def _example(self, group: Group, better: Answer, worse: Answer) -> Example:
        first = min(better, worse, key=lambda side: side.at)
        before = asked(group) if self.prompt == "task" else Segment.context(first.asked)
        return Example(
            sequences=tuple((before, *side.said) for side in (better, worse)),
            target=Prefer(),
            task=group.id,
            rollout=content_id([better.id, worse.id]),
        )
