"""A recipe made short: a few tasks, one round a stage, so that its blocks are seen to fit in a minute or so.

What a short round comes to says nothing of the method.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

from selftaught.recipe import Recipe

SMALLER: Mapping[str, float] = {
    "train": 16,
    "gate": 6,
    "report": 6,
    "guard": 4,
    "at_least": 30,
    "minimum": 1,
    "rounds": 1,
    "k": 8,
    "steps": 2,
    "epochs": 1,
}
"""At most this for fields of a recipe, wherever they are, that make a round long or that a short one falls short of."""


def shortened(recipe: Recipe, bounds: Mapping[str, float] = SMALLER, **fields: Any) -> Recipe:
    """`recipe`, or one with `fields` in place of its own, with the fields of `bounds` at most as large as these."""
    return Recipe.parse(json.dumps(_smaller(recipe.model_copy(update=fields).model_dump(mode="json"), bounds)))


def _smaller(value: Any, bounds: Mapping[str, float]) -> Any:
    """A recipe's `value` with the fields of `bounds` bounded."""
    if isinstance(value, list):
        return [_smaller(each, bounds) for each in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    return {
        key: min(each, bounds[key]) if key in bounds and isinstance(each, int | float) else _smaller(each, bounds)
        for key, each in cast(dict[str, Any], value).items()
    }
