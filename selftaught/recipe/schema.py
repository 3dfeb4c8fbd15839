"""The JSON Schema of a recipe for editors, of one that stands alone and of one that extends another.

What extends something, and every profile, is a part of a recipe: any field may be missing, a block's `type` as well.
Only the parser knows what a recipe and its parent come to together.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel

from selftaught.recipe.errors import NAME

PART = "PartOf"
ONE_SET = (("EvaluationSet", "tasks"), ("Inbox", "guard_from"))
"""Sources of which one set is used, whose other sizes may be left out (`OnlyFor`)."""


def schema_of(recipe: type[BaseModel], stage: type[BaseModel]) -> dict[str, Any]:
    """The schema of `recipe`, whose stages are `stage`."""
    root = recipe.model_json_schema()
    definitions = {**root.pop("$defs"), recipe.__name__: root}
    parts = {PART + name: _part(each) for name, each in definitions.items()}
    for each in (definitions[recipe.__name__], parts[PART + recipe.__name__]):
        each["properties"]["profiles"]["patternProperties"] = {NAME: _ref(PART + recipe.__name__)}
    for definition, field in ONE_SET:
        properties = definitions[definition]["properties"]
        properties[field] = _part(properties[field])
    definitions[stage.__name__] = _part_if_extends(stage.__name__, definitions[stage.__name__])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_part_if_extends(recipe.__name__, _ref(recipe.__name__)),
        "$defs": definitions | parts,
    }


def _part_if_extends(name: str, otherwise: Mapping[str, Any]) -> dict[str, Any]:
    return {"if": {"required": ["extends"]}, "then": _ref(PART + name), "else": otherwise}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _part(schema: Any) -> Any:
    """`schema` with every field optional. Without a `type` a block may be any of its axis, so one or more may match."""
    if isinstance(schema, list):
        return [_part(each) for each in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast(dict[str, Any], schema).items()
    return {("anyOf" if key == "oneOf" else key): _part_of(key, each) for key, each in fields if key not in LEFT_OUT}


def _part_of(key: str, value: Any) -> Any:
    if key in NAMES:
        return {name: _part(each) for name, each in value.items()}
    if key == "$ref":
        return value.replace("#/$defs/", f"#/$defs/{PART}")
    return value if key in VALUES else _part(value)


LEFT_OUT = ("required", "discriminator")
NAMES = ("properties", "patternProperties")
"""Keywords whose value is a mapping from names to schemas."""
VALUES = ("default", "enum", "const", "examples")
"""Keywords whose value is no schema."""
