"""Whether models that are asked by token ids read the same text in them as the policy, found out before a round.

A search hands the policy's own token ids to the models of BY_IDS. To a model with another tokenizer they are
another text, and what it makes of that is a number like any other. What is asked in words (`p_true`, a judge,
`process_reward`) may have any tokenizer. Only the meaning of the ids is compared, and only where both models have a
`tokenizer.json`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from selftaught.blocks import Block, within
from selftaught.core.errors import BadInput, StoreError
from selftaught.platform import Platform
from selftaught.recipe import Stage
from selftaught.round.job import ModelRef
from selftaught.search.values import Outcome, ValueModel
from selftaught.search.votes import Vote

FILE = "tokenizer.json"
BY_IDS = (ValueModel, Outcome, Vote)
"""The blocks that ask a role's model by token ids."""

B = TypeVar("B", bound=Block)


def require_same_tokens(platform: Platform, stage: Stage, policy: ModelRef, roles: Mapping[str, ModelRef]) -> None:
    """Raise BadInput when a model of `roles` that `stage` asks by token ids knows one of the policy's as another."""
    own = _texts(platform, policy)
    for block in blocks_of(stage, *BY_IDS):
        theirs = _texts(platform, roles[block.role]) if block.role in roles else None
        if own is None or theirs is None:
            continue
        if others := {number: text for number, text in own.items() if theirs.get(number) != text}:
            first = min(others)
            raise BadInput(
                f"{stage.name}: the {block.role} model ({roles[block.role].digest[:8]}) has another tokenizer than the "
                f"policy: {len(others)} of its {len(own)} tokens are others there (token {first} is {others[first]!r} "
                f"and {theirs.get(first)!r}). {block.name} asks by token ids, so its values would be of another text. "
                "Take a model with the policy's tokenizer, or process_reward or p_true, which ask in words."
            )


def _texts(platform: Platform, model: ModelRef) -> Mapping[int, str] | None:
    """What each token id of `model` stands for; None where it has no `tokenizer.json`."""
    content = tokenizer_file(platform, model)
    return None if content is None else texts(content)


def tokenizer_file(platform: Platform, model: ModelRef) -> bytes | None:
    """The content of the `tokenizer.json` of `model`; None where it has none."""
    with suppress(StoreError):
        return platform.store.read("models", model.digest, FILE)
    return None


def texts(tokenizer: bytes) -> Mapping[int, str]:
    """What each token id stands for in a `tokenizer.json`: its vocabulary, and the tokens that were added to it."""
    data = cast(dict[str, Any], json.loads(tokenizer))
    vocabulary: dict[str, int] | list[tuple[str, float]] = data["model"]["vocab"]
    found = (
        {number: text for text, number in vocabulary.items()}
        if isinstance(vocabulary, dict)
        else {number: text for number, (text, _) in enumerate(vocabulary)}  # Unigram: a score beside each
    )
    return found | {added["id"]: added["content"] for added in data.get("added_tokens") or ()}


def blocks_of(stage: Stage, *kinds: type[B]) -> Iterator[B]:
    """The blocks of these `kinds` that `stage` samples and measures with, at any depth."""
    found = within(stage.sample, *(metric.sampler() for metric in stage.evaluate))
    return (block for block in found if isinstance(block, kinds))
