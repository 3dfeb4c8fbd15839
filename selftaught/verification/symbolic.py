r"""Formulas: mathematical equality of what is more than a number, by sympy through math-verify.

math-verify parses, and says what is equal in form (sets, intervals, equations, matrices, algebra). It compares numbers
to so many decimal places, for which everything small is equal; numbers are therefore compared here, by significant
digits, and what it calls equal has to agree at points in this sense too. It has no time limit of its own here: `budget`
has.
"""

import logging
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

from selftaught.core.computing_time import TooSlow, limited
from selftaught.verification.numbers import CHANGES

DIGITS = 30
"""To which numbers are evaluated; without a decimal point they have to agree in all but the last five of these."""
MOST_DIGITS = 5_000
"""Fractions with at most so many digits are compared exactly."""
_POINTS = (("3/7", "11/13"), ("17/5", "-19/23"))
"""Where formulas with unknowns have to agree: the first unknown is the first of these, the others follow from both."""
_LEADS = re.compile(r"\s*\$?\s*(\\[a-z]+|[<>]=?|!=)")
_RELATIONS = {
    **{rf"\{name}": sign for name, sign in (("le", "<="), ("leq", "<="), ("ge", ">="), ("geq", ">="))},
    **{rf"\{name}": sign for name, sign in (("ne", "!="), ("neq", "!="), ("lt", "<"), ("gt", ">"))},
    **{sign: sign for sign in ("<", ">", "<=", ">=", "!=")},
}
_BASE = re.compile(r"(?<=\d)_\{?(\w+)\}?")
_IN_WORDS = re.compile(rf"\\(?:text|mbox|mathrm)\s*\{{[^{{}}]*\b(half|{CHANGES}|thousandths|dozen)\b", re.IGNORECASE)
_EXPONENT = re.compile(r"(?<=\d)[eE]([-+]?\d{1,4})(?![\w.])")


@lru_cache(maxsize=65_536)
def symbolically_equal(answer: str, gold: str, tolerance: float) -> bool | None:
    """Whether two formulas are equal, numbers within `tolerance` (relative, and absolute); None where it is too much.

    Numbers without a decimal point have no rounding to allow for, and have to be equal. Too much is what takes too
    long, or more memory or depth than there is, or what sympy breaks on: strangers wrote it.
    """
    import math_verify  # noqa: F401  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport] (not in the answer's time)

    if _says_otherwise(answer, gold):
        return False
    try:
        with limited():
            return any(_equal(ours, theirs, tolerance) for ours in _parsed(answer) for theirs in _parsed(gold))
    except TooSlow:
        return None
    except Exception:  # noqa: BLE001 (besides MemoryError and RecursionError, sympy raises whatever it likes)
        return None


def _says_otherwise(answer: str, gold: str) -> bool:
    """Whether there is something in one of the two that math-verify drops: a relation to nothing, a base, a word."""
    ours, theirs = (_BASE.findall(text) for text in (answer, gold))
    different = bool(ours and theirs) and ours != theirs
    return different or leading(answer)[0] != leading(gold)[0] or _in_words(answer) != _in_words(gold)


def leading(text: str) -> tuple[str, str]:
    """The relation that `text` begins with, to nothing, and what stands behind it; empty where there is none."""
    found = _LEADS.match(text)
    relation = _RELATIONS.get(found[1], "") if found else ""
    return (relation, text[found.end() :]) if found and relation else ("", text)


def _in_words(text: str) -> list[str]:
    """The words in `text` that change the number before them."""
    return [word.casefold() for word in _IN_WORDS.findall(text)]


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> tuple[Any, ...]:
    from math_verify import LatexExtractionConfig, parse  # pyright: ignore[reportMissingTypeStubs]

    # It warns that its own time limit is off: `budget` has one.
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    # As LaTeX alone, which plain arithmetic is, too: its other way of reading takes the last number of a text.
    latex = LatexExtractionConfig(boxed_match_priority=0)
    _, text = leading(text)
    written = _EXPONENT.sub(r" \\cdot 10^{\1}", text.strip(" $")).replace("\\varnothing", "\\emptyset")
    return tuple(cast("list[Any]", parse(f"\\boxed{{{written}}}", [latex], parsing_timeout=0)))


def _equal(ours: Any, theirs: Any, tolerance: float) -> bool:
    if _is_number(ours) and _is_number(theirs):
        return _same_number(ours, theirs, tolerance)
    if _is_statement(ours) or _is_statement(theirs):
        return bool(ours == theirs)
    return _equal_in_form(ours, theirs, tolerance) and _agree(ours, theirs, tolerance)


def _is_statement(value: Any) -> bool:
    """Whether `value` is a relation of numbers alone, which is as true as any other that is true."""
    sympy = _sympy()
    return isinstance(value, sympy.Rel) and not value.free_symbols


