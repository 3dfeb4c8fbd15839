"""Limits of a campaign: total hours and tokens of its rounds, checked between rounds.

A round that has begun is finished, so a campaign takes up to a round more than its limits. Counted is what the reports
of its finished rounds say, whoever ran them and however often they were interrupted; an attempt that failed has none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.report.cost import cost
from selftaught.report.data import RoundReport

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the rounds of a campaign may take together: hours, new tokens of sampling and evaluation; None is any."""

    hours: float | None = None
    tokens: int | None = None

    def reached(self, rounds: Sequence[RoundReport]) -> str:
        """Which limit `rounds` have reached, in words; empty where none."""
        costs = [cost(each) for each in rounds]
        hours = sum(each.seconds for each in costs) / HOUR
        tokens = sum(each.sampled + each.evaluated for each in costs)
        if self.hours is not None and hours >= self.hours:
            return f"its rounds have taken {hours:.1f} hours of {self.hours:g} (--max-hours)"
        if self.tokens is not None and tokens >= self.tokens:
            return f"its rounds have taken {tokens:,} new tokens of {self.tokens:,} (--max-tokens)"
        return ""
