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
    """The fields of a task; `prompt` has role and content of its messages in turn, `seldom` as JSON what few have."""

    prompt: tuple[str, ...]
    answer: str | None
    source: str
    split: Split
    template: str | None
    operands: tuple[str, ...]
    level: int
    seldom: str = ""

    @classmethod
    def of(cls, task: Task) -> Self:
        """`task` without its weight."""
        prompt = tuple(chain.from_iterable((intern(each.role), each.content) for each in task.messages))
        own = (task.answer, intern(task.source), task.split, task.template, task.operands or (), task.level)
        rest = task.model_dump_json(include=SELDOM) if any(getattr(task, name) for name in SELDOM) else ""
        return cls(prompt, *own, rest)

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
        said = zip(self.prompt[::2], self.prompt[1::2], strict=True)
        return tuple(Message.model_validate({"role": role, "content": content}) for role, content in said)

    @property
    def id(self) -> str:
        """As the task's own."""
        return self.full().id

    @property
    def question(self) -> str:
        """As the task's own."""
        return next(self.prompt[n] for n in range(len(self.prompt) - 1, 0, -2) if self.prompt[n - 1] == "user")

    @property
    def origin(self) -> Origin:
        """As the task's own."""
        return "feedback" if self.source.startswith(FEEDBACK) else "task"


AnyTask = Task | LeanTask
"""A task, with its weight or without."""


def lean(task: AnyTask) -> LeanTask:
    """`task` without its weight."""
    return task if isinstance(task, LeanTask) else LeanTask.of(task)
