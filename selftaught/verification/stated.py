r"""Stated: does what a turn says of an answer agree with the truth?

A turn that says whether an answer is right (a check, a critique) or how sure it is (a confidence) is judged by what
becomes of that answer under another verifier: S2R's verification turns (arXiv 2502.12853), CriticBench (2402.14809),
SaySelf's calibration reward 2(1/2 - (right - confidence)^2), here mapped to [0, 1] (2405.20974). Or it is taken at its
word, as a model that selects its own answers takes itself (SELF, 2310.00533). What cannot be read is
an error or a failure, as the recipe says, and never a guess. It does not judge the answer itself.
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from selftaught.blocks import Context, Verifier
from selftaught.blocks.loading import OnAxis
from selftaught.records import ANSWERS, Group, Rollout, Verdict
from selftaught.verification.task_check import TaskCheck

YES, NO = ("right", "correct", "true", "yes"), ("wrong", "incorrect", "false", "no")
PATTERNS = {
    "verdict": rf"(?i)\b({'|'.join((*YES, *NO))})\b",
    "confidence": r"(?i)confidence\s*(?:is|:|=)?\s*(\d+(?:\.\d+)?)",
}


class Stated(Verifier, type="stated"):
    """Score what turn `turn` says of the answer in turn `about`: 1 for the truth, 0 for the contrary.

    A `verdict` agrees or not; with `brier` a `confidence` c scores 1 - (right - c)^2, which is highest where c is the
    probability of being right. It passes where it is on the side of the truth. With `said` no truth is asked: the score
    is how sure the turn is, it passes above .5, and is a verdict on the answer that the turn is about.
    """

    reads_answer: ClassVar[bool] = False

    turn: Annotated[str, Field(min_length=1, description="the turn that says it")]
    about: Annotated[str, Field(description="the turn whose answer it is about; empty: the last answer before it")] = ""
    what: Annotated[Literal["verdict", "confidence"], Field(description="what is said")] = "verdict"
    pattern: Annotated[
        str | None,
        Field(description="regular expression whose group is what is said; the last match counts; null: usual words"),
    ] = None
    scale: Annotated[PositiveFloat, Field(description="the highest confidence")] = 10.0
    score: Annotated[
        Literal["agrees", "brier", "said"],
        Field(description="agrees: 1 on the side of the truth, else 0; brier: see above; said: what is said itself"),
    ] = "agrees"
    missing: Annotated[
        Literal["error", "fail"], Field(description="what a turn is that does not say it: an error, or a failure")
    ] = "error"
    truth: Annotated[Verifier, OnAxis("verify"), Field(description="what decides whether the answer is right")] = (
        TaskCheck()
    )

    @property
    def turn_names(self) -> tuple[str, ...]:
        """Those that it reads."""
        return tuple(name for name in (self.turn, self.about) if name)

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        try:
            groups = re.compile(self._pattern).groups
        except re.error as error:
            raise ValueError(f"pattern: {self.pattern!r} is no regular expression ({error})") from None
        if groups < 1:
            raise ValueError(f"pattern: {self.pattern!r} has no group; put brackets around what is said")
        return self

    @property
    def _pattern(self) -> str:
        return self.pattern or PATTERNS[self.what]

    def opinion(self) -> Verifier:
        """Taken at its word."""
        return self.model_copy(update={"score": "said"})

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict per rollout; an error where the truth is not known, or where it was never asked."""
        answers = [self._answer(rollout) for rollout in group.rollouts]
        if self.score == "said":
            return [self._taken(rollout, answer) for rollout, answer in zip(group.rollouts, answers, strict=True)]
        known = {at: answer for at, answer in enumerate(answers) if answer is not None}
        judged = group.model_copy(update={"rollouts": tuple(known.values()), "verdicts": (), "tree": None})
        truths = await self.truth.judge(judged, context) if known else []
        said = dict(zip(known, truths, strict=True))
        return [self._verdict(rollout, said.get(at)) for at, rollout in enumerate(group.rollouts)]

    def _answer(self, rollout: Rollout) -> Rollout | None:
        """The rollout as it was after the answer that the turn is about; None where one of the two is not there."""
        names = [turn.name for turn in rollout.turns]
        if self.turn not in names:
            return None
        before = rollout.turns[: names.index(self.turn)]
        about = [at for at, turn in enumerate(before) if turn.name == self.about or not self.about]
        answers = [at for at in about if before[at].role == "assistant" and before[at].kind in ANSWERS]
        return rollout.until(answers[-1]) if answers else None

    def _taken(self, rollout: Rollout, answer: Rollout | None) -> Verdict:
        """The verdict that the turn itself gives, on the answer that it is about."""
        if answer is None:
            return self._never_said()
        sure, last = self._sure(self._text(rollout)), answer.answers == rollout.answers
        said = self._unread() if sure is None else Verdict(verifier=self.name, score=sure, passed=sure > 0.5)
        return said if last else said.model_copy(update={"turn": answer.turns[-1].name})

    def _verdict(self, rollout: Rollout, truth: Verdict | None) -> Verdict:
        if truth is None:
            return self._never_said()
        if truth.error is not None:
            return Verdict.errored(self.name, f"what it is about could not be judged: {truth.error}")
        sure = self._sure(self._text(rollout))
        return self._unread() if sure is None else self._scored(sure, truth.passed)

    def _never_said(self) -> Verdict:
        return Verdict.errored(self.name, f"turn '{self.turn}' was not said, or nothing before it that it is about")

    def _unread(self) -> Verdict:
        words = f"no {self.what} can be read in turn '{self.turn}'"
        fails = self.missing == "fail"
        return Verdict.of(self.name, False, words) if fails else Verdict.errored(self.name, words)

    def _text(self, rollout: Rollout) -> str:
        return next(turn.content for turn in rollout.turns if turn.name == self.turn)

    def _sure(self, text: str) -> float | None:
        """How sure the turn is that the answer is right, from 0 to 1; None where that cannot be read."""
        found = [match[1].lower() for match in re.finditer(self._pattern, text)]
        if not found:
            return None
        if self.what == "confidence":
            return _share(found[-1], self.scale)
        return {**dict.fromkeys(YES, 1.0), **dict.fromkeys(NO, 0.0)}.get(found[-1])

    def _scored(self, sure: float, right: bool) -> Verdict:
        agrees = sure != 0.5 and (sure > 0.5) == right
        score = 1 - (right - sure) ** 2 if self.score == "brier" else float(agrees)
        reason = f"said {sure:.2g} of an answer that is {'right' if right else 'wrong'}"
        return Verdict(verifier=self.name, score=score, passed=agrees, reason=reason)


def _share(text: str, scale: float) -> float | None:
    """A number as a part of `scale`; None for what is none, or lies outside."""
    try:
        share = float(text) / scale
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None
