"""A task in half a kilobyte beside its text: what a line has used, and what waits to be used, is in memory together.

A `Task` is a pydantic model with models in it, 2 KiB each. This is the same in a tuple of words, and is made into one
again (`full`) where a task is used. It is not written anywhere.
"""

import json
from dataclasses import dataclass
from itertools import chain
from sys import intern
from typing import Self

from selftaught.records import FEEDBACK, Message, Origin, Split, Task

SELDOM = {"check", "texts", "environment", "parent"}


@dataclass(frozen=True, slots=True)
class LeanTask:
    """The fields of a task; `prompt` has role, content and calls of its messages in turn, `seldom` what few have.

    Calls of tools and what few have are JSON, empty where there is none.
    """

    prompt: tuple[str, ...]
    answer: str | None
    source: str
    split: Split
    template: str | None
    operands: tuple[str, ...]
    level: int
    seldom: str = ""
    instruction: str | None = None
    """What its round's recipe said after every question; None where that is the present recipe's, or not known."""

    @classmethod
    def of(cls, task: Task, instruction: str | None = None) -> Self:
        """`task` without its weight."""
        prompt = tuple(chain.from_iterable(map(_parts, task.messages)))
        own = (task.answer, intern(task.source), task.split, task.template, task.operands or (), task.level)
        rest = task.model_dump_json(include=SELDOM) if any(getattr(task, name) for name in SELDOM) else ""
        return cls(prompt, *own, rest, instruction)

    def full(self) -> Task:
        """The task itself."""
        return Task(
            messages=self.messages,
            answer=self.answer,
            source=self.source,
            split=self.split,
            template=self.template,
            operands=self.operands,
            level=self.level,
            **json.loads(self.seldom or "{}"),
        )

    @property
    def messages(self) -> tuple[Message, ...]:
        """As the task's own."""
        said = zip(self.prompt[::3], self.prompt[1::3], self.prompt[2::3], strict=True)
        return tuple(
            Message.model_validate({"role": role, "content": content, **json.loads(calls or "{}")})
            for role, content, calls in said
        )

    @property
    def id(self) -> str:
        """As the task's own."""
        return self.full().id

    @property
    def question(self) -> str:
        """As the task's own."""
        return next(self.prompt[n + 1] for n in range(len(self.prompt) - 3, -1, -3) if self.prompt[n] == "user")

    @property
    def origin(self) -> Origin:
        """As the task's own."""
        return "feedback" if self.source.startswith(FEEDBACK) else "task"


def _parts(message: Message) -> tuple[str, str, str]:
    calls = message.tool_calls or message.tool_call_id
    return intern(message.role), message.content, message.model_dump_json(exclude={"role", "content"}) if calls else ""


AnyTask = Task | LeanTask
"""A task, with its weight or without."""


def lean(task: AnyTask) -> LeanTask:
    """`task` without its weight."""
    return task if isinstance(task, LeanTask) else LeanTask.of(task)
