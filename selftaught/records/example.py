"""Examples: what a model is trained on, row by row."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal, Self

import pyarrow as pa
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from selftaught.core.canonical import canonical
from selftaught.records.added import Several
from selftaught.records.arrow import TokenIds
from selftaught.records.base import Record, content_id
from selftaught.records.message import Message, ToolCall


class Segment(Record):
    """A stretch of a sequence: messages, with the engine's own tokens of them where these are known.

    Without `weights` it is context. With them it is one message of the assistant that is learnt from: one weight holds
    for every token and for the end of the turn; several are those of `token_ids`, one each, and 0 masks a token out of
    the loss. Negative weights are allowed; what they mean is the objective's.

    A segment that is reinforced has `advantages`, how much better than expected it was: one for every token, or one
    each. `logprobs` (nats) are those of `token_ids` under the policy that sampled them, where its engine gave them.
    """

    messages: tuple[Message, ...]
    token_ids: TokenIds = ()
    weights: tuple[float, ...] = ()
    advantages: Several[float] = ()
    logprobs: Several[float] = ()

    @classmethod
    def context(cls, messages: Iterable[Message], token_ids: TokenIds = ()) -> Self:
        """What is read and not learnt."""
        return cls(messages=tuple(messages), token_ids=token_ids)

    @classmethod
    def answer(
        cls,
        text: str,
        token_ids: TokenIds = (),
        weights: tuple[float, ...] = (1.0,),
        tool_calls: tuple[ToolCall, ...] = (),
    ) -> Self:
        """What the assistant is to say."""
        said = Message(role="assistant", content=text, tool_calls=tool_calls)
        return cls(messages=(said,), token_ids=token_ids, weights=weights)

    @model_validator(mode="after")
    def _weighed(self) -> Self:
        if self.weights and [message.role for message in self.messages] != ["assistant"]:
            raise ValueError("only a segment of one message, the assistant's, has weights")
        for named in ("weights", "advantages"):
            given = len(getattr(self, named))
            if given > 1 and given != len(self.token_ids):
                raise ValueError(f"{given} {named} for {len(self.token_ids)} token ids: give one, or one each")
        if self.logprobs and len(self.logprobs) != len(self.token_ids):
            raise ValueError(f"{len(self.logprobs)} logprobs for {len(self.token_ids)} token ids: give one each")
        return self


class Imitate(Record):
    """The first sequence is to be said."""

    type: Literal["imitate"] = "imitate"


class Prefer(Record):
    """The first sequence is preferred to the second; `smoothing` is the probability that it is the other way round."""

    type: Literal["prefer"] = "prefer"
    smoothing: float = Field(default=0.0, ge=0, le=1)


class Regress(Record):
    """The sequence, a partial solution, is worth `label`; its last step is `right`, or wrong, or nobody knows."""

    type: Literal["regress"] = "regress"
    label: float
    right: bool | None = None


class Reinforce(Record):
    """The sequence was sampled; each token is to become likelier by its advantage, or less likely.

    `mean_reward` is that of all samples of its task: the share of right ones, where a right one is worth 1.
    """

    type: Literal["reinforce"] = "reinforce"
    mean_reward: float


Target = Annotated[
    Imitate | Prefer | Regress | Reinforce,
    Field(discriminator="type"),
    BeforeValidator(lambda given: json.loads(given) if isinstance(given, str) else given),
    PlainSerializer(lambda target: canonical(target.to_row()).decode(), return_type=str),
    pa.string(),
]
"""What is learnt from an example's sequences. Rows hold it as JSON, so that another target is no other schema."""
TargetType = Literal["imitate", "prefer", "regress", "reinforce"]


class Example(Record):
    """What one model learns at a time: one sequence, or two of which the first is preferred; and where it comes from.

    The first segment of a sequence is its prompt; it may end with the beginning of an answer, which the next segment
    continues. Where all segments have tokens, these follow one another as they were sampled. `role` is that of the
    model that learns, None any that learns from such a target. `weight` is what the example counts for: 2 is the
    example twice. `task` is the id of the task that is attempted; if a model wrote that task, `drawn` is the id of the
    round's task that it was written for.
    """

    SCHEMA: ClassVar[int] = 3

    role: str | None = None
    sequences: tuple[tuple[Segment, ...], ...] = Field(min_length=1)
    target: Target = Imitate()
    weight: float = 1.0
    task: str
    rollout: str
    drawn: Annotated[str | None, Field(exclude_if=lambda drawn: drawn is None)] = None

    @cached_property
    def id(self) -> str:
        """Content id over all that a loss uses, which `task`, `rollout` and `drawn` are not."""
        row = self.to_row()
        return content_id([row[each] for each in ("role", "sequences", "target", "weight")])

    @cached_property
    def text_id(self) -> str:
        """Content id over the role, the kind of target and the texts: equal where one example is a newer version of
        the other, with another label, weight or tokens.
        """
        texts = [[[m.to_row() for m in segment.messages] for segment in each] for each in self.sequences]
        return content_id([self.role, self.target.type, texts])

    @property
    def regress(self) -> Regress:
        """The target of a partial solution."""
        assert isinstance(self.target, Regress), self.target
        return self.target

    def messages(self) -> Iterator[Message]:
        """Every message, of one sequence after the other."""
        return chain.from_iterable(segment.messages for sequence in self.sequences for segment in sequence)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages of the first sequence's prompt."""
        return self.sequences[0][0].messages

    @property
    def completion(self) -> tuple[Message, ...]:
        """The messages that follow the prompt in the first sequence."""
        return _messages(self.sequences[0][1:])

    @property
    def rejected(self) -> tuple[Message, ...]:
        """The messages that follow the prompt in the second sequence; none where there is no second."""
        return _messages(self.sequences[1][1:]) if len(self.sequences) > 1 else ()


def _messages(segments: Iterable[Segment]) -> tuple[Message, ...]:
    return tuple(chain.from_iterable(segment.messages for segment in segments))


def _of_schema_2(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which prompt, completion and rejected side were fields of their own."""
    learnt = row["kind"] != "value"
    prompt = Segment.context(map(Message.model_validate, row["prompt"]), tuple(row["prompt_ids"]))
    sides = [_side(row["completion"], row["completion_ids"], learnt)]
    if row["kind"] == "pair":
        sides.append(_side(row["rejected"], row["rejected_ids"], learnt))
    kept = {name: row[name] for name in ("weight", "task", "rollout")}
    sequences = tuple((prompt, *side) for side in sides)
    return Example(sequences=sequences, target=_target_of_schema_2(row), **kept).to_row()


def _target_of_schema_2(row: Mapping[str, Any]) -> Imitate | Prefer | Regress:
    if row["kind"] == "pair":
        return Prefer(smoothing=row["label_smoothing"])
    return Regress(label=row["label"] or 0.0, right=row["right"]) if row["kind"] == "value" else Imitate()


def _side(messages: Iterable[Mapping[str, Any]], ids: Sequence[int], learnt: bool) -> Iterator[Segment]:
    """Its turns as segments. The tokens of several turns lay end to end, so whose they are is not known any more."""
    turns = [Message.model_validate(each) for each in messages]
    own = tuple(ids) if len(turns) == 1 else ()
    for turn in turns:
        weights = (1.0,) if learnt and turn.role == "assistant" else ()
        yield Segment(messages=(turn,), token_ids=own, weights=weights)


Example.UPGRADES = {2: _of_schema_2}
