"""Rollouts: attempts at a task, turn by turn, and the verifiers' verdicts."""

from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from selftaught.records.arrow import TokenIds
from selftaught.records.base import Record, content_id
from selftaught.records.message import ChatRole

TurnKind = Literal["attempt", "critique", "verification", "refinement", "feedback", "tool"]


class Turn(Record):
    """One message of a rollout, with the engine's own token ids and their log-probabilities (nats)."""

    role: ChatRole = "assistant"
    kind: TurnKind = "attempt"
    content: str
    token_ids: TokenIds = ()
    logprobs: tuple[float, ...] = ()


class Rollout(Record):
    """One attempt at a task by a policy.

    `index` tells apart the attempts at one task under one sampler; `finish_reason` is the engine's (`stop`,
    `length`); token counts are of this rollout alone (the prompt counted once per rollout).
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

    @cached_property
    def id(self) -> str:
        """Content id over task, index, model digest and what was said."""
        return content_id([self.task, self.index, self.model, [(t.role, t.kind, t.content) for t in self.turns]])

    @property
    def text(self) -> str:
        """The text of the last assistant turn: what answer verifiers read."""
        return next(t.content for t in reversed(self.turns) if t.role == "assistant")


class Verdict(Record):
    """What a verifier says of a rollout: a score in [0, 1], passed, a reason; or an error, and then no score."""

    verifier: str
    score: float | None = Field(default=None, ge=0, le=1)
    passed: bool = False
    reason: str = ""
    error: str | None = None

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
