"""The formats of step data by name: how a row is read, and how a solution is written as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from selftaught.stepwise import math_shepherd, prm800k, trl
from selftaught.stepwise.solution import BadRow, Row, Solution

Name = Literal["trl", "math-shepherd", "prm800k"]
Neutral = Literal["right", "wrong"]


@dataclass(frozen=True, slots=True)
class Format:
    """How rows are read and written, and the columns that are checked."""

    columns: Sequence[str]
    read: Callable[[object], Sequence[Solution]]
    write: Callable[[Solution], Row]


FORMATS: Mapping[Name, Format] = {
    "trl": Format(("prompt", "completions", "labels", "values", "ended"), trl.read, trl.write),
    "math-shepherd": Format(("input", "label", "values", "ended"), math_shepherd.read, math_shepherd.write),
    "prm800k": Format(("question", "label"), prm800k.read, prm800k.write),
}


def reader(name: Name, neutral: Neutral) -> Callable[[object], Sequence[Solution]]:
    """How rows of the format `name` are read; a step that is neither right nor wrong counts as `neutral` says."""
    return partial(prm800k.read, neutral=neutral == "right") if name == "prm800k" else FORMATS[name].read


def written(name: Name, solution: Solution) -> Row:
    """`solution` as a row that is read back as the same steps and labels. Raises BadRow where its texts forbid it."""
    row = FORMATS[name].write(solution)
    try:
        same = [(each.prompt, each.steps, each.labels, each.ended) for each in FORMATS[name].read(row)]
    except BadRow:
        same = []
    if same != [(solution.prompt, solution.steps, solution.labels, solution.ended)]:
        raise BadRow(f"its text holds what {name} marks steps with, so it could not be read back as it is")
    return row
