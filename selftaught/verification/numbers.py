r"""Numbers: what a text says as a plain number, exactly, and whether two of them are the same.

Thousands separators, currency, percent, scale words (million), powers, mixed numbers and units are read; a number that
is part of something larger (`2x`, `3 or 4`, `3:2`) is none. What takes more than fractions is not read here.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from selftaught.verification.writing import plain

MAX_DIGITS = 4_000
"""A number of more digits is compared as text: Python refuses to read it (4,300), and a model that loops wrote it."""

LONG = 6
"""Decimals from which on a gold answer is taken for a rounded fraction."""
CURRENCY = "$€£¥₹"
SCALES = {"dozen": 12, "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
DECIMAL = (
    r"(?:(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:[ ]\d{3})+(?!\s*/)|\d+)(?![\d])(?:\.\d+)?|\.\d+)"
)
PERCENT = r"(?:\\?%|per\s?cents?\b|pct\b)"
FRAC = r"\\[dtc]?frac\s*(?:\{([^{}]*)\}\s*\{([^{}]*)\}|(\d)\s*(\d)|(\d)\s*\{([^{}]*)\}|\{([^{}]*)\}\s*(\d))"
TIMES_TEN = r"\s*(?:\\times|\\cdot|[x*])\s*10\s*(?:\^|\*\*)\s*"
# Words after a number that change its value, or join it to another one: then it is not a number with a unit.
NO_UNIT = (
    r"(?:and|or|to|over|out|plus|minus|times|pi|sqrt|dozen|half|halves|thirds|fifths|tenths|hundredths|squared|cubed"
    r"|factorial|sin|cos|tan|log|ln|exp|mod)\b"
)
CHANGES = "halves|thirds|fourths|quarters|fifths|tenths|hundredths|squared|cubed|factorial"
"""Words after a number that make another one of it, wherever it is read."""
_POWER = r"(?:(?:\^|\*\*)\s*(?:\{{\s*(?P<{0}>[-+]?\d{{1,5}})\s*\}}|(?P<{0}_>-?\d{{1,5}})))"
_ONE = r"(?:°\s?[CFcf]?|(?-i:[mgshlLNJWV](?![A-Za-z]))|[a-zμΩ]{2,})(?:\^?\{?-?[1-9]\}?)?"
_UNIT = rf"{_ONE}(?:\s*(?:/|\\cdot|\*|\bper\b)\s*{_ONE})*"

_NUMBER = re.compile(
    rf"""(?:[a-z]\w*\s*=\s*)?                                     # x =
    (?P<sign>[-+]?)\s*(?:(?P<whole>\d+)\s+(?=\d+\s*/))?           # -, the 2 of 2 1/2
    (?P<over>{DECIMAL})(?:e(?P<e>[-+]?\d{{1,4}})(?!\w))?          # 1,234.5e6
    (?:{TIMES_TEN}(?:\{{\s*(?P<ten>[-+]?\d{{1,4}})\s*\}}|(?P<ten_>-?\d{{1,4}})))?
    {_POWER.format("power")}?                                     # 2^10
    (?:\s*/\s*(?P<under>{DECIMAL}){_POWER.format("below")}?)?     # / 2
    (?:\s*(?P<percent>{PERCENT}))?
    (?:\s*(?P<scale>{"|".join(SCALES)})\b)?
    (?:[\s-]*(?!{NO_UNIT}){_UNIT}(?:\s+(?!{NO_UNIT})(?:[a-z]+|{_ONE}))*)?   # apples, km^2, m/s left over
    (?:\s*=\s*[a-z]\w*)?                                         # = x""",
    re.VERBOSE | re.IGNORECASE,
)
_WRAPPED = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mathit|operatorname|mbox|boxed|fbox)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\s*\^\s*\{?\s*\\circ\s*\}?|\\degree")
_SPACING = re.compile(r"\\[!,;: ]|\\left(?![a-z])|\\right(?![a-z])|\\quad|~")
_EMPHASIS = re.compile(r"(?<!\d)\*\*|\*\*(?!\d)")
_MERIDIEM = re.compile(r"(?<=\d)\s?([AaPp])\.\s?[Mm]\b\.?")
_IN_BRACKETS = re.compile(r"\(([^(),]*)\)")


