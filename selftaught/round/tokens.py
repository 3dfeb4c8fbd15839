"""Whether models that are asked by token ids read the same text in them as the policy, found out before a round.

A search hands the policy's own token ids to `value_model` and `outcome`. To a model with another tokenizer they are
another text, and what it makes of that is a number like any other. What is asked in words (`p_true`, a judge) may have
any tokenizer. Only the meaning of the ids is compared, and only where both models have a `tokenizer.json`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from pydantic import BaseModel

from selftaught.errors import BadInput, StoreError
from selftaught.recipe import Stage
from selftaught.round.job import ModelRef, Workplace
from selftaught.search.values import Outcome, ValueModel

FILE = "tokenizer.json"


def require_same_tokens(place: Workplace, stage: Stage, policy: ModelRef, roles: Mapping[str, ModelRef]) -> None:
    """Raise BadInput when a model of `roles` that `stage` asks by token ids knows one of the policy's as another."""
    own = _texts(place, policy)
    for block in _asked_by_ids((stage.sample, *(metric.sampler() for metric in stage.evaluate))):
        theirs = _texts(place, roles[block.role]) if block.role in roles else None
        if own is None or theirs is None:
            continue
        if others := {number: text for number, text in own.items() if theirs.get(number) != text}:
            first = min(others)
            raise BadInput(
                f"{stage.name}: the {block.role} model ({roles[block.role].digest[:8]}) has another tokenizer than the "
                f"policy: {len(others)} of its {len(own)} tokens are others there (token {first} is {others[first]!r} "
                f"and {theirs.get(first)!r}). {block.name} asks by token ids, so its values would be of another text. "
                "Take a model with the policy's tokenizer, or p_true, which asks in words."
            )


def _texts(place: Workplace, model: ModelRef) -> Mapping[int, str] | None:
    """What each token id of `model` stands for; None where it has no `tokenizer.json`."""
    with suppress(StoreError):
        return texts(place.store.read("models", model.digest, FILE))
    return None


def texts(tokenizer: bytes) -> Mapping[int, str]:
    """What each token id stands for in a `tokenizer.json`: its vocabulary, and the tokens that were added to it."""
    told = cast(dict[str, Any], json.loads(tokenizer))
    vocabulary: dict[str, int] | list[tuple[str, float]] = told["model"]["vocab"]
    found = (
        {number: text for text, number in vocabulary.items()}
        if isinstance(vocabulary, dict)
        else {number: text for number, (text, _) in enumerate(vocabulary)}  # Unigram: a score beside each
    )
    return found | {added["id"]: added["content"] for added in told.get("added_tokens") or ()}


def _asked_by_ids(part: object) -> Iterator[ValueModel | Outcome]:
    """The blocks in `part`, at any depth, that ask a role's model by token ids."""
    if isinstance(part, ValueModel | Outcome):
        yield part
    if isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield from _asked_by_ids(getattr(part, name))
    elif isinstance(part, tuple):
        for each in cast(tuple[object, ...], part):
            yield from _asked_by_ids(each)
