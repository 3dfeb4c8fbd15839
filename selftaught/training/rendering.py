"""Rendering: a sequence of an example as the token ids that a model is trained on, and what each counts for.

A pure function of messages and of the engine's tokens. The context is the one in which the model is asked: the chat
template's opening, with its generation prompt. What is to be said stands behind it as the engine gave it, or tokenized
from text, and ends with a token at which engines stop. No template renders it, because many change it: they cut
reasoning, trim, put in an empty think block or leave the end out. So what is trained is what was sampled, or what would
be if the model said it. Whether a model can be asked at all is `selftaught.training.suitable`'s business.
"""

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from selftaught.records import Message, Segment, for_template

Ids = tuple[int, ...]


Figures = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row of token ids, and what each counts for in the loss; 0 is context.

    `advantages` and `logprobs` (of the policy that sampled it; NaN where they are not known) are those of each token
    too, or empty where no token has one.
    """

    ids: Ids
    weights: Figures
    advantages: Figures = ()
    logprobs: Figures = ()

    @classmethod
    def context(cls, ids: Ids) -> "Rendered":
        """Tokens that do not count."""
        return cls(ids, (0.0,) * len(ids))

    def then(self, more: "Rendered") -> "Rendered":
        """The row with more tokens behind it."""
        return Rendered(
            (*self.ids, *more.ids),
            (*self.weights, *more.weights),
            _joined(self.advantages, more.advantages, len(self.ids), len(more.ids), 0.0),
            _joined(self.logprobs, more.logprobs, len(self.ids), len(more.ids), math.nan),
        )


def _joined(one: Figures, other: Figures, size: int, other_size: int, missing: float) -> Figures:
    """The figures of two rows, `missing` for the tokens of one that has none."""
    if not (one or other):
        return ()
    return (*(one or (missing,) * size), *(other or (missing,) * other_size))


@dataclass(frozen=True, slots=True)
class Chat:
    """How a model is asked and how it ends.

    `tokenizer` is transformers', `ends` are the tokens at which engines stop, `end` is the one that ends a turn,
    `template` are the variables of the chat template that engines are asked with.
    """

    tokenizer: Any
    ends: frozenset[int]
    end: int
    template: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])

    def opening(self, messages: Sequence[Message]) -> Ids:
        """The tokens with which an engine is asked for an answer to `messages`."""
        return self._templated(messages, answering=True)

    def calling(self, before: Sequence[Message], message: Message) -> Ids | None:
        """The tokens of the entire `message`, which calls tools, after `before`: as the chat template writes calls.

        None where the template shows what is before it otherwise, does not end the message, or takes no second one in a
        row, as behind what was put in the model's mouth.
        """
        if before and before[-1].role == "assistant":
            return None
        opening, full = self.opening(before), self._templated([*before, message], answering=False)
        said = full[len(opening) :] if full[: len(opening)] == opening else ()
        end = next((at for at, token in enumerate(said) if token in self.ends), None)
        return None if end is None else said[: end + 1]

    def _templated(self, messages: Sequence[Message], answering: bool) -> Ids:
        rows = [for_template(message.to_row()) for message in messages]
        options = {**self.template, "add_generation_prompt": answering, "return_dict": False}
        return tuple(self.tokenizer.apply_chat_template(rows, **options))

    def begun(self, messages: Sequence[Message]) -> Ids:
        """As `opening`, but a last message of the assistant is an answer that is to be resumed."""
        if messages[-1].role != "assistant" or messages[-1].tool_calls:
            return self.opening(messages)
        return (*self.opening(messages[:-1]), *self.tokens(messages[-1].content))

    def said(self, text: str, ids: Ids = ()) -> Ids | None:
        """The tokens of the entire answer `text`: the engine's `ids`, cut where the engine cut the text (at a stop
        string), or the text tokenized where they are not this model's tokens of it; and an end.

        None for a text that its tokens do not give back, such as one with the end token's own name in it.
        """
        ended = bool(ids) and ids[-1] in self.ends
        sampled = ids[:-1] if ended else ids
        kept = sampled[: self._agreeing(sampled, text)] if self.own(text, ids) else ()
        rest = _led(text)[len(_led(self.text(kept))) :] if kept else text
        body = (*kept, *self.tokens(rest))
        if self.ends.intersection(body) or not _same(self.text(body), text):
            return None
        return (*body, ids[-1] if ended else self.end)

    def own(self, text: str, ids: Ids) -> bool:
        """Whether the engine's `ids`, as this model's tokens, say `text`; more of them may follow."""
        return bool(ids) and _led(self.text(ids)).startswith(_led(text))

    def text(self, ids: Sequence[int]) -> str:
        """What `ids` say."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def tokens(self, text: str) -> Ids:
        """`text` within an answer, tokenized."""
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _agreeing(self, ids: Ids, text: str) -> int:
        """How many of `ids` say the beginning of `text`."""

        def beyond(count: int) -> bool:
            return not _led(text).startswith(_led(self.text(ids[:count])))

        if not beyond(len(ids)):
            return len(ids)
        return max(0, bisect_right(range(len(ids)), False, key=beyond) - 1)


def chat_of(folder: Path, template: Mapping[str, JsonValue] = {}) -> Chat:
    """How the model in `folder` is asked, with the variables `template`, and ends.

    Raises LookupError when no end token is named anywhere.
    """
    from transformers import AutoTokenizer

    tokenizer = cast(Any, AutoTokenizer).from_pretrained(folder, local_files_only=True)
    ends = end_tokens(folder, tokenizer)
    if not ends:
        raise LookupError(f"{folder}: no end token")
    return Chat(tokenizer, ends, _end(tokenizer, ends), template)


