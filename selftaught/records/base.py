"""The base class of records: a frozen row with a content id, to plain Python and back."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from selftaught.core.canonical import canonical


def encodable(text: str) -> bool:
    """Whether `text` can be written down: half a character (a lone surrogate, \\ud800 to \\udfff) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_id(value: Any) -> str:
    """The id of a row: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""What makes a row of a record's schema of one of an older schema."""


class Record(BaseModel):
    """A frozen row; `to_row` and `from_row` go to and from plain Python. Its Arrow schema follows from its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    SCHEMA: ClassVar[int] = 1
    """Counts up when the fields change, so that a data set of another shape is not mistaken for a damaged one."""
    UPGRADES: ClassVar[Mapping[int, Upgrade]] = {}
    """The older schemas that can be read."""

    def to_row(self) -> dict[str, Any]:
        """This record as a plain dictionary, a key for each field."""
        return self.model_dump(mode="json")

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The record that `to_row` wrote; raises pydantic's ValidationError on a row of another shape."""
        return cls.model_validate(row)

    @override
    def __hash__(self) -> int:
        """Of the row: some fields are mappings, which have none."""
        return hash(canonical(self.to_row()))

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields in `update` replaced; what was derived from this one's is not copied."""
        copy = super().model_copy(update=update, deep=deep)
        inside = cast("dict[str, Any]", copy.__dict__)
        for derived in inside.keys() - type(self).model_fields.keys():
            del inside[derived]
        return copy
