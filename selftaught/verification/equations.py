r"""Equations: does every calculation that a rollout writes down hold?

`12 + 7 = 19` passes, `15 + 6 = 11` fails, whatever the task: a right answer that came of wrong steps is found out
without a model, and so is a wrong step of a partial solution. Words between the numbers (units, names) are passed
over. What is no arithmetic in plain numbers (powers, percents, unknowns, formulas in LaTeX beyond \times, \cdot, \div)
is not judged, and whether a calculation was the one to make is another verifier's business.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field, NonNegativeInt

from selftaught.blocks import RolloutVerifier
from selftaught.records import Rollout, Task, Verdict

MAX_CHARS = 200
"""A side of an equation that is longer is prose."""

_WRITTEN = {"\\times": "*", "\\cdot": "*", "\\div": "/", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"}
_TIMES = re.compile(r"(?<=\d)\s*[xX]\s*(?=\d)")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*\.?|[$€£¥,]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_PLAIN = re.compile(r"[\d\s.+*/()-]+")
_NUMBER = re.compile(r"\s*(-?\d+(?:\.(\d+))?)")
_CLAUSE = re.compile(r"[.!?](?=\s|$)|,\s")
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b,
}


class Equation(NamedTuple):
    """A calculation and what was said to come of it, with the decimals that it was given with."""

    left: str
    right: str
    decimals: int

    def holds(self) -> bool | None:
        """Whether it is true to the decimals given; None where the left side is no arithmetic."""
        try:
            value = _value(ast.parse(self.left.strip(), mode="eval").body)
        except ZeroDivisionError:
            return False
        except (SyntaxError, ValueError):
            return None
        rounding = Fraction(1, 2 * 10**self.decimals) if self.decimals else 0
        return abs(value - Fraction(self.right)) <= rounding


class Equations(RolloutVerifier, type="equations"):
    """Pass a rollout without a false equation, and with `at_least` so many true ones; the reason shows the false."""

    reads_answer: ClassVar[bool] = False

    at_least: Annotated[NonNegativeInt, Field(description="equations that have to be there")] = 0

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed, or failed with every false equation in the reason."""
        judged = [(each, each.holds()) for each in equations(rollout.text)]
        wrong = [f"{each.left.strip()} is not {each.right}" for each, holds in judged if holds is False]
        right = sum(holds is True for _, holds in judged)
        if not wrong and right < self.at_least:
            wrong = [f"{right} equations, fewer than at_least: {self.at_least}"]
        return Verdict.of(self.name, not wrong, "; ".join(wrong) or f"{right} equations hold")


def equations(text: str) -> Iterator[Equation]:
    """The equations in `text` that have a calculation on the left and a number on the right, in order."""
    for written, plain in _WRITTEN.items():
        text = text.replace(written, plain)
    for line in _THOUSANDS.sub("", text).splitlines():
        for left, right in pairwise(line.split("=")):
            calculation, said = _calculation(left), _NUMBER.match(_WORD.sub(" ", right))
            if calculation and said and len(right) <= MAX_CHARS:
                yield Equation(calculation, said[1], len(said[2] or ""))


def _calculation(left: str) -> str:
    """What is calculated at the end of a left side, words dropped; empty where it is no arithmetic."""
    clause = _CLAUSE.split(left[-MAX_CHARS:])[-1]
    plain = _WORD.sub(" ", _TIMES.sub(" * ", clause)).strip()
    return plain if _PLAIN.fullmatch(plain) and re.search(r"[\d)]\s*[-+*/]", plain) else ""


def _value(node: ast.expr) -> Fraction:
    """The exact value of an expression of numbers. Raises ValueError where it holds anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and (compute := _OPERATORS.get(type(node.op))):
        return compute(_value(node.left), _value(node.right))
    raise ValueError(ast.dump(node))