class Number(NamedTuple):
    """A plain number, and whether it was written as a percentage (then `value` is the figure before the sign)."""

    value: Fraction
    percent: bool


@lru_cache(maxsize=65_536)
def number(text: str) -> Number | None:
    """`text` as a plain number, or None when it is more, or something else.

    >>> number("$1,234.50")
    Number(value=Fraction(2469, 2), percent=False)
    """
    found = _NUMBER.fullmatch(undressed(text))
    try:
        return None if found is None else Number(_value(found), found["percent"] is not None)
    except (ZeroDivisionError, OverflowError):
        return None


def close(ours: str, theirs: str, tolerance: float) -> bool | None:
    """Whether two plain numbers are the same, the second being the gold answer; None where one is no plain number.

    They may differ by `tolerance`, absolutely and relative to the gold answer: 1e-7 is not 5e-7. Where both are written
    as fractions of integers nothing was rounded, and they have to be equal; of a fraction, a gold answer with six
    decimals or more is the rounded value: 1/6 is 0.166667.
    """
    a, b = number(ours), number(theirs)
    if a is None or b is None:
        return None
    scales = [Fraction(1)]
    if a.percent != b.percent:
        # As math-verify does: 50% is right where the gold answer is 50 ("what per cent?") and where it is 0.5.
        scales.append(Fraction(1, 100) if a.percent else Fraction(100))
    exact = _is_exact(ours) and _is_exact(theirs) and max(a.value.denominator, b.value.denominator) > 1
    bound = Fraction(0) if exact else Fraction(str(tolerance)) * min(1, abs(b.value))
    if tolerance and _is_exact(ours) and (decimals := _decimals(theirs)) >= LONG:
        bound = max(bound, Fraction(1, 2 * 10**decimals))
    return any(abs(a.value * scale - b.value) <= bound * max(1, scale) for scale in scales)


def _decimals(text: str) -> int:
    """How many digits `text`, a plain number, has behind its point; none where it has an exponent."""
    found = re.fullmatch(r"[^.]*\.(\d+)[^\d]*", undressed(text))
    return len(found[1]) if found else 0


def unwrapped(text: str) -> str:
    r"""`text` with \text{...} and its like replaced by what is in them."""
    return _WRAPPED.sub(r" \1 ", text) if "\\" in text else text


def undressed(text: str) -> str:
    """`text` without what does not change a number: LaTeX spacing, wrappers, currency signs, emphasis."""
    text = unwrapped(plain(text))
    if "\\" in text:
        text = re.sub(FRAC, _as_fraction, text)
        text = _SPACING.sub("", _DEGREES.sub("°", text))
    text = _MERIDIEM.sub(r" \1m", _EMPHASIS.sub("", text.replace("{,}", ",")))
    text = re.sub(rf"\\?[{CURRENCY}]", "", text).strip().rstrip(".").strip(" *_\"'")
    inside = _IN_BRACKETS.fullmatch(text)
    return inside[1].strip() if inside else text


def _as_fraction(found: re.Match[str]) -> str:
    over, under = (part for part in found.groups() if part is not None)
    return f" {over}/{under} "


def _value(found: re.Match[str]) -> Fraction:
    """The value of a match of `_NUMBER`. Raises OverflowError where it has more than `MAX_DIGITS`."""
    value = _decimal(found["over"]) * _power(Fraction(10), found["e"] or found["ten"] or found["ten_"])
    if power := found["power"] or found["power_"]:
        value = _power(value, power)
    if found["under"]:
        value /= _power(_decimal(found["under"]), found["below"] or found["below_"] or "1")
    value = (value + int(found["whole"] or 0)) * SCALES.get((found["scale"] or "").lower(), 1)
    return -value if found["sign"] == "-" else value


def _decimal(text: str) -> Fraction:
    if len(text) > MAX_DIGITS:
        raise OverflowError(len(text))
    return Fraction(re.sub("[, ]", "", text))


def _power(base: Fraction, exponent: str | None) -> Fraction:
    if exponent is None:
        return Fraction(1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(int(exponent)) > MAX_DIGITS * 3.3:
        raise OverflowError(exponent)
    return base ** int(exponent)


def _is_exact(text: str) -> bool:
    """Whether nothing was rounded in what `text` says: integers, their fractions and powers."""
    return re.search(r"\.\d|\de[-+]?\d", undressed(text), re.IGNORECASE) is None
