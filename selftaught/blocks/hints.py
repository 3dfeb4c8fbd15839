"""Hints: prompts with help in the last user message, above all the gold answer.

Shared by samplers and searches, which decide when to use a hint, and keep it out of training prompts.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from selftaught.core.templates import filled, with_slots
from selftaught.records import Message, Task


def _names_the_answer(hint: str) -> str:
    if "{answer}" not in hint:
        raise ValueError(f"{hint!r} does not contain {{answer}}, where the gold answer goes")
    return hint


Hint = Annotated[
    str,
    with_slots("answer"),
    AfterValidator(_names_the_answer),
    Field(description="added to the last user message; {answer} is the gold answer"),
]
"""The text of a hint."""


def with_hint(task: Task, hint: str, answer: str) -> list[Message]:
    """The messages of `task` with `hint`, {answer} filled in, after the last user message."""
    last = max(i for i, message in enumerate(task.messages) if message.role == "user")
    asked = Message(role="user", content=f"{task.messages[last].content}\n\n{filled(hint, {'answer': answer})}")
    return [*task.messages[:last], asked, *task.messages[last + 1 :]]
