r"""Injected errors: one step of what a turn says goes wrong, for a model to recover from, or to tell from a right one.

A number, an operator or a unit is swapped, as RISE's self-editing has it (arXiv 2410.06638); all else stays, so the two
texts differ in that alone. Which step it is follows from the task, the turn and the branch. Calculations are found by
how they are written (`12 + 7 = 19`); whether the text was right before is not looked at.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Literal, NamedTuple

from selftaught.records import Task, content_id

ErrorKind = Literal["number", "operator", "unit"]

_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_OUTCOME = re.compile(rf"=\s*-?[$€£]?\s*({_NUMBER})(?![\d.,]*\s*[-+*/×÷=])")
_ANY_NUMBER = re.compile(rf"(?<![\w.,])({_NUMBER})(?!\w)")
_BINARY = re.compile(rf"(?<![\w.,-])({_NUMBER}) *([-+*/×÷]) *({_NUMBER})(?=[^=\n]*=)")
_NO_UNIT = r"(?!(?:and|are|at|by|from|in|is|less|more|of|on|or|per|to)\b)"
_COUNTED = re.compile(rf"(?<![\w.,]){_NUMBER} {_NO_UNIT}([a-z]{{2,}})\b")
_STEP_END = re.compile(r"(?<=[.!?])\s|\n|$")

_COMPUTE: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "×": lambda a, b: a * b,
}


class Edit(NamedTuple):
    """What is written in place of the characters from `begin` to `end`."""

    begin: int
    end: int
    written: str


def with_error(text: str, kinds: Sequence[ErrorKind], task: Task, branch: Sequence[object], *, cut: bool) -> str | None:
    """`text` with an error of one of `kinds` in one step; with `cut` nothing follows that step.

    None where there is nothing to swap.
    """
    draw = Random(content_id([task.id, *branch]))
    for kind in draw.sample(kinds, len(kinds)):
        if edits := _EDITS[kind](text, task, draw):
            edit = draw.choice(edits)
            changed = text[: edit.begin] + edit.written + text[edit.end :]
            return changed[: _end_of_step(changed, edit)] if cut else changed
    return None


def _end_of_step(text: str, edit: Edit) -> int:
    """Where the line, or the sentence, ends that `edit` has changed."""
    found = _STEP_END.search(text, edit.begin + len(edit.written))
    return found.start() if found else len(text)


def _numbers(text: str, _: Task, draw: Random) -> list[Edit]:
    """Another outcome of each calculation, or where nothing is calculated, another number for each."""
    found = list(_OUTCOME.finditer(text)) or list(_ANY_NUMBER.finditer(text))
    return [Edit(*each.span(1), _other_number(each[1], draw)) for each in found]


def _other_number(number: str, draw: Random) -> str:
    """A number near `number`, at least 0, written alike."""
    units, point, decimals = number.partition(".")
    value = int(units.replace(",", ""))
    other = value + draw.choice([each for each in (-10, -2, -1, 1, 2, 10) if value + each >= 0])
    return (f"{other:,}" if "," in units else str(other)) + point + decimals


def _operators(text: str, _: Task, draw: Random) -> list[Edit]:
    """Another operator for each of a calculation that then comes to something else."""
    edits = list[Edit]()
    for found in _BINARY.finditer(text):
        one, other = (Fraction(found[at].replace(",", "")) for at in (1, 3))
        before = _COMPUTE[found[2]](one, other) if found[2] in _COMPUTE else None
        if others := [sign for sign in "+-*" if _COMPUTE[sign](one, other) != before]:
            edits.append(Edit(*found.span(2), draw.choice(others)))
    return edits


def _units(text: str, task: Task, draw: Random) -> list[Edit]:
    """Another thing that is counted, or measured, for each: of the text or of the question."""
    known = sorted({found[1] for found in _COUNTED.finditer(f"{task.question}\n{text}")})
    return [
        Edit(*found.span(1), draw.choice([each for each in known if each != found[1]]))
        for found in _COUNTED.finditer(text)
        if len(known) > 1
    ]


_EDITS: Mapping[ErrorKind, Callable[[str, Task, Random], list[Edit]]] = {
    "number": _numbers,
    "operator": _operators,
    "unit": _units,
}
