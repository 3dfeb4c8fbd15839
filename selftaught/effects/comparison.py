"""What the runs of an effect come to: the difference of each arm from the control, with its interval, and the verdict.

Arms are paired by seed and task. The statistics are `selftaught.core.statistics`'.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from selftaught.core.statistics import gain_over_seeds
from selftaught.effects.effect import Effect
from selftaught.effects.results import Results, Run

Verdict = Literal["shown", "not shown", "reversed"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One arm against the control, over `seeds` seeds with `tasks` tasks altogether.

    `difference` is that of the means, the arm's less the control's, with its 95 % interval. `visible` is half the
    interval's width: the smallest difference that these runs could have shown.
    """

    arm: Run
    control: Run
    mean: float
    control_mean: float
    difference: float
    low: float
    high: float
    seeds: int
    tasks: int
    verdict: Verdict

    @property
    def visible(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def comparisons(results: Results) -> Iterator[Comparison]:
    """Every arm against the control, as far as there are runs of both; `arm` and `control` are the newest of them."""
    for name in results.effect.treated:
        arms, controls = results.of(name), results.of(results.effect.control)
        both = [(arms[seed], controls[seed]) for seed in sorted(arms.keys() & controls.keys())]
        pairs = [pair for pair in both if all(run.scores for run in pair)]  # none: the figure is not defined
        if pairs:
            yield _compared(results.effect, pairs)


def _compared(effect: Effect, pairs: list[tuple[Run, Run]]) -> Comparison:
    common = [sorted(arm.scores.keys() & control.scores.keys()) for arm, control in pairs]
    of_arm, of_control = (
        [[pair[side].scores[task] for task in tasks] for pair, tasks in zip(pairs, common, strict=True)]
        for side in (0, 1)
    )
    gain = gain_over_seeds(of_control, of_arm)
    arm, control = pairs[-1]
    return Comparison(
        arm=arm,
        control=control,
        mean=_mean(of_arm),
        control_mean=_mean(of_control),
        difference=gain.estimate,
        low=gain.low,
        high=gain.high,
        seeds=len(pairs),
        tasks=sum(map(len, common)),
        verdict=verdict(effect, gain.estimate, gain.low, gain.high),
    )


def _mean(values: list[list[float]]) -> float:
    """The mean over seeds, all of equal weight."""
    return sum(sum(each) / len(each) for each in values) / len(values)


def verdict(effect: Effect, difference: float, low: float, high: float) -> Verdict:
    """`shown` where the interval is on the claimed side of 0 and the difference large enough; `reversed` beyond 0."""
    if effect.direction == "falls":
        difference, low, high = -difference, -high, -low
    if high < 0:
        return "reversed"
    return "shown" if low > 0 and difference >= effect.smallest else "not shown"
