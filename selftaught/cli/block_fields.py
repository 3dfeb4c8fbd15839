"""A block's fields as text for people, from its JSON Schema, which editors use as well."""

import json
from collections.abc import Iterator, Mapping
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
    """The fields of `block` in the order of its class, without `type`; behind settings theirs, as `lora.rank`."""
    schema = block.model_json_schema()
    known = schema.get("$defs", {})
    schema = _resolved(schema, known)
    return [row for name, field in schema["properties"].items() if name != "type" for row in _rows(name, field, known)]


def _rows(name: str, schema: Schema, known: Schema, within: tuple[Schema, ...] = ()) -> Iterator[BlockField]:
    default = _value(schema["default"]) if "default" in schema else ""
    yield BlockField(name, _kind(schema, known), default, " ".join(schema.get("description", "").split()))
    for each in (schema, schema.get("items", {}), *schema.get("anyOf", ())):
        nested = _resolved(each, known)
        if _are_settings(nested) and nested not in within:  # settings may hold themselves
            for field, of in nested["properties"].items():
                yield from _rows(f"{name}.{field}", of, known, (*within, nested))


def _resolved(schema: Schema, known: Schema) -> Schema:
    return cast(Schema, known.get(schema.get("$ref", "").rpartition("/")[2], schema))


def _are_settings(schema: Schema) -> bool:
    """Whether it has fields of its own, and is no block, whose `type` says which they are."""
    return "type" not in schema.get("properties", {"type": ""})


def _kind(schema: Schema, known: Schema) -> str:
    """The type as YAML has it: `number > 0`, `one of 'linear', 'cosine'`, `list of text`, `block`."""
    if choices := schema.get("anyOf"):
        return " or ".join(_kind(each, known) for each in choices)
    if "enum" in schema:
        return f"one of {', '.join(map(_value, schema['enum']))}"
    if "oneOf" in schema or "$ref" in schema:
        return "settings" if _are_settings(_resolved(schema, known)) else "block"
    if schema.get("type") == "array":
        return f"list of {_kind(cast(Schema, schema.get('items', {})), known)}"
    words = {"integer": "integer", "string": "text", "object": "mapping", "boolean": "true or false"}
    named = str(schema.get("type", "anything"))
    kind = words.get(named, named)
    return " ".join([kind, *(f"{sign} {schema[limit]:g}" for limit, sign in _LIMITS.items() if limit in schema)])


def _value(value: Any) -> str:
    """`value` as YAML would have it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
