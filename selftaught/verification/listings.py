"""Rows of numbers: `3 5 9`, one below the other, or with commas between; whether two are the same, in which order.

To math-verify `3 5 9` is a sum, and `3, 5, 5` the set of 3 and 5. Numbers with nothing but space between them are in
their order (a sequence, a grid, whose rows follow one another); with commas alone they are in any (the roots of an
equation), each as often as it is there. What has brackets says itself what it is, and is not read here.
"""

import re

from selftaught.verification.numbers import close, number, undressed

_ONE = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_SPACED = re.compile(rf"{_ONE}(?:\s+{_ONE})+")
_LISTED = re.compile(rf"{_ONE}(?:(?:\s*[,;]\s*|\s+){_ONE})*")
_LINE = re.compile(rf"[ \t]*{_ONE}(?:[ \t]+{_ONE})+[ \t]*")


def grid(text: str) -> str | None:
    """The lines of several numbers that `text` ends with; None where there are not two."""
    lines = text.split("\n")
    count = next((at for at, line in enumerate(reversed(lines)) if not _LINE.fullmatch(line)), len(lines))
    return "\n".join(lines[-count:]) if count > 1 else None


def is_row(text: str) -> bool:
    """Whether `text` is several numbers with nothing but space between them; `12 500` is one."""
    return _SPACED.fullmatch(undressed(text)) is not None and number(text) is None


def same_numbers(answer: str, gold: str, tolerance: float) -> bool | None:
    """Whether two rows or lists have the same numbers; None where these are neither."""
    if is_row(answer) or is_row(gold):
        ours, theirs = _numbers(answer), _numbers(gold)
        return len(ours) == len(theirs) and all(close(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))
    ours, theirs = _numbers(answer, bare=True), _numbers(gold, bare=True)
    if len(ours) < 2 or len(theirs) < 2:
        return None
    return len(ours) == len(theirs) and _matched(ours, theirs, tolerance)


def _numbers(text: str, *, bare: bool = False) -> list[str]:
    """The numbers that `text` is a list of, in brackets or not; none where it is something else, or one number."""
    text = undressed(text)
    if number(text) is not None:
        return []
    inside = text if bare else text.strip("[](){} ")
    return re.split(r"[\s,;]+", inside) if _LISTED.fullmatch(inside) else []


def _matched(ours: list[str], theirs: list[str], tolerance: float) -> bool:
    """Whether each number has one that is the same."""
    left = list(ours)
    for gold in theirs:
        found = next((at for at, each in enumerate(left) if close(each, gold, tolerance)), None)
        if found is None:
            return False
        left.pop(found)
    return True
