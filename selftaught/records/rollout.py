"""Rollouts: attempts at a task, turn by turn, and the verifiers' verdicts."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from selftaught.records.added import Flag, Name, Several
from selftaught.records.arrow import TokenIds
from selftaught.records.base import Record, content_id
from selftaught.records.json_column import Texts
from selftaught.records.message import ChatRole, Message, ToolCall, require_tool_roles

TurnKind = Literal["attempt", "critique", "verification", "refinement", "feedback", "question", "action", "tool"]
ANSWERS: frozenset[TurnKind] = frozenset({"attempt", "refinement"})
"""The kinds of turn that answer the task, and that verifiers judge."""


class Turn(Record):
    """One message of a rollout, with the engine's own token ids and their log-probabilities (nats).

    `name` is the turn's in the sampler's dialogue and `agent` the role whose model said it; both are empty where there
    is one turn, the policy's. `asked` is the prompt of a turn that was not asked with the task and the turns before it.
    `prefill` is what `content` begins with that was put into the model's mouth: its tokens are not among `token_ids`.
    `tool_calls` and `tool_call_id` are a message's.
    What is said `aside` is not seen by later turns. A `scripted` one was written by the recipe and sampled from nobody.
    A `hinted` one is, or follows, what gives the right answer away. `finish_reason` is the engine's.
    """

    role: ChatRole = "assistant"
    kind: TurnKind = "attempt"
    content: str
    token_ids: TokenIds = ()
    logprobs: tuple[float, ...] = ()
    name: Name = ""
    agent: Name = ""
    asked: Several[Message] = ()
    finish_reason: Annotated[
        str, BeforeValidator(lambda reason: reason or "stop"), Field(exclude_if=lambda reason: reason == "stop")
    ] = "stop"
    aside: Flag = False
    hinted: Flag = False
    scripted: Flag = False
    prefill: Name = ""
    tool_calls: Several[ToolCall] = ()
    tool_call_id: Name = ""

    @model_validator(mode="after")
    def _by_role(self) -> Self:
        require_tool_roles(self.role, self.tool_calls, self.tool_call_id)
        return self

    @property
    def message(self) -> Message:
        """The turn as a chat message."""
        return Message(role=self.role, content=self.content, tool_calls=self.tool_calls, tool_call_id=self.tool_call_id)

    @property
    def own(self) -> str:
        """What its model said itself: the content without what was prefilled."""
        return self.content[len(self.prefill) :]

    @property
    def speaker(self) -> str:
        """The role that said it."""
        return self.agent or "policy"


class Rollout(Record):
    """One attempt at a task by a policy.

    `index` tells apart the attempts at one task under one sampler; `finish_reason` is the engine's (`stop`,
    `length`); token counts are of this rollout alone (the prompt counted once per rollout). In a dialogue, `path` is
    the branch at each assistant turn: rollouts whose paths begin alike share these turns, and a shared turn's tokens
    are counted in the first of them. `agents` are the digests of the other roles' models that spoke.
    """

    task: str
    index: int
    model: str
    turns: tuple[Turn, ...] = Field(min_length=1)
    temperature: float
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    hinted: bool = False
    path: Several[int] = ()
    agents: Texts = Field(default_factory=dict[str, str])

    @cached_property
    def id(self) -> str:
        """Content id over task, index, model digest and what was said."""
        return content_id([self.task, self.index, self.model, [_said(turn) for turn in self.turns]])

    @property
    def answers(self) -> tuple[int, ...]:
        """The positions of the policy's turns that answer the task."""
        return tuple(at for at, turn in enumerate(self.turns) if turn.role == "assistant" and turn.kind in ANSWERS)

    def until(self, position: int) -> Self:
        """The rollout as it was after the turn at `position`; its index stays."""
        said, last = self.turns[: position + 1], self.turns[position]
        sampled = sum(turn.role == "assistant" for turn in said)
        return self.model_copy(update={"turns": said, "path": self.path[:sampled], "finish_reason": last.finish_reason})

    @property
    def text(self) -> str:
        """The last answer, which verifiers read; the last assistant turn where none is an answer."""
        said = [turn for turn in self.turns if turn.role == "assistant"]
        return next((turn for turn in reversed(said) if turn.kind in ANSWERS), said[-1]).content


def _said(turn: Turn) -> list[Any]:
    """What a rollout's id covers of `turn`."""
    tools = (each for each in ([call.to_row() for call in turn.tool_calls], turn.tool_call_id) if each)
    return [turn.role, turn.kind, turn.content, *tools]


class Verdict(Record):
    """What a verifier says of a rollout: a score in [0, 1], passed, a reason; or an error, and then no score.

    With a `turn` it is about that earlier answer of the rollout, by its name, and not about its last. One that is not
    `required` informs curators, and decides neither whether the rollout passed nor whether it could be judged.
    `external` are the models behind URLs that it asked, whose weights nobody has proven.
    """

    verifier: str
    score: float | None = Field(default=None, ge=0, le=1)
    passed: bool = False
    reason: str = ""
    error: str | None = None
    turn: Name = ""
    external: Several[str] = ()
    required: Annotated[
        bool,
        BeforeValidator(lambda required: True if required is None else required),
        Field(exclude_if=lambda required: required),
    ] = True

    @property
    def fails(self) -> bool:
        """Whether it was required and given, and is no pass."""
        return self.required and self.error is None and not self.passed

    @property
    def is_missing(self) -> bool:
        """Whether it was required and could not be given."""
        return self.required and self.error is not None

    @classmethod
    def of(cls, verifier: str, passed: bool, reason: str = "") -> Self:
        """A pass (1) or a failure (0)."""
        return cls(verifier=verifier, score=float(passed), passed=passed, reason=reason)

    @classmethod
    def errored(cls, verifier: str, error: str) -> Self:
        """The verifier could not run: neither a pass nor a failure."""
        return cls(verifier=verifier, error=error)

    @model_validator(mode="after")
    def _error_or_score(self) -> Self:
        if (self.error is None) == (self.score is None):
            raise ValueError("a verdict has either a score or an error")
        return self


def passes(verdicts: Sequence[Verdict]) -> bool:
    """Whether an answer with these `verdicts` was verified and every required verifier passed it."""
    return bool(verdicts) and all(verdict.passed for verdict in verdicts if verdict.required)
