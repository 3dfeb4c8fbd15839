"""One chat message."""

from typing import Literal

from selftaught.records.base import Record

ChatRole = Literal["system", "user", "assistant", "tool"]


class Message(Record):
    """One chat message, as an OpenAI-compatible endpoint takes it."""

    role: ChatRole
    content: str
