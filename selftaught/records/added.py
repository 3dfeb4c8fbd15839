"""Fields that rows had not from the first: read as empty where they are missing, and left out where they are empty.

So the digests of the rows that were written before a field was added stand.
"""

from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field

T = TypeVar("T")

LEFT_OUT = Field(exclude_if=lambda value: not value)
"""A row without it does not say so."""

Flag = Annotated[bool, BeforeValidator(bool), LEFT_OUT]
Count = Annotated[int, BeforeValidator(lambda count: count or 0), LEFT_OUT]
Name = Annotated[str, BeforeValidator(lambda name: name or ""), LEFT_OUT]
Several = Annotated[tuple[T, ...], BeforeValidator(lambda each: each or ()), LEFT_OUT]
