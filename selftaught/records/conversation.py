"""Conversations: a task and the turns of a rollout, as one of the speakers sees them.

What a speaker said itself are the assistant's messages, and what anybody else said are the user's; chat templates
refuse two messages of one role in a row, so these are one. Sampling asks with it, and curation trains on it: a model
learns in the context in which it was asked.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

from selftaught.records.message import ChatRole, Message, in_words
from selftaught.records.rollout import Turn

Said = tuple[Message, Turn | None]
"""A message, and the turn that it is where the speaker itself said it."""


def conversation(messages: Sequence[Message], turns: Iterable[Turn], speaker: str = "policy") -> list[Said]:
    """The task's `messages` and `turns` as `speaker` sees them; turns said aside are not seen.

    A tool's answer to another's call is the user's, and the call is spelt out: the speaker has called nothing.
    """
    seen, shown = [(message, None) for message in messages], [turn for turn in turns if not turn.aside]
    calling = [*messages, *(turn for turn in shown if turn.speaker == speaker)]
    called = {call.id for each in calling for call in each.tool_calls}
    return list(_joined([*seen, *(_seen(turn, speaker, called) for turn in shown)]))


def asked_after(messages: Sequence[Message], turns: Sequence[Turn], speaker: str = "policy") -> tuple[Message, ...]:
    """What `speaker` is asked with in the thread of the task's `messages` after `turns`."""
    return tuple(message for message, _ in conversation(opening(messages, turns, speaker), turns, speaker))


def opening(messages: Sequence[Message], turns: Iterable[Turn], speaker: str = "policy") -> tuple[Message, ...]:
    """What `speaker` sees before `turns`: the task's `messages`, or what it said the first of them to instead.

    What another speaker was asked with is not seen, and a system message is of the turn that has it.
    """
    first = next((turn for turn in turns if not turn.aside), None)
    if first is None or first.speaker != speaker or not first.asked:
        return tuple(messages)
    system = (message for message in messages if message.role == "system")
    return (*system, *(message for message in first.asked if message.role != "system"))


def _seen(turn: Turn, speaker: str, called: Collection[str]) -> Said:
    if turn.role == "assistant" and turn.speaker == speaker:
        return turn.message, turn
    if turn.role == "tool" and (not turn.tool_call_id or turn.tool_call_id in called):
        return turn.message, None
    return Message(role="user", content=in_words(turn.message)), None


def _joined(said: Iterable[Said]) -> Iterator[Said]:
    """What others said between two turns of the speaker, as one message a role; calls and answers to them stay."""
    for (role, stays), each in groupby(said, key=_kind):
        if stays:
            yield from each
        else:
            yield Message(role=role, content="\n\n".join(message.content for message, _ in each)), None


def _kind(said: Said) -> tuple[ChatRole, bool]:
    message, own = said
    called = message.tool_calls or message.tool_call_id
    return message.role, own is not None or message.role == "system" or bool(called)
