"""What rounds cost: seconds, tokens, and tokens for each point that was gained.

Prices and GPU hours are not known here: no record says which machines a step ran on.
"""

from dataclasses import dataclass

from selftaught.report.data import Gain, RoundReport
from selftaught.report.outcome import headline

POINT = 0.01
"""A point is a hundredth of the metric."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One round: seconds of all steps, new tokens in sampling and evaluation, tokens trained on, and the gain."""

    round: RoundReport
    seconds: float
    sampled: int
    trained: int
    evaluated: int
    gain: Gain | None

    @property
    def per_point(self) -> float | None:
        """Tokens sampled and trained on for each point of the gain; None where no gain was shown."""
        return self._over(self.gain.gain) if self.gain and self.gain.low > 0 else None

    @property
    def per_point_range(self) -> tuple[float, float] | None:
        """The same over the gain's interval, the least first."""
        return (self._over(self.gain.high), self._over(self.gain.low)) if self.gain and self.gain.low > 0 else None

    def _over(self, gain: float) -> float:
        return (self.sampled + self.trained) * POINT / gain


def cost(round: RoundReport) -> Cost:
    """The cost of a round; the gain is the one that the page opens with."""
    first = headline(round)
    return Cost(
        round=round,
        seconds=sum(step.seconds for step in round.steps),
        sampled=_tokens(round, "sample"),
        trained=_tokens(round, "train"),
        evaluated=_tokens(round, "evaluate"),
        gain=first.gain if first else None,
    )


def _tokens(round: RoundReport, step: str) -> int:
    """The tokens of all steps of a name: `train` and `train value`."""
    return sum(each.tokens or 0 for each in round.steps if each.name.split()[0] == step)
