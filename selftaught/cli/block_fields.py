"""What a block's fields are, in words for people: read off its JSON Schema, which editors have as well."""

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
    return [_field(name, told) for name, told in schema["properties"].items() if name != "type"]


def _field(name: str, told: Schema) -> BlockField:
    default = _value(told["default"]) if "default" in told else ""
    return BlockField(name, _kind(told), default, " ".join(told.get("description", "").split()))


def _kind(told: Schema) -> str:
    """The type as YAML has it: `number > 0`, `one of 'linear', 'cosine'`, `list of text`, `block`."""
    if choices := told.get("anyOf"):
        return " or ".join(_kind(each) for each in choices)
    if "enum" in told:
        return f"one of {', '.join(map(_value, told['enum']))}"
    if "oneOf" in told or "$ref" in told:
        return "block"
    if told.get("type") == "array":
        return f"list of {_kind(cast(Schema, told.get('items', {})))}"
    words = {"integer": "integer", "string": "text", "object": "mapping", "boolean": "true or false"}
    named = str(told.get("type", "anything"))
    kind = words.get(named, named)
    return " ".join([kind, *(f"{sign} {told[limit]:g}" for limit, sign in _LIMITS.items() if limit in told)])


def _value(value: Any) -> str:
    """`value` as YAML would have it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
