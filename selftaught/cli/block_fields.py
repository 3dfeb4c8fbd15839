"""A block's fields as text for people, from its JSON Schema, which editors use as well."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from selftaught.blocks import Block

Schema = Mapping[str, Any]

_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


@dataclass(frozen=True, slots=True)
class BlockField:
    """One field: what may stand there, what stands there unless it is given (empty: it has to be), what it means."""

    name: str
    type: str
    default: str
    meaning: str


def fields(block: type[Block]) -> list[BlockField]:
    """The fields of `block` in the order of its class, without `type`."""
    schema = block.model_json_schema()
    schema = schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    return [_field(name, field) for name, field in schema["properties"].items() if name != "type"]


def _field(name: str, schema: Schema) -> BlockField:
    default = _value(schema["default"]) if "default" in schema else ""
    return BlockField(name, _kind(schema), default, " ".join(schema.get("description", "").split()))


def _kind(schema: Schema) -> str:
    """The type as YAML has it: `number > 0`, `one of 'linear', 'cosine'`, `list of text`, `block`."""
    if choices := schema.get("anyOf"):
        return " or ".join(_kind(each) for each in choices)
    if "enum" in schema:
        return f"one of {', '.join(map(_value, schema['enum']))}"
    if "oneOf" in schema or "$ref" in schema:
        return "block"
    if schema.get("type") == "array":
        return f"list of {_kind(cast(Schema, schema.get('items', {})))}"
    words = {"integer": "integer", "string": "text", "object": "mapping", "boolean": "true or false"}
    named = str(schema.get("type", "anything"))
    kind = words.get(named, named)
    return " ".join([kind, *(f"{sign} {schema[limit]:g}" for limit, sign in _LIMITS.items() if limit in schema)])


def _value(value: Any) -> str:
    """`value` as YAML would have it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