def end_tokens(folder: Path, tokenizer: Any) -> frozenset[int]:
    """The tokens at which engines stop, as vLLM has them: the tokenizer's, and those of the model's generation config.

    Where it has none, config.json names them.
    """
    import transformers

    auto, options = cast(Any, transformers), {"local_files_only": True}
    try:
        config = auto.GenerationConfig.from_pretrained(folder, **options)
    except OSError:
        config = auto.GenerationConfig.from_model_config(auto.AutoConfig.from_pretrained(folder, **options))
    named = cast("int | list[int] | None", config.eos_token_id)
    own = named if isinstance(named, list) else [named]
    return frozenset(token for token in (*own, tokenizer.eos_token_id) if token is not None)


def _end(tokenizer: Any, ends: frozenset[int]) -> int:
    """Of `ends` the one that the chat template writes last, or else the tokenizer's, or the first."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    written = cast(list[int], tokenizer.apply_chat_template(turns, return_dict=False))
    preferred = [*reversed(written), tokenizer.eos_token_id, *sorted(ends)]
    return next(token for token in preferred if token in ends)


def rendered(sequence: Sequence[Segment], chat: Chat) -> list[Rendered]:
    """`sequence` as rows, in which the tokens count that have weights; none when it cannot be said.

    One row, unless the template shows earlier turns otherwise than they were said (it cuts their reasoning): then each
    turn that is learnt stands in a row of its own, in the context in which it is asked.
    """
    rows: list[Rendered] = []
    for at, segment in enumerate(sequence):
        if not segment.weights:
            continue
        context, said = _context(sequence[:at], chat), _said(segment, sequence[:at], chat)
        if said is None:
            return []
        before = rows.pop() if rows and context[: len(rows[-1].ids)] == rows[-1].ids else Rendered((), ())
        rows.append(before.then(Rendered.context(context[len(before.ids) :])).then(said))
    return rows


def exact(sequence: Sequence[Segment]) -> Rendered | None:
    """`sequence` in the engine's own tokens, end to end, as they were sampled; None where not all are known."""
    if not all(segment.token_ids for segment in sequence):
        return None
    row = Rendered((), ())
    for segment in sequence:
        row = row.then(Rendered(segment.token_ids, _each(segment.weights, len(segment.token_ids))))
    return row


def _each(weights: Figures, tokens: int) -> Figures:
    """A weight each token: those given, or the one for all of them; 0 where there is none."""
    return weights if len(weights) == tokens else (weights or (0.0,)) * tokens


def _said(segment: Segment, before: Sequence[Segment], chat: Chat) -> Rendered | None:
    """The tokens of a turn after `before`, and their weights. None where they would not say it, or others were weighed.

    An end that the engine did not give is worth what the turn's last token is.
    """
    text = segment.messages[0].content
    if segment.advantages and chat.own(text, segment.token_ids):
        return _sampled(segment)
    ids = _turn(segment, before, chat)
    if ids is None:
        return None
    if max(len(segment.weights), len(segment.advantages)) == 1:
        return Rendered(ids, _each(segment.weights, len(ids)), segment.advantages * len(ids))
    weights = (*segment.weights, segment.weights[-1])[: len(ids)]
    same = ids in (segment.token_ids, (*segment.token_ids, chat.end))
    return Rendered(ids, weights) if same else None


def _turn(segment: Segment, before: Sequence[Segment], chat: Chat) -> Ids | None:
    """The tokens of a turn with its end; the text of one that calls tools is not all that it says."""
    message, ids = segment.messages[0], segment.token_ids
    if not message.tool_calls:
        return chat.said(message.content, ids)
    if chat.own(message.content, ids) and all(call.function.name in chat.text(ids) for call in message.tool_calls):
        return ids if ids[-1] in chat.ends else (*ids, chat.end)
    return chat.calling([each for segment in before for each in segment.messages], message)


def _sampled(segment: Segment) -> Rendered:
    """A turn that is reinforced: what was sampled and nothing else, as an end that was not has no advantage."""
    tokens = len(segment.token_ids)
    weights, advantages = _each(segment.weights, tokens), _each(segment.advantages, tokens)
    return Rendered(segment.token_ids, weights, advantages, segment.logprobs)


def _context(before: Sequence[Segment], chat: Chat) -> Ids:
    """What stands before a turn: the engine's own tokens of the prompt, where they are known, or the opening."""
    messages, ids = _messages(before), before[0].token_ids
    if len(before) == 1 and ids and messages[-1].content.strip() in chat.text(ids):
        return ids
    return chat.begun(messages)


def _messages(before: Sequence[Segment]) -> list[Message]:
    """The messages of the segments `before`; an answer and what was put in its mouth are one."""
    said: list[Message] = []
    for message in (message for segment in before for message in segment.messages):
        if said and said[-1].role == message.role == "assistant":
            last = said.pop()
            calls = (*last.tool_calls, *message.tool_calls)
            said.append(Message(role="assistant", content=last.content + message.content, tool_calls=calls))
        else:
            said.append(message)
    return said


def _led(text: str) -> str:
    """`text` from its first letter on: whether a first token begins with a space is shown in its context alone."""
    return text.lstrip(" ")


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same in Unicode's composed form, which some tokenizers make of every text."""
    return unicodedata.normalize("NFC", _led(one)) == unicodedata.normalize("NFC", _led(other))
