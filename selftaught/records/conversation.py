"""Conversations: a task and the turns of a rollout, as one of the speakers sees them.

What a speaker said itself are the assistant's messages, and what anybody else said are the user's; chat templates
refuse two messages of one role in a row, so these are one. Sampling asks with it, and curation trains on it: a model
learns in the context in which it was asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from selftaught.records.message import ChatRole, Message
from selftaught.records.rollout import Turn

Said = tuple[Message, Turn | None]
"""A message, and the turn that it is where the speaker itself said it."""


def conversation(messages: Sequence[Message], turns: Iterable[Turn], speaker: str = "policy") -> list[Said]:
    """The task's `messages` and `turns` as `speaker` sees them; turns said aside are not seen."""
    seen = [(message, None) for message in messages]
    return list(_joined([*seen, *(_seen(turn, speaker) for turn in turns if not turn.aside)]))


def opening(messages: Sequence[Message], turns: Iterable[Turn]) -> tuple[Message, ...]:
    """What later turns of a thread see before `turns`: the task's `messages`, or what the first was asked with instead.

    A system message is of the turn that has it: later ones see the task's.
    """
    first = next((turn for turn in turns if not turn.aside), None)
    if first is None or not first.asked:
        return tuple(messages)
    system = (message for message in messages if message.role == "system")
    return (*system, *(message for message in first.asked if message.role != "system"))


def _seen(turn: Turn, speaker: str) -> Said:
    if turn.role == "assistant" and turn.speaker == speaker:
        return turn.message, turn
    return (turn.message if turn.role == "tool" else Message(role="user", content=turn.content)), None


def _joined(said: Iterable[Said]) -> Iterator[Said]:
    """What others said between two turns of the speaker, as one message of each role, or of each call of a tool."""
    for (role, own, call), each in groupby(said, key=_kind):
        if own or call or role == "system":
            yield from each
        else:
            yield Message(role=role, content="\n\n".join(message.content for message, _ in each)), None


def _kind(said: Said) -> tuple[ChatRole, bool, str]:
    message, own = said
    return message.role, own is not None, message.tool_call_id
