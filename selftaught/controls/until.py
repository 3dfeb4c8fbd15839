"""Until: end a campaign early, once a metric has flattened.

The metric is the challenger's mean on the gate set, round by round; the report set has no say. A straight line is
fitted to the last rounds' means by least squares, and its slope has an interval, which follows from those of the means.
The campaign ends once the slope is below `min_gain` with that confidence: noise alone ends nothing, and a set too small
to tell keeps it going. Of a metric that still rises by `min_gain` a round, one look in 20 says at 95 % confidence that
it does not; there is a look each round.
"""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Annotated, cast

from pydantic import Field

from selftaught.blocks import Control, Explanation, Measured, Observed, StageView, State

Points = Sequence[tuple[float, float]]
"""A metric's mean and its standard error, round by round."""


class Until(Control, type="until"):
    """End the campaign once `metric` rises by less than `min_gain` a round (early stopping)."""

    metric: Annotated[str, Field(description="a metric that evaluate measures, by its name (mean@8)")]
    rounds: Annotated[int, Field(ge=2, description="the last rounds, to which a line is fitted")] = 4
    min_gain: Annotated[float, Field(ge=0, description="the gain a round that is worth another one")] = 0.01
    confidence: Annotated[float, Field(gt=0.5, lt=1, description="with which the gain is smaller")] = 0.95

    def observe(self, state: State, seen: Observed) -> State:
        """The metric's means and standard errors of the last rounds."""
        measured = seen.metrics.get(self.metric)
        if measured is None:
            return state
        points = [*_points(state), (measured.mean, standard_error(measured))][-self.rounds :]
        return {"points": [list(point) for point in points]}

    def ended(self, state: State) -> str:
        """That the metric has flattened, in figures; empty before there are `rounds` of them."""
        points = _points(state)
        if len(points) < self.rounds or self._most(points) >= self.min_gain:
            return ""
        return f"{self._gained(points)}, and min_gain of until is {self.min_gain:g}"

    def explain(self, state: State) -> Explanation | None:
        """The means that the line is fitted to, and its slope; nothing before there is one."""
        if not (points := _points(state)):
            return None
        enough = len(points) == self.rounds
        why = self._gained(points) if enough else f"{self.metric} is known of {len(points)} of {self.rounds} rounds"
        names = [
            *(f"{ago} rounds before" for ago in range(len(points) - 1, 1, -1)),
            "the round before",
            "the last round",
        ]
        return Explanation(
            f"{why}. The campaign ends once it gains less than {self.min_gain:g} a round.",
            ("mean", "standard error"),
            dict(zip(names[-len(points) :], points, strict=True)),
        )

    def _most(self, points: Points) -> float:
        """The gain a round that is not exceeded, with the confidence asked for."""
        gain, error = slope(points)
        return gain + NormalDist().inv_cdf(self.confidence) * error

    def _gained(self, points: Points) -> str:
        gain = round(slope(points)[0], 3) + 0
        return (
            f"{self.metric} has gained {gain:.3f} a round over the last {self.rounds} (at most "
            f"{self._most(points):.3f} at {self.confidence:.0%} confidence)"
        )

    def check(self, stage: StageView) -> None:
        """Raise ValueError where nothing is measured on a gate set, or not this metric."""
        if stage.gate is None:
            raise ValueError("it goes by the gate set, and the stage has no gate. Add one, or leave it out.")
        if self.metric not in (names := [metric.name for metric in stage.evaluate]):
            raise ValueError(f"metric is '{self.metric}', but evaluate measures {', '.join(names)}. Name one of these.")


def slope(points: Points) -> tuple[float, float]:
    """The slope of the least-squares line through the means, one a round, and its standard error."""
    middle = (len(points) - 1) / 2
    spread = sum((at - middle) ** 2 for at in range(len(points)))
    weights = [(at - middle) / spread for at in range(len(points))]
    gain = sum(weight * mean for weight, (mean, _) in zip(weights, points, strict=True))
    return gain, sqrt(sum((weight * error) ** 2 for weight, (_, error) in zip(weights, points, strict=True)))


def standard_error(measured: Measured) -> float:
    """That of a mean with this 95 % interval."""
    return (measured.high - measured.low) / 2 / NormalDist().inv_cdf(0.975)


def _points(state: State) -> list[tuple[float, float]]:
    return [(mean, error) for mean, error in cast(list[list[float]], state.get("points", []))]
