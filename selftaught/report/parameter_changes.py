"""The parameters of rounds next to their outcomes: each round's changes from the previous one.

It compares what the records say; a round of before settings were recorded is compared with none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from selftaught.report.data import RoundReport

UNSET = "–"


@dataclass(frozen=True, slots=True)
class Changed:
    """One setting that is not what it was in the round before; `UNSET` where there was or is none."""

    name: str
    before: str
    after: str


def changed(before: RoundReport, after: RoundReport) -> list[Changed] | None:
    """The settings of `after` that are not those of `before`, by name; None where one of them recorded none."""
    if not before.settings or not after.settings:
        return None
    names = sorted(before.settings.keys() | after.settings.keys())
    changes = (Changed(name, before.settings.get(name, UNSET), after.settings.get(name, UNSET)) for name in names)
    return [each for each in changes if each.before != each.after]


def by_round(rounds: Sequence[RoundReport]) -> list[tuple[RoundReport, list[Changed] | None]]:
    """Every round with what was changed for it; of the first, nothing is known to have been."""
    return [(rounds[0], None), *((after, changed(before, after)) for before, after in pairwise(rounds))]
