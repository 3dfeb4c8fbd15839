"""Cells: validation of values in user-provided rows, and errors of their readers.

One border for every source. A cell is text or a finite number, and can be written down; what only looks like one once
`str()` was asked (a list, a mapping, a chat, bytes, true, NaN) is refused as what it is. It does not know which
columns there are (`rows`) nor what feedback means by them (`feedback`).
"""

import math
import reprlib
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TypeVar, cast

import numpy as np

from selftaught.core.errors import BadInput, SelftaughtError
from selftaught.records import encodable

MOST_TEXT = 1_000_000
"""Characters of one cell: a thousand times a long question."""

R = TypeVar("R")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class BadCell(ValueError):
    """What is wrong with a cell, in words that begin with its value."""


def text(value: object) -> str:
    """`value` as text, without white space around it; empty where there is nothing. Raises BadCell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _written(value.strip()) if any(map(_has_ink, value)) else ""
    if _is_chat(value):
        raise BadCell(f"{shown(value)}: is a chat. Name a column that holds the text alone")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise BadCell(f"{shown(value)}: should be text or a number")
    if not isinstance(value, int) and not math.isfinite(value):
        raise BadCell(f"{value}: should be text or a finite number")
    return str(value)


def errors_named(name: str, rows: Iterable[R]) -> Iterator[R]:
    """`rows`; whatever their reader raises is reported for `name`.

    Raises BadInput, and what says already what is wrong.
    """
    try:
        yield from rows
    except SelftaughtError:
        raise
    # A library that reads text of strangers may raise anything: here alone it becomes words.
    except Exception as error:
        raise BadInput(f"{name}: cannot be read ({reason(error)}). Fix the file, or leave it out.") from error


def reason(error: Exception) -> str:
    """The first line of what `error` says, or its name."""
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


def shown(value: object) -> str:
    """The beginning of `value`, with whatever is not a letter spelt out."""
    return _SHORT.repr(value)


def as_written(value: object, kind: str) -> object:
    """`value` of a column of `kind` as it was written: .1 in 32 bits is .10000000149 as a double."""
    if kind not in ("float16", "float32") or not isinstance(value, float):
        return value
    return float(str(np.dtype(kind).type(value)))


def _has_ink(letter: str) -> bool:
    """Whether anything is to be seen of it: a cell of spaces, NUL or zero-width marks holds nothing."""
    return unicodedata.category(letter)[0] not in "CZ"


def _written(value: str) -> str:
    if len(value) > MOST_TEXT:
        raise BadCell(f"{shown(value)}: is {len(value):,} characters long, {MOST_TEXT:,} at most")
    if not encodable(value):
        raise BadCell(f"{shown(value)}: holds half a character (\\ud800 to \\udfff)")
    return value


def _is_chat(value: object) -> bool:
    messages = cast(list[object], value) if isinstance(value, list) else [value]
    return bool(messages) and all(isinstance(each, dict) and "role" in each for each in messages)
