"""Values as text and back, exact to the type: what a program returned leaves a sandbox as this.

Plain data alone: None, truth, integers, floats, complex numbers, text, bytes, lists, tuples, sets, dicts. Anything
else, a subclass of these too, has no such text. Reading builds values of these types and runs nothing. Standard library
alone: `encode` runs beside the program, `decode` and `same` outside.
"""

import json
import math
from collections.abc import Callable
from typing import Any, cast


class NotPlain(ValueError):
    """A value of a type that has no text, or text that stands for no value."""


def encode(value: Any) -> str:
    """The text of `value`, as one line. Raises NotPlain for what is not plain data, or lies deeper than Python goes."""
    try:
        return json.dumps(_jsonable(value))
    except RecursionError:
        raise NotPlain("nested too deeply") from None


def decode(text: str | bytes) -> Any:
    """The value that `text` stands for. Raises NotPlain for anything that `encode` does not write."""
    try:
        return _value(json.loads(text))
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise NotPlain(str(error)) from None


def same(expected: Any, value: Any) -> bool:
    """Whether two plain values are equal in type and value, all the way down: True is not 1, and nan is nan."""
    kind = cast(Any, type(expected))
    if kind is not type(value):
        return False
    if kind in (list, tuple):
        return len(expected) == len(value) and all(map(same, expected, value))
    if kind is dict:
        ours, theirs = ({encode(key): each for key, each in one.items()} for one in (expected, value))
        return ours.keys() == theirs.keys() and all(same(each, theirs[key]) for key, each in ours.items())
    if kind is float:
        return expected == value or (math.isnan(expected) and math.isnan(value))
    return encode(expected) == encode(value)


def _jsonable(value: Any) -> Any:
    """`value` as JSON has it, and what JSON cannot tell apart behind the name of its type."""
    kind = cast(Any, type(value))
    if value is None or kind in (bool, str):
        return value
    if kind not in _WRITERS:
        raise NotPlain(f"{kind.__name__} is not plain data")
    return {kind.__name__: _WRITERS[kind](value)}


def _value(data: Any) -> Any:
    kind = cast(Any, type(data))
    if data is None or kind in (bool, str):
        return data
    if kind is not dict or len(data) != 1:
        raise NotPlain("no value")
    ((name, content),) = data.items()
    if type(content) is not (str if name in _TEXTS else list) or name not in _READERS:
        raise NotPlain("no value")
    return _READERS[name](content)


def _each(values: Any) -> list[Any]:
    return [_jsonable(each) for each in values]


def _sorted(values: Any) -> list[Any]:
    """In an order that depends on nothing else."""
    return sorted(_each(values), key=json.dumps)


_WRITERS: dict[type, Callable[[Any], Any]] = {
    int: hex,  # decimal digits have a limit, and cost their square
    float: float.hex,
    complex: lambda value: [value.real.hex(), value.imag.hex()],
    bytes: bytes.hex,
    list: _each,
    tuple: _each,
    set: _sorted,
    frozenset: _sorted,
    dict: lambda value: [[_jsonable(key), _jsonable(each)] for key, each in value.items()],
}
_TEXTS = ("int", "float", "bytes")
_READERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda content: int(content, 16),
    "float": float.fromhex,
    "complex": lambda content: complex(*map(float.fromhex, content)),
    "bytes": bytes.fromhex,
    "list": lambda content: [_value(each) for each in content],
    "tuple": lambda content: tuple(map(_value, content)),
    "set": lambda content: set(map(_value, content)),
    "frozenset": lambda content: frozenset(map(_value, content)),
    "dict": lambda content: {_value(key): _value(each) for key, each in content},
}
