r"""Final answers: finding the one that a text gives, and saying whether two are mathematically equal.

Equality has math-verify's semantics (1/2 = 0.5 = \frac12; units, currency and thousands separators ignored; 50% equals
both 50 and 0.5). Plain numbers are compared here with exact fractions; only what is more than a number goes through
sympy, as in Open-R1's accuracy reward. Nothing here looks at the reasoning before the answer.

math-verify stops endless simplifications with SIGALRM, which works in the main thread only. In another thread there
is no such limit (as in TRL's accuracy_reward), only the one on the length of an answer.
"""

import math
import re
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple, cast

TOLERANCE = 1e-6
MAX_CHARS, MAX_WORDS = 200, 2
"""What is longer is prose and compared as text only: in sympy it would take long and come to nothing."""
TIMEOUT_S = 2
"""For one parse or one comparison in sympy."""

_DECIMAL = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_FRAC = r"\\[dt]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d))"
_PERCENT = r"\\?%|percent\b"
_MINUS = "\N{MINUS SIGN}"
_CURRENCY = "$€£¥₹"
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Words after a number that change its value, or join it to another one: then it is not a number with a unit.
_NO_UNIT = r"(?:and|or|to|over|out|plus|minus|times|pi|sqrt|dozen|half|sin|cos|tan|log|ln|exp)\b"

