"""Whether a process reward model can be read where its block reads it, found out before a round.

A score is read at one token. A tag that the tokenizer splits or does not know is read in the middle of something that
the model was never trained on, and what comes out is a number like any other. Only the tokenizer and `config.json` are
looked at, so a tag that is one token but not the model's own passes. A model without a `tokenizer.json` is not looked
at here: the engine says the same of it in the round's first tree.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from selftaught.core.errors import BadInput
from selftaught.search.rewards import ProcessReward, ReplyReward
from selftaught.state.weights import PROCESS_REWARD

STEP = "2 + 3 = 5."
"""Any step: its tokens are not to depend on what follows it."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What makes token ids of a text, and the id of what it does not know."""

    of: Callable[[str], list[int]]
    unknown: int | None


def require_readable(
    where: str, block: ProcessReward | ReplyReward, config: Mapping[str, object], tokenizer: bytes | None
) -> None:
    """Raise BadInput where `block` reads a class or a token that a model with these files does not have.

    `where` begins the message; `config` is the model's `config.json`, `tokenizer` the content of its `tokenizer.json`.
    """
    if isinstance(block, ProcessReward) and block.positive >= (classes := _classes(config)):
        raise BadInput(
            f"{where}.positive: {block.positive} is no class of the {block.role} model, which has {classes}, from 0 "
            "on. Name the class of right steps."
        )
    if tokenizer is None or importlib.util.find_spec("tokenizers") is None:
        return
    tokens = _tokens(tokenizer)
    if isinstance(block, ReplyReward) and block.tag is not None:
        _require_words(where, block, tokens)
        _require_token(f"{where}.tag", block.tag, f" {block.tag}", block.role, tokens)
    elif isinstance(block, ProcessReward) and block.chat:
        _require_token(f"{where}.tag", block.tag, block.tag, block.role, tokens)


def _classes(config: Mapping[str, object]) -> int:
    if config.get("architectures") == [PROCESS_REWARD]:
        return 2
    labels = cast(Mapping[str, str], config.get("id2label") or {})
    return len(labels) or cast(int, config.get("num_labels") or 2)


def _tokens(tokenizer: bytes) -> Tokens:
    from tokenizers import Tokenizer

    made = Tokenizer.from_buffer(tokenizer)
    unknown = cast(dict[str, Any], json.loads(tokenizer))["model"].get("unk_token")
    return Tokens(
        lambda text: made.encode(text, add_special_tokens=False).ids,
        None if unknown is None else made.token_to_id(unknown),
    )


def _require_words(where: str, block: ReplyReward, tokens: Tokens) -> None:
    for field, word in (("right", block.right), ("wrong", block.wrong)):
        if found := _fault(tokens.of(word), tokens):
            raise BadInput(_not_one(f"{where}.{field}", word, found, block.role, "reply"))


def _require_token(where: str, tag: str, behind: str, role: str, tokens: Tokens) -> None:
    """`behind` is the tag as it stands behind a step: one token more than the step alone."""
    step, both = tokens.of(STEP), tokens.of(STEP + behind)
    found = _fault(both[len(step) :], tokens) if both[: len(step)] == step else "runs into the step before it for"
    if found:
        raise BadInput(_not_one(where, tag, found, role, "tag"))


def _fault(ids: Sequence[int], tokens: Tokens) -> str:
    """Why `ids` are not the one token of a text; empty where they are."""
    if tokens.unknown in ids:
        return "is not known to"
    return "" if len(ids) == 1 else f"is {len(ids)} tokens of"


def _not_one(where: str, text: str, found: str, role: str, what: str) -> str:
    return (
        f"{where}: {text!r} {found} the {role} model's tokenizer, and a score is read at one token. Name the {what} "
        "that the model was trained with."
    )
