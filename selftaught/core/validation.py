"""What pydantic refused, in words: what a value should be, and an exception on one line.

Where a value stands, in a recipe's file or among the settings, is for whoever reads those.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

SHOWN = 80
"""Characters of a wrong value that its message shows."""


def described(error: BaseException) -> str:
    """The type and the words of `error`, on one line; where pydantic refused a value, the field and the value."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}"
    return "; ".join(_refused(error.title, each) for each in error.errors(include_url=False))


def _refused(model: str, detail: ErrorDetails) -> str:
    """`Verdict.score: 10: should be less than or equal to 1`."""
    field = ".".join(map(str, (model, *detail["loc"])))
    if detail["type"] in ("value_error", "missing"):
        return f"{field}: {detail['msg'].removeprefix('Value error, ')}"
    return f"{field}: {shown(detail['input'])}: {should(detail)}"


def shown(value: Any) -> str:
    """A wrong value, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def should(detail: ErrorDetails) -> str:
    """What pydantic says, in plain words: `should be a number`."""
    kind = detail["type"]
    if kind == "too_short" and detail.get("ctx", {})["min_length"] == 1:
        return "should not be empty"
    message = PLAIN.get(kind.partition("_")[0]) if kind.endswith(("_type", "_parsing", "_from_float")) else None
    return message or detail["msg"].replace("Input should", "should").replace("valid ", "")


PLAIN = {
    "int": "should be an integer",
    "float": "should be a number",
    "bool": "should be true or false",
    "string": "should be text",
    "dict": "should be a mapping",
    "tuple": "should be a list",
}
"""What a value should be, by the first word of pydantic's error types."""
