"""Examples to test with: a question and what is to be said to it, as text."""

from typing import Any

from selftaught.records import Example, Message, Prefer, Regress, Segment


def asked(question: str, *more: Message, token_ids: tuple[int, ...] = ()) -> Segment:
    """A prompt of one question, and what follows it there."""
    return Segment.context((Message(role="user", content=question), *more), token_ids)


def imitated(question: str, text: str, **more: Any) -> Example:
    """`text`, to be said to `question`."""
    return _made(((asked(question), Segment.answer(text)),), **more)


def preferred(question: str, chosen: str, rejected: str, smoothing: float = 0.0, **more: Any) -> Example:
    """`chosen`, preferred to `rejected`."""
    sides = tuple((asked(question), Segment.answer(text)) for text in (chosen, rejected))
    return _made(sides, target=Prefer(smoothing=smoothing), **more)


def worth(question: str, text: str, label: float, right: bool | None = None, **more: Any) -> Example:
    """`text`, a partial solution, worth `label`."""
    said = Segment.answer(text, weights=())
    return _made(((asked(question), said),), target=Regress(label=label, right=right), **more)


def conversation(*turns: str) -> tuple[Message, ...]:
    """User and assistant by turns."""
    roles = ("user", "assistant")
    return tuple(Message.model_validate({"role": roles[at % 2], "content": text}) for at, text in enumerate(turns))


def _made(sequences: tuple[tuple[Segment, ...], ...], **more: Any) -> Example:
    return Example.model_validate({"task": "t", "rollout": "r"} | more | {"sequences": sequences})
