"""Rendering: an example as the token ids that a model is trained on, and which of them count.

A pure function of messages and of the engine's tokens. The context is the one in which the model is asked: the chat
template's opening, with its generation prompt. What is to be said stands behind it as the engine gave it, or tokenized
from text, and ends with a token at which engines stop. No template renders it, because many change it: they cut
reasoning, trim, put in an empty think block or leave the end out. So what is trained is what was sampled, or what would
be if the model said it. Whether a model can be asked at all is `selftaught.training.suitable`'s business.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import JsonValue

from selftaught.records import Example, Message

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A row of token ids; `trained` says of each whether it counts in the loss."""

    ids: Ids
    trained: tuple[bool, ...]


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
        rows = [message.to_row() for message in messages]
        options = {**self.template, "add_generation_prompt": True, "return_dict": False}
        return tuple(self.tokenizer.apply_chat_template(rows, **options))

    def begun(self, messages: Sequence[Message]) -> Ids:
        """As `opening`, but a last message of the assistant is an answer that is to be resumed."""
        if messages[-1].role != "assistant":
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


def rendered(example: Example, chat: Chat) -> list[Rendered]:
    """`example`'s completion as rows, in which the assistant's turns alone count; none when it cannot be said.

    One row, unless the template shows earlier turns otherwise than they were said (it cuts their reasoning): then each
    turn stands in a row of its own, in the context in which it is asked.
    """
    rows: list[Rendered] = []
    for at, ids in _turns(example, chat):
        context, said = _context(example, at, chat), chat.said(example.completion[at].content, ids)
        if said is None:
            return []
        before = rows.pop() if rows and context[: len(rows[-1].ids)] == rows[-1].ids else Rendered((), ())
        between = context[len(before.ids) :]
        trained = (*before.trained, *(False for _ in between), *(True for _ in said))
        rows.append(Rendered((*before.ids, *between, *said), trained))
    return rows


def _turns(example: Example, chat: Chat) -> Iterator[tuple[int, Ids]]:
    """Where the assistant's turns stand in the completion, each with the engine's tokens where they are known.

    The tokens of several turns lie end to end, and each turn's end with its only end token.
    """
    places = [at for at, message in enumerate(example.completion) if message.role == "assistant"]
    if len(places) == 1:
        return zip(places, [example.completion_ids], strict=True)
    cuts = [at + 1 for at, token in enumerate(example.completion_ids) if token in chat.ends]
    parts = [example.completion_ids[begin:end] for begin, end in zip([0, *cuts], cuts, strict=False)]
    return zip(places, parts if len(parts) == len(places) else [()] * len(places), strict=True)


def _context(example: Example, at: int, chat: Chat) -> Ids:
    """What stands before the turn `at` of the completion: the engine's own tokens of the prompt, or the opening."""
    if at:
        return chat.opening((*example.prompt, *example.completion[:at]))
    if example.prompt_ids and example.prompt[-1].content.strip() in chat.text(example.prompt_ids):
        return example.prompt_ids
    return chat.begun(example.prompt)


def _led(text: str) -> str:
    """`text` from its first letter on: whether a first token begins with a space is shown in its context alone."""
    return text.lstrip(" ")


def _same(one: str, other: str) -> bool:
    """Whether two texts are the same in Unicode's composed form, which some tokenizers make of every text."""
    return unicodedata.normalize("NFC", _led(one)) == unicodedata.normalize("NFC", _led(other))
