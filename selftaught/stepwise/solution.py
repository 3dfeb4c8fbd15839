"""A solution with a label for each step: the content of a row in any format. No I/O."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught.records import encodable


class BadRow(ValueError):
    """Why a row is none of its format, in words. It costs that row."""


class Shape(BaseModel):
    """What a row of a format has; other columns are ignored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, allow_inf_nan=False)

    @classmethod
    def of(cls, row: object) -> Self:
        """`row` as this. Raises BadRow, naming the first field that is something else."""
        try:
            return cls.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            location = ".".join(map(str, first["loc"]))
            raise BadRow(f"{location}: {first['msg']}" if location else first["msg"]) from None


@dataclass(frozen=True, slots=True)
class Solution:
    """A question, the steps of an answer, whether each is right, and what each is worth in [0, 1] where that is known.

    Raises BadRow unless there are steps, each with a label (and a value), and something is to be read in every text.
    """

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[bool, ...]
    values: tuple[float, ...] = ()
    ended: bool = True
    """Whether the last step ends the answer, or is one after which it could go on."""

    def __post_init__(self) -> None:
        if not self.steps:
            raise BadRow("has no steps")
        if len(self.labels) != len(self.steps):
            raise BadRow(f"{len(self.steps)} steps and {len(self.labels)} labels")
        if self.values and len(self.values) != len(self.steps):
            raise BadRow(f"{len(self.steps)} steps and {len(self.values)} values")
        if not all(math.isfinite(value) and 0 <= value <= 1 for value in self.values):
            raise BadRow("a value is not in [0, 1]")
        _require_text("the question", self.prompt)
        for number, step in enumerate(self.steps, 1):
            _require_text(f"step {number}", step)

    @classmethod
    def bare(
        cls, prompt: str, steps: list[str], labels: list[bool], values: list[float] | None = None, ended: bool = True
    ) -> Self:
        """A solution of these texts without the white space around them."""
        return cls(prompt.strip(), tuple(step.strip() for step in steps), tuple(labels), tuple(values or ()), ended)

    def worth(self, step: int) -> float:
        """What `step` (from 0) is worth: its value, or 1 and 0 for right and wrong."""
        return self.values[step] if self.values else float(self.labels[step])


def _require_text(what: str, text: str) -> None:
    if not text.strip():
        raise BadRow(f"{what} is empty")
    if not encodable(text):
        raise BadRow(f"{what} holds half a character (\\ud800 to \\udfff)")


Row = dict[str, Any]
"""One row as JSON has it."""
