"""What a gate can be expected to show, before a round is run, in a sentence or two.

Exact for 0/1 values; by Student's t for fractions, which is within .01 of the flips from 48 tasks on. What is measured
of the last round (the share of tasks that changed sides, or the variance of the differences; what the champion has
right on the guard) replaces what is assumed. It decides nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selftaught.blocks import Outlook
from selftaught.core.errors import BadInput
from selftaught.core.statistics import (
    POWER,
    SHARES,
    binary_guard_power,
    is_binary,
    mean_guard_power,
    smallest_detectable_gain,
    smallest_mean_gain,
)
from selftaught.evaluation.guard import relative_margin
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.evaluation.wording import percent
from selftaught.records import Split

DISCORDANCE = (0.2, 0.4)
"""Shares of tasks assumed to change sides until a round has been measured."""
_FEW = 10
"""Guard tasks below which the last round's spread is not believed."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How much the difference of two models varies from task to task, and how that is said.

    `share` of the tasks change sides where values are 0 or 1, else the differences have `variance`.
    """

    said: str
    share: float | None = None
    variance: float = 0.0

    def smallest_gain(self, tasks: int, alpha: float, min_gain: float) -> float:
        """The gain that `tasks` show at 80 % power."""
        if tasks < 2:
            return math.inf
        if self.share is None:
            return smallest_mean_gain(tasks, self.variance, alpha, min_gain=min_gain)
        return smallest_detectable_gain(tasks, self.share, alpha, min_gain=min_gain)

    def guarded(self, tasks: int, margin: float, confidence: float) -> float:
        """The chance that a model as good as the champion passes a guard of `tasks`."""
        if tasks < 2:
            return 0.0
        if self.share is None:
            return mean_guard_power(tasks, 0.0, self.variance, margin, confidence)
        return binary_guard_power(tasks, 0.0, self.share, margin, confidence)


def noise_of(pairs: Pairs) -> Noise:
    """What was measured."""
    changed = float(np.count_nonzero(pairs.difference)) / len(pairs.tasks)
    if is_binary(pairs.champion) and is_binary(pairs.challenger):
        share = max(changed, 1 / len(pairs.tasks))
        return Noise(f"{percent(round(share, 2))} of the tasks change sides, as in the last round", share)
    variance = max(float(pairs.difference.var()), 1e-4)
    return Noise(f"a task's gain varies by {variance**0.5:.2f}, as in the last round", None, variance)


@dataclass(frozen=True, slots=True)
class Chances:
    """What bears on a promotion: what is known before the run, and what the gate asks."""

    outlook: Outlook
    metric: str
    guarding: Sequence[str]
    min_gain: float
    guard_margin: float
    guard_confidence: float

    def noises(self) -> Iterator[Noise]:
        """Of the last round where there is one, else what can be assumed; none where nothing can."""
        yield from self._noises("gate")

    def guarded(self, noise: Noise) -> float:
        """The chance that an equal model passes the guard, `noise` being assumed where the last round tells none."""
        if not self.guarding:
            return 1.0
        last = self._last("guard")
        measured = next(self._noises("guard")) if last and len(last.tasks) >= _FEW else noise
        margin = relative_margin(self.guard_margin, last.champion, self.outlook.bounds) if last else self.guard_margin
        return measured.guarded(self.outlook.guard, margin, self.guard_confidence)

    def _noises(self, split: Split) -> Iterator[Noise]:
        if last := self._last(split):
            yield noise_of(last)
        elif (assumed := self.outlook.variance) is not None:
            yield Noise(f"a task's gain varies by {assumed**0.5:.2f}", None, assumed)
        elif self.outlook.bounds == SHARES:
            yield from (Noise(f"{percent(share)} of the tasks change sides", share) for share in DISCORDANCE)

    def _last(self, split: Split) -> Pairs | None:
        outlook = self.outlook
        try:
            return pair(outlook.last, self.metric, split, outlook.champion, outlook.challenger)
        except BadInput:  # a first round, or one of another recipe: nothing is measured yet
            return None


def describe(chances: Chances, alpha: float, later: float | None, total: float, templates: int) -> str:
    """The smallest gain that can be shown with the error probability `alpha`, and the chance that it is promoted.

    `later` is the error probability of the last round on a fixed set, of `total` over all; `templates` how many it
    takes where the gain has to hold over them.
    """
    tasks, noises = chances.outlook.gate, list(chances.noises())
    if not noises:
        return (
            f"what {tasks} gate tasks can show is not known before a round was measured: nothing is assumed of how "
            f"much '{chances.metric}' varies from task to task."
        )
    gains = [noise.smallest_gain(tasks, alpha, chances.min_gain) for noise in noises] if alpha else [math.inf]
    if math.inf in gains:
        return f"{tasks} gate tasks are too few to show any gain ({_error(alpha)}): use more."
    shown = f"{tasks} gate tasks can show a gain of {gains[0]:.2f} or more at 80 % power if {noises[0].said}"
    shown += "".join(f", {gain:.2f} if {noise.said}" for gain, noise in zip(gains[1:], noises[1:], strict=True))
    parts = [f"{shown} ({_error(alpha)}).", *_promotion(chances, noises)]
    if templates:
        parts.append(f"It has to hold over templates, {templates} at least, which takes more where they differ.")
    return " ".join([*parts, *_later(chances, noises[0], later, total)])


def _promotion(chances: Chances, noises: Sequence[Noise]) -> Iterator[str]:
    """How likely such a gain ends in a promotion: the guard may refuse it too."""
    if not chances.guarding:
        yield "There is no guard: losses elsewhere are not checked."
        return
    passes = [chances.guarded(noise) for noise in noises]
    said = " or ".join(f"{each:.2f}" for each in dict.fromkeys(round(each, 2) for each in passes))
    chance = " or ".join(f"{each:.2f}" for each in dict.fromkeys(round(POWER * each, 2) for each in passes))
    yield (
        f"A model with that gain is promoted with a chance of {chance}: one that is not worse on the "
        f"{chances.outlook.guard} guard tasks passes them with {said}."
    )


def _later(chances: Chances, noise: Noise, later: float | None, total: float) -> Iterator[str]:
    """How the error budget shrinks what a fixed gate set can show by the last round."""
    if later is None:
        return
    last = chances.outlook.number + chances.outlook.rounds - 1
    gain = noise.smallest_gain(chances.outlook.gate, later, chances.min_gain) if later else math.inf
    shows = f"a gain of {gain:.2f}" if gain < math.inf else "more than they can show"
    yield (
        f"Every round draws them from one pool, so {percent(total)} is spent over all rounds: in round {last} it takes "
        f"{shows}."
    )


def _error(alpha: float) -> str:
    return f"{percent(alpha)} one-sided error" if alpha else "its error budget is used up"
