"""Columns of JSON: fields of rows whose keys are open, such as a task's check, so that a new kind is no new schema."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, JsonValue, PlainSerializer

from selftaught.core.canonical import canonical
from selftaught.records.added import LEFT_OUT


def read_json(given: Any) -> Any:
    """What a row's text means; a column that is empty or was not there yet is an empty mapping."""
    return json.loads(given) if isinstance(given, str) else given or {}


def write_json(value: Any) -> str:
    """The text that a row holds."""
    return canonical(value).decode()


def _typed(value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    if value and not isinstance(value.get("type"), str):
        raise ValueError("has no `type`, the name of the block that reads it")
    return value


_COLUMN = (BeforeValidator(read_json), PlainSerializer(write_json, return_type=str), pa.string())

Texts = Annotated[Mapping[str, str], *_COLUMN, LEFT_OUT]
"""Named texts."""
Typed = Annotated[Mapping[str, JsonValue], AfterValidator(_typed), *_COLUMN, LEFT_OUT]
"""A mapping whose `type` names the block that reads it; empty where there is none."""
