"""A record's Arrow schema, derived from the annotations of its fields.

Strings and literals are strings, `int` is int64 and `float` float64; a tuple is a list, another record a struct, and a
field that may be None is nullable, as every Arrow field is. An annotation may name another type for a field, as
`TokenIds` does. What a data set is on disk is `selftaught.records.dataset`'s business.
"""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

TokenIds = tuple[Annotated[int, pa.int32()], ...]
"""Token ids of a model's tokenizer."""

_NONE = type(None)
_PLAIN: dict[Any, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def schema_of(record: type[BaseModel]) -> pa.Schema:
    """The schema of `record`'s rows. Raises TypeError for an annotation that Arrow has no type for."""
    return pa.schema([(name, _of_field(field)) for name, field in record.model_fields.items()])


def struct_of(record: type[BaseModel]) -> pa.DataType:
    """The type of a field that holds one `record`."""
    return pa.struct(list(schema_of(record)))


def _of_field(field: FieldInfo) -> pa.DataType:
    return _named(field.metadata) or _type(field.annotation)


def _type(annotation: Any) -> pa.DataType:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(arguments[1:]) or _type(arguments[0])
    if origin is Literal:
        return pa.string()
    if origin is tuple and arguments[1:] == (...,):
        return pa.list_(_type(arguments[0]))
    if origin in (Union, types.UnionType) and len(some := {_type(each) for each in arguments if each != _NONE}) == 1:
        return some.pop()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return struct_of(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    raise TypeError(f"{annotation}: no Arrow type; annotate the field with one")


def _named(metadata: Any) -> pa.DataType | None:
    return next((each for each in metadata if isinstance(each, pa.DataType)), None)
