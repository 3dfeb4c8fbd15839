"""Formatting of numbers in decisions."""

import math


def percent(share: float) -> str:
    """`share` as per cent, with as many digits as tell it from 0 and 100.

    >>> percent(0.95), percent(0.025), percent(2.7e-5), percent(1 - 1.8e-5), percent(1)
    ('95 %', '2.5 %', '0.0027 %', '99.9982 %', '100 %')
    """
    digits = max(3, 2 - math.floor(math.log10(1 - share))) if share < 1 else 3
    return f"{100 * share:.{digits}g} %"