def _equal_in_form(ours: Any, theirs: Any, tolerance: float) -> bool:
    from math_verify import verify  # pyright: ignore[reportMissingTypeStubs]

    places = 15 if tolerance < 1e-15 else max(0, round(-math.log10(tolerance)))
    if isinstance(theirs, _sympy().Set) and isinstance(
        ours, _sympy().Rel
    ):  # it reads the gold answer's relations alone
        ours, theirs = theirs, ours
    return bool(verify(theirs, ours, float_rounding=places, timeout_seconds=0))


# Numbers --------------------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, _sympy().Expr) and not value.free_symbols and bool(value.is_number)


def _same_number(ours: Any, theirs: Any, tolerance: float) -> bool:
    try:
        return any(_near(a, b, tolerance) for a, b in _figures(ours, theirs))
    except (TypeError, ValueError, ArithmeticError):  # what cannot be evaluated has no order
        return _equal_in_form(ours, theirs, tolerance)


def _figures(ours: Any, theirs: Any) -> Iterator[tuple[Any, Any]]:
    """Both numbers; a percentage is the figure before the sign, and a hundredth of it beside what is none."""
    from math_verify import grader  # pyright: ignore[reportMissingTypeStubs]

    hundredth, figure = _sympy().Rational(1, 100), cast(Any, grader).get_pct_val
    a, b = figure(ours), figure(theirs)
    yield ours if a is None else a, theirs if b is None else b
    if (a is None) != (b is None):
        yield (ours, hundredth * b) if a is None else (hundredth * a, theirs)


def _near(a: Any, b: Any, tolerance: float) -> bool:
    ours, theirs = a.evalf(DIGITS), b.evalf(DIGITS)
    if ours.is_finite is False or theirs.is_finite is False:
        return bool(ours == theirs)  # everything is within a share of infinity
    apart = abs(ours - theirs)
    if a.has(_sympy().Float) or b.has(_sympy().Float):
        return bool(apart <= tolerance * min(1, abs(theirs)) * (1 + 1e-9))  # 0.333333 is 1/3 to the last bit
    if a.is_rational and b.is_rational and _moderate(ours) and _moderate(theirs):
        return bool(a.doit() == b.doit())
    if bool(apart <= abs(theirs) * 10.0 ** (5 - DIGITS)):
        return True
    return bool(apart < 10.0 ** (5 - DIGITS)) and bool((a - b).equals(0))


def _moderate(value: Any) -> bool:
    """Whether a fraction of this value can be written out."""
    size, most = abs(value), _sympy().Float(f"1e{MOST_DIGITS}")
    return value == 0 or (bool(1 / most < size) and bool(size < most))


# Everything else ------------------------------------------------------------------------------------------------------


def _agree(ours: Any, theirs: Any, tolerance: float) -> bool:
    """Whether what is equal in form is not refuted by the numbers in it, small ones included."""
    sympy = _sympy()
    if _is_number(ours) and _is_number(theirs):
        return _same_number(ours, theirs, tolerance)
    if isinstance(ours, sympy.Expr) and isinstance(theirs, sympy.Expr):
        return ours.free_symbols != theirs.free_symbols or _agree_at_points(ours, theirs, tolerance)
    if isinstance(ours, sympy.MatrixBase) and isinstance(theirs, sympy.MatrixBase):
        return all(_agree(a, b, tolerance) for a, b in zip(ours.flat(), theirs.flat(), strict=True))
    if isinstance(ours, sympy.Rel) and isinstance(theirs, sympy.Rel):
        return ours.lhs != theirs.lhs or _agree(ours.rhs, theirs.rhs, tolerance)
    pairs = zip(_members(ours), _members(theirs), strict=False)
    return all(_agree(a, b, tolerance) for a, b in pairs)


def _agree_at_points(ours: Any, theirs: Any, tolerance: float) -> bool:
    rational, unknowns = _sympy().Rational, sorted(ours.free_symbols, key=str)
    for first, second in _POINTS:
        point = {each: rational(first) + index * rational(second) for index, each in enumerate(unknowns)}
        a, b = ours.subs(point).evalf(DIGITS), theirs.subs(point).evalf(DIGITS)
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite and a.is_comparable and b.is_comparable):
            continue
        if bool(abs(a - b) > max(tolerance, 1e-12) * max(abs(a), abs(b))):
            return False
    return True


def _members(value: Any) -> list[Any]:
    """What is in a set (by size), a tuple or an interval."""
    sympy = _sympy()
    if not isinstance(value, sympy.Set | sympy.Tuple):
        return []
    inside = list(cast("tuple[Any, ...]", value.args))
    in_order = isinstance(value, sympy.Tuple) or not all(_is_number(each) for each in inside)
    return inside if in_order else sorted(inside, key=_size)


def _size(value: Any) -> Any:
    return _sympy().default_sort_key(value.evalf())


def _sympy() -> Any:
    import sympy

    return sympy
