"""Tasks: one problem, and what is needed to check an answer to it."""

from functools import cached_property
from typing import Annotated, Any, Literal, NewType

import pyarrow as pa
from pydantic import Field, JsonValue

from selftaught.records.base import Record, content_id
from selftaught.records.json_column import Texts, Typed
from selftaught.records.message import Message

NamedSet = NewType("NamedSet", str)
"""The split of a recipe's named set: `set.ood` of the set `ood`."""
Split = (
    Literal["train", "gate", "report", "guard"]
    | Annotated[NamedSet, pa.string(), Field(pattern=r"^set\.[a-z0-9][a-z0-9-]*$")]
)
"""The set that a task belongs to."""


def named_set(name: str) -> NamedSet:
    """The split of the set `name`."""
    return NamedSet(f"set.{name}")


def set_name(split: Split) -> str:
    """The name of the set whose split it is; empty for the sets that every recipe has."""
    return split.removeprefix("set.") if split.startswith("set.") else ""


Origin = Literal["task", "feedback"]

FEEDBACK = "feedback/"
"""What the source of a task begins with that was made of feedback on an answer: such a task is only trained on."""
UPLOADED = "dropped/"
"""What the source of a task begins with that was uploaded to an inbox."""


class Task(Record):
    """One problem: its prompt, what is needed to check an answer, its split and its source.

    An answer is checked against the gold `answer`, or by the verifier that `check` names with its `type`: the rest of
    `check` is what that verifier goes by (unit tests, constraints, a rubric). `texts` are what else is known of the
    problem, by name: `reference` is a worked solution. `environment` is a world for the model to act in, by its `type`
    and its fields. `template` and `operands` say how a generated problem was made: splits and the contamination check
    go by them. `parent` is the id of the task that a model made this one from.
    """

    messages: tuple[Message, ...] = Field(min_length=1)
    answer: str | None = None
    source: str
    split: Split = "train"
    template: str | None = None
    operands: tuple[str, ...] = ()
    level: int = 1
    check: Typed = Field(default_factory=dict[str, JsonValue])
    texts: Texts = Field(default_factory=dict[str, str])
    environment: Typed = Field(default_factory=dict[str, JsonValue])
    parent: Annotated[str | None, Field(exclude_if=lambda parent: parent is None)] = None

    @cached_property
    def id(self) -> str:
        """Content id over prompt, answer, check and environment, and not the split: a task that leaks keeps its id."""
        own = [[_asked(message) for message in self.messages], self.answer]
        return content_id([*own, *(each for each in (self.check, self.environment) if each)])

    @property
    def attempted_id(self) -> str:
        """Content id over what attempts depend on: beside what `id` covers its texts, where it has any.

        A prompt may quote them and a curator learn from them. A corrected text is another input to a step, while the
        task is the same one to splits, scores and the error budget.
        """
        return content_id([self.id, self.texts]) if self.texts else self.id

    @property
    def origin(self) -> Origin:
        """Whether it was chosen as a task, before anybody saw an answer to it, or came with what was said of one."""
        return "feedback" if self.source.startswith(FEEDBACK) else "task"

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


def _asked(message: Message) -> list[Any]:
    """What a task's id covers of `message`."""
    row = message.to_row()
    return [row.pop("role"), row.pop("content"), *([row] if row else [])]
