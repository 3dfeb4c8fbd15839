"""Examples: what a model is trained on, row by row."""

from functools import cached_property
from typing import ClassVar, Literal

from selftaught.records.arrow import TokenIds
from selftaught.records.base import Record, content_id
from selftaught.records.message import Message

ExampleKind = Literal["completion", "pair", "value"]


class Example(Record):
    """One training row in TRL's conversational format, with the rollout it came from; `kind` says what to learn of it.

    A `completion` is to be said, a `pair` to be preferred to `rejected`, a `value` example is a partial solution that
    is worth `label` and ends with a step that is `right` or not. `prompt_ids`, `completion_ids` and `rejected_ids` are
    the engine's own tokens, where they are to be trained on as they were sampled: a pair's prompt then ends, to the
    token, where its two sides part; the tokens of a completion of several turns are those of the assistant's turns, end
    to end. `label_smoothing` is the probability that a pair is the wrong way round.
    """

    SCHEMA: ClassVar[int] = 2

    kind: ExampleKind = "completion"
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    rejected: tuple[Message, ...] = ()
    task: str
    rollout: str
    weight: float = 1.0
    label: float | None = None
    right: bool | None = None
    label_smoothing: float = 0.0
    prompt_ids: TokenIds = ()
    completion_ids: TokenIds = ()
    rejected_ids: TokenIds = ()

    @cached_property
    def id(self) -> str:
        """Content id over prompt and completion, and over kind and rejected side of all that are no completions."""
        sides = [[m.to_row() for m in side] for side in (self.prompt, self.completion, self.rejected)]
        return content_id(sides[:2] if self.kind == "completion" else [*sides, self.kind])
