"""Transcripts: dialogues as training text, with the loss on some of their turns.

Learning to verify and to correct oneself without learning the error: a wrong attempt is read and not learnt (S2R,
arXiv 2502.12853; PAM, 2401.07301). The tokens that are learnt are exactly those of the turns named. It makes no pairs,
and judges nothing: what the verifiers said of each answer decides what is kept.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from selftaught.blocks.loading import OneOrMore
from selftaught.curation.base import Selection, asked_with
from selftaught.curation.fates import OF_TWO, Fate, answer_score, fates
from selftaught.records import (
    ANSWERS,
    Example,
    Group,
    Message,
    Rollout,
    Segment,
    TargetType,
    Turn,
    TurnKind,
    conversation,
)


class ByScore(BaseModel):
    """An example counts for exp(score / tau), the score being that of its last answer (RISE, arXiv 2407.18219)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tau: Annotated[PositiveFloat, Field(description="the lower, the more a higher score counts")] = 0.4


class Transcripts(Selection, type="transcripts"):
    """Pick rollouts by what became of their answers, and learn from some of their turns.

    A question, or what the recipe says, that gives the right answer away is not trained on, unless `prompt: as_sampled`
    says so: leave it out by naming the turn behind it in `turns`, and that turn is learnt from the task's own prompt.
    """

    gives: ClassVar[TargetType | None] = "imitate"

    keep: Annotated[
        tuple[Fate, ...],
        OneOrMore(),
        Field(
            min_length=1,
            description="rollouts whose last answer passed or failed; of those of several answers, whose first failed "
            "and last passed (recovered), or both passed (held), or whose last has a higher score than all before it "
            "(improved); the one whose every answer has the highest score of those to the same prompt (best)",
        ),
    ] = ("passed",)
    turns: Annotated[
        tuple[str, ...] | None, Field(min_length=1, description="the turns that are shown; null is all of the thread")
    ] = None
    train: Annotated[
        Literal["last", "all"] | tuple[str, ...], Field(description="the turns that are learnt, of those shown")
    ] = "last"
    wrong: Annotated[
        Literal["train", "ignore"], Field(description="whether answers that the verifiers failed are learnt")
    ] = "ignore"
    prompt: Annotated[
        Literal["task", "as_sampled"],
        Field(description="what stands before the first turn: the task, or what that turn was asked with"),
    ] = "task"
    role: Annotated[str, Field(description="the role that learns")] = "policy"
    said_by: Annotated[
        str | None, Field(description="the role whose turns are learnt, such as a teacher; null is the one that learns")
    ] = None
    weight: Annotated[
        PositiveFloat | ByScore,
        Field(description="what each example counts for: a number, or `{tau: 0.4}` for exp(score / tau)"),
    ] = 1.0
    turn_weights: Annotated[
        Mapping[str, PositiveFloat],
        Field(description="what the tokens of a turn count for, by its name or its kind; else 1"),
    ] = {}
    learn_from: Annotated[
        str | None,
        Field(
            description="of what an answer was prefilled with, the text from which on it is learnt, such as the words "
            "that begin a correction; '' is all of it, and null nothing"
        ),
    ] = None

    @property
    def turn_names(self) -> tuple[str, ...]:
        """Those that are shown, learnt or weighed."""
        weighed = [name for name in self.turn_weights if name not in get_args(TurnKind)]
        return (*(self.turns or ()), *(self.train if isinstance(self.train, tuple) else ()), *weighed)

    @property
    def answers(self) -> int:
        """Two where only what became of a second one counts."""
        return 2 if OF_TWO.issuperset(self.keep) else 0

    def candidates(self, group: Group) -> Iterator[Rollout]:
        """The rollouts of `group` that are kept and have something to learn."""
        for at, rollout in enumerate(group.rollouts):
            if not fates(group, at).isdisjoint(self.keep) and self._learnable(group, rollout):
                yield rollout

    def may_be_learnt(self, rollout: Rollout) -> bool:
        """Whether it came to its end; what is shown and learnt of it was looked at turn by turn."""
        return rollout.finish_reason == "stop"

    def example(self, group: Group, rollout: Rollout) -> Example:
        """`rollout` in the eyes of who said it, learnt where `train` says so."""
        sequence = tuple(self._segments(group, rollout))
        return Example(
            role=self.role,
            sequences=(sequence,),
            weight=self._weight(group, rollout),
            task=group.id,
            rollout=rollout.id,
        )

    def _weight(self, group: Group, rollout: Rollout) -> float:
        if not isinstance(self.weight, ByScore):
            return self.weight
        score = answer_score(group, group.rollouts.index(rollout), rollout.answers[-1]) if rollout.answers else 0.0
        return math.exp(score / self.weight.tau)

    @property
    def _speaker(self) -> str:
        """Whose turns are learnt; another model's token ids mean nothing to the one that learns."""
        return self.said_by or self.role

    # Turns ------------------------------------------------------------------------------------------------------------

    def _shown(self, rollout: Rollout) -> list[Turn]:
        """The turns that stand in the example, each with the question before it but the first."""
        if self.turns is None:
            return [turn for turn in rollout.turns if not turn.aside]
        # one that was said aside, and is named, is shown like any other
        named = [at for at, turn in enumerate(rollout.turns) if turn.role == "assistant" and turn.name in self.turns]
        with_questions = {at - 1 for at in named[1:] if rollout.turns[at - 1].role == "user"}
        shown = (rollout.turns[at] for at in sorted({*named, *with_questions}))
        return [turn.model_copy(update={"aside": False}) for turn in shown]

    def _learnt(self, group: Group, rollout: Rollout) -> list[Turn]:
        """The turns that are learnt, of those that the speaker said."""
        own = [t for t in self._shown(rollout) if t.role == "assistant" and t.speaker == self._speaker]
        if self.train == "last":
            own = own[-1:]
        elif self.train != "all":
            own = [turn for turn in own if turn.name in self.train]
        return [turn for turn in own if self.wrong == "train" or not _failed(group, rollout, turn)]

    def _learnable(self, group: Group, rollout: Rollout) -> bool:
        """Whether something is learnt, nothing that is learnt was cut, and nothing that is shown tells the answer."""
        shown, learnt = self._shown(rollout), self._learnt(group, rollout)
        hints = [turn for turn in shown if turn.hinted and (turn.role == "user" or turn.speaker != self._speaker)]
        cut = any(turn.finish_reason != "stop" for turn in learnt)
        return bool(learnt) and not (hints and self.prompt == "task") and not cut

    def _segments(self, group: Group, rollout: Rollout) -> Iterator[Segment]:
        shown, learnt = self._shown(rollout), self._learnt(group, rollout)
        before: list[Message] = []
        for message, turn in conversation(self._opening(group, rollout, shown[0]), shown, self._speaker):
            if turn is None or turn not in learnt:
                before.append(message)
                continue
            given = self._given(turn)
            begun = [Message(role="assistant", content=turn.content[:given])] if given else []
            yield Segment.context([*before, *begun])
            weight = self.turn_weights.get(turn.name, self.turn_weights.get(turn.kind, 1.0))
            as_sampled = given == len(turn.prefill) and self._speaker == self.role
            tokens = turn.token_ids if as_sampled else ()
            yield Segment.answer(turn.content[given:], tokens, (weight,), turn.tool_calls)
            before = []

    def _given(self, turn: Turn) -> int:
        """How many characters `turn` begins with that are read and not learnt: it was prefilled with them."""
        if self.learn_from is None or self.learn_from not in turn.prefill:
            return len(turn.prefill)
        return turn.prefill.rfind(self.learn_from) if self.learn_from else 0

    def _opening(self, group: Group, rollout: Rollout, first: Turn) -> Sequence[Message]:
        """What stands before the `first` turn that is shown."""
        if self.prompt == "task":
            return group.task.messages
        at = next(at for at, turn in enumerate(rollout.turns) if turn.name == first.name)
        return asked_with(group, rollout, at, self._speaker)


def _failed(group: Group, rollout: Rollout, turn: Turn) -> bool:
    """Whether `turn` is an answer that the verifiers failed."""
    return turn.kind in ANSWERS and not group.passed(group.rollouts.index(rollout), turn.name)
