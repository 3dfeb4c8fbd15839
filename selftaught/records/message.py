"""One chat message, and the calls of tools in it."""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from pydantic import model_validator

from selftaught.records.added import Name, Several
from selftaught.records.base import Record

ChatRole = Literal["system", "user", "assistant", "tool"]


class Function(Record):
    """What is called. `arguments` is the text that the model gave: JSON, if it did not err."""

    name: str
    arguments: str


class ToolCall(Record):
    """One call of a tool, in the form of OpenAI's protocol; the tool's message names its `id`."""

    id: str
    type: Literal["function"] = "function"
    function: Function


class Message(Record):
    """One chat message, as an OpenAI-compatible endpoint takes it.

    The assistant's may call tools; a tool's then says which call it answers.
    """

    role: ChatRole
    content: str
    tool_calls: Several[ToolCall] = ()
    tool_call_id: Name = ""

    @model_validator(mode="after")
    def _by_role(self) -> Self:
        require_tool_roles(self.role, self.tool_calls, self.tool_call_id)
        return self


def require_tool_roles(role: ChatRole, calls: tuple[ToolCall, ...], answers: str) -> None:
    """Raise ValueError where another than the assistant calls tools, or another than a tool answers a call."""
    if calls and role != "assistant":
        raise ValueError(f"tool_calls: a message of the {role} has none, only the assistant's")
    if answers and role != "tool":
        raise ValueError(f"tool_call_id: a message of the {role} answers no call, only a tool's")


def in_words(message: Message) -> str:
    """What `message` says, its calls of tools included, for those who take no calls."""
    called = (f"{call.function.name}({call.function.arguments})" for call in message.tool_calls)
    return "\n".join(each for each in (message.content, *called) if each)


def for_template(row: Mapping[str, Any]) -> dict[str, Any]:
    """A message's `row` as chat templates take it: with arguments that are a JSON object as that object.

    transformers' templates write arguments as JSON themselves, and would quote a text once more.
    """
    if not row.get("tool_calls"):
        return dict(row)
    return {**row, "tool_calls": [_with_object(call) for call in row["tool_calls"]]}


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    function = cast(Mapping[str, Any], call["function"])
    if not isinstance(function["arguments"], str):
        return dict(call)
    try:
        given = json.loads(function["arguments"])
    except ValueError:
        given = None
    return {**call, "function": {**function, "arguments": given}} if isinstance(given, dict) else dict(call)