_NUMBER = re.compile(
    rf"""(?:[a-z]\w*\s*=\s*)?                                     # x =
    (?P<sign>[-+]?)\s*(?:(?P<whole>\d+)\s+(?=\S+\s*/))?           # -, the 2 of 2 1/2
    (?P<over>{_DECIMAL})(?:e(?P<power>[-+]?\d{{1,3}}))?           # 1,234.5e6
    (?:\s*/\s*(?P<under>{_DECIMAL}))?                             # / 2
    (?:\s*(?P<percent>{_PERCENT}))?
    (?:\s*(?P<scale>{"|".join(_SCALES)})\b)?
    (?:[\s-]*(?!{_NO_UNIT})[a-z°]{{2,}}(?:\^?[23])?(?:/[a-z]+)?   # apples, km^2, km/h
       (?:\s+(?!{_NO_UNIT})[a-z]+)*)?                            # left over""",
    re.VERBOSE | re.IGNORECASE,
)
_MENTION = re.compile(
    rf"""\$(?P<dollars>\S[^$\n]*?\S|\S)\$ | \\\((?P<inline>.+?)\\\) | \\\[(?P<display>.+?)\\\]
    |(?P<number>
        (?:(?<![\w.)}}\]])[-{_MINUS}])?[{_CURRENCY}]?(?<![A-Za-z\d_.])  # -$, but not the minus of 10-5 or the 2 of H2O
        (?:{_FRAC}|(?:\d+\s+(?=\d+\s*/\s*\d))?(?:{_DECIMAL})(?:e[-+]?\d{{1,3}}\b)?(?:\s*/\s*\d+)?)
        (?:\s*(?:{_PERCENT}))?
    )""",
    re.VERBOSE | re.DOTALL,
)
_STATED = re.compile(r"(?:####|\banswer\b[^.\n]{0,60}?(?:\bis\b|:|=))[\s*:]*", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\n|\.(?=\s|$)|[;!?](?=\s|$)|,\s+(?=[A-Za-z]{2})|\s(?:because|since|which|as)\s")
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
_LOOKS_MATHEMATICAL = re.compile(r"[\d\\^+*/=<>]")


class Number(NamedTuple):
    """A plain number, and whether it was written as a percentage (then `value` is the figure before the sign)."""

    value: Fraction
    percent: bool


def final_answer(text: str) -> str | None:
    """The answer that `text` ends up with, or None when it gives none, or several.

    In order of preference: what is boxed (different boxed answers: None); what follows the last "#### " or "answer
    is"; a line of mathematics as a whole; the last number or formula; a few words as a whole. What stands before
    `</think>` is not read.
    """
    answer = text.rpartition("</think>")[2].strip()
    if boxes := [box for box in _boxes(answer) if box]:
        return boxes[-1] if all(equal(box, boxes[-1]) for box in boxes) else None
    return _stated(answer) or _bare_formula(answer) or _last_mention(answer) or _few_words(answer)


def equal(answer: str, gold: str, tolerance: float = TOLERANCE) -> bool:
    """Whether `answer` means the same as `gold`; numbers may differ by `tolerance` (absolute)."""
    if _folded(answer) == _folded(gold):
        return True
    ours, theirs = number(answer), number(gold)
    if ours and theirs:
        return _close(ours, theirs, tolerance)
    return _is_formula(answer) and _is_formula(gold) and _symbolically_equal(answer, gold, _digits(tolerance))


def number(text: str) -> Number | None:
    """`text` as a plain number, or None when it is more, or something else.

    >>> number("$1,234.50")
    Number(value=Fraction(2469, 2), percent=False)
    """
    found = _NUMBER.fullmatch(_undressed(text))
    if found is None or not _fraction(found["under"] or "1"):
        return None
    value = _fraction(found["over"]) * Fraction(10) ** int(found["power"] or 0) / _fraction(found["under"] or "1")
    value = (value + int(found["whole"] or 0)) * _SCALES.get((found["scale"] or "").lower(), 1)
    return Number(-value if found["sign"] == "-" else value, percent=found["percent"] is not None)


# Finding an answer ----------------------------------------------------------------------------------------------------


def _boxes(text: str) -> Iterator[str]:
    r"""What is inside each \boxed{...}, braces balanced; a box that is never closed gives nothing."""
    for start in re.finditer(r"\\(?:boxed|fbox)\s*\{", text):
        depth = 1
        for end, char in enumerate(text[start.end() :], start.end()):
            depth += (char == "{") - (char == "}")
            if depth == 0:
                yield text[start.end() : end].strip()
                break


def _stated(text: str) -> str | None:
    """What the last "answer is ..." or "#### ..." says: its number or formula, or a few words."""
    markers = list(_STATED.finditer(text))
    if not markers:
        return None
    clause = _right_side(_CLAUSE_END.split(text[markers[-1].end() :], maxsplit=1)[0]).strip(" *`\"'.")
    mentions = set(_mentions(clause))
    if number(clause) is None and len(mentions) == 1:
        return mentions.pop()
    # Several ("3 or 4", "2x + 1") are left whole: a choice of answers is none of them.
    return clause if mentions else _few_words(clause)


def _bare_formula(text: str) -> str | None:
    """`text` where it is one line without a word (LaTeX commands are none): of an equation, the right-hand side."""
    return None if "\n" in text or _WORD.search(text) else _right_side(text).strip() or None


def _last_mention(text: str) -> str | None:
    mentions = list(_mentions(text))
    return mentions[-1] if mentions else None


def _mentions(text: str) -> Iterator[str]:
    """The numbers and the formulas of `text`; of an equation its right-hand side."""
    for found in _MENTION.finditer(text):
        formula = found["dollars"] or found["inline"] or found["display"]
        yield (_right_side(formula) if formula else found["number"]).strip()


def _right_side(formula: str) -> str:
    """What stands after the last equals sign; of several equations ("x = 1, y = 2") all of them."""
    return formula if "," in formula else formula.rpartition("=")[2]


def _few_words(text: str) -> str | None:
    return text if 1 <= len(text.split()) <= 5 else None


# Comparing ------------------------------------------------------------------------------------------------------------


def _is_formula(text: str) -> bool:
    # sympy reads a word as the product of its letters, so that "listen" would equal "silent".
    short = len(text) <= MAX_CHARS and len(_WORD.findall(text)) <= MAX_WORDS
    return short and _LOOKS_MATHEMATICAL.search(text) is not None


def _folded(text: str) -> str:
    """`text` without what does not change a word: case, white space, a full stop, the brackets of a choice "(B)"."""
    folded = " ".join(_unwrapped(text).casefold().split()).strip(" .")
    return re.sub(r"^\(([a-z])\)$", r"\1", folded)


def _unwrapped(text: str) -> str:
    r"""`text` with \text{...} and its like replaced by what is in them."""
    return re.sub(r"\\(?:text|mathrm|textbf|mathbf|mbox)\s*\{([^{}]*)\}", r" \1 ", text)


def _undressed(text: str) -> str:
    """`text` without what does not change a number: LaTeX spacing, wrappers, currency signs, emphasis."""
    plain = re.sub(_FRAC, lambda f: f" {f[1] or f[3]}/{f[2] or f[4]} ", _unwrapped(text))
    plain = re.sub(r"\\[!,;: ]|\\left|\\right|~", "", plain.replace("{,}", ","))
    return re.sub(rf"\\?[{_CURRENCY}]|\*\*", "", plain.replace(_MINUS, "-")).strip().rstrip(".")


def _fraction(decimal: str) -> Fraction:
    return Fraction(decimal.replace(",", ""))


def _close(a: Number, b: Number, tolerance: float) -> bool:
    scales = [Fraction(1)]
    if a.percent != b.percent:
        # As math-verify does: 50% is right where the gold answer is 50 ("what per cent?") and where it is 0.5.
        scales.append(Fraction(1, 100) if a.percent else Fraction(100))
    return any(abs(a.value * scale - b.value) <= Fraction(tolerance) * max(1, scale) for scale in scales)


def _digits(tolerance: float) -> int:
    """Decimal places to which sympy's floats are rounded: the nearest to `tolerance`, and 15 at most."""
    return 15 if tolerance < 1e-15 else max(0, round(-math.log10(tolerance)))


@lru_cache(maxsize=65_536)
def _symbolically_equal(answer: str, gold: str, digits: int) -> bool:
    from math_verify import verify  # pyright: ignore[reportMissingTypeStubs]

    return bool(verify(_parsed(gold), _parsed(answer), float_rounding=digits, timeout_seconds=_timeout()))


@lru_cache(maxsize=4_096)
def _parsed(text: str) -> list[Any]:
    from math_verify import (  # pyright: ignore[reportMissingTypeStubs]
        ExprExtractionConfig,
        LatexExtractionConfig,
        parse,
    )

    configs = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    return cast("list[Any]", parse(f"\\boxed{{{text.strip(' $')}}}", configs, parsing_timeout=_timeout()))


def _timeout() -> int:
    return TIMEOUT_S if threading.current_thread() is threading.main_thread() else 0
