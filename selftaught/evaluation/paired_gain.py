"""Paired gain: promote a challenger that is shown to be better on the same held-out tasks, and worse nowhere else.

Promotes when the test of the paired gain is significant (its interval is then above zero), the estimate is above
`min_gain`, a loss of `guard_margin` on the guard set is excluded, nothing held out was trained on, and the challenger
is another model. Where gate tasks cannot be drawn anew, the error probability is spent over the rounds. It sees gate
and guard scores only; the report set is never looked at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from selftaught.blocks import Check, Decision, Evidence, Gate
from selftaught.errors import BadInput
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.statistics import (
    Gain,
    alpha_spending,
    is_binary,
    mean_gain,
    paired_gain,
    smallest_detectable_gain,
)

DISCORDANCE = (0.2, 0.4)
"""Shares of tasks assumed to change sides when saying what a gate set can show: nobody knows it before the run."""
_DIGITS = 12
"""Of error probabilities: hides the noise of floats, and takes a rest that no test could use for none."""
_SHOWN = 3
"""How many overlaps a reason lists."""

Share = Annotated[float, Field(gt=0, lt=1)]


@dataclass(frozen=True, slots=True)
class _Budget:
    """The one-sided error probability of this round, of all of them, and what is left for later rounds."""

    alpha: float
    total: float
    left: float

    @property
    def confidence(self) -> float:
        """Of this round's two-sided interval; where nothing is left to spend, of one to look at."""
        return 1 - 2 * (self.alpha or self.total)


class PairedGain(Gate, type="paired_gain"):
    """Promote on a significant paired gain in `metric`.

    `test` is McNemar's mid-p where every value is 0 or 1, the sign-flip test otherwise, unless it is named. The guard
    is a non-inferiority test: with the defaults and 64 guard tasks of which a fifth change sides, it passes nine in ten
    models that are as good as the champion, and one in ten that lost 0.15.
    """

    metric: Annotated[str, Field(description="the metric that decides, as evaluate names it: accuracy, pass@8")] = (
        "accuracy"
    )
    min_gain: Annotated[float, Field(ge=0, lt=1, description="smallest estimate worth a promotion")] = 0.0
    confidence: Annotated[Share, Field(description="of the two-sided interval of the gain")] = 0.95
    test: Literal["mcnemar", "sign_flip"] | None = None
    guard_margin: Annotated[Share, Field(description="the loss on guard tasks that has to be excluded")] = 0.15
    guard_confidence: Annotated[float, Field(ge=0.5, lt=1, description="one-sided, of excluding that loss")] = 0.9

    def decide(self, evidence: Evidence) -> Decision:
        """Promote or refuse, each condition a check. Raises BadInput when the two models' scores cannot be paired."""
        budget = self._budget(evidence.round, evidence.fresh, evidence.alpha_spent)
        pairs = pair(evidence.scores, self.metric, "gate", evidence.champion, evidence.challenger)
        gain = self._gain(pairs, budget, evidence.seed)
        checks = tuple(self._checks(evidence, gain, budget))
        outcome = "promoted" if all(check.passed for check in checks) else "refused"
        return Decision(outcome, self.metric, gain.gain, gain.low, gain.high, gain.p_value, budget.alpha, checks)

    def plan(self, tasks: int, fresh: bool, rounds: int) -> str:
        """What `tasks` gate tasks can show at 80 % power, in the first round and, on a fixed set, in the last."""
        alpha = self._budget(1, fresh, 0.0).alpha
        shown = [self._detectable(tasks, alpha, share) for share in DISCORDANCE]
        if math.inf in shown:
            return f"{tasks} gate tasks are too few to show any gain ({_percent(alpha)} one-sided error): use more."
        told = (
            f"{tasks} gate tasks can show a gain of {shown[0]:.2f} or more at 80 % power if "
            f"{_percent(DISCORDANCE[0])} of the tasks change sides, {shown[1]:.2f} if {_percent(DISCORDANCE[1])} do "
            f"({_percent(alpha)} one-sided error)."
        )
        return told if fresh or rounds == 1 else f"{told} {self._outlook(tasks, rounds)}"

    def _outlook(self, tasks: int, rounds: int) -> str:
        """How the error budget shrinks what a fixed gate set can show by the last round."""
        gain = self._detectable(tasks, alpha_spending(rounds, self._total))
        shows = f"a gain of {gain:.2f}" if gain < math.inf else "more than they can show"
        return (
            f"They are the same every round, so {_percent(self._total)} is spent over all rounds: "
            f"in round {rounds} it takes {shows}."
        )

    def _detectable(self, tasks: int, alpha: float, discordance: float = DISCORDANCE[0]) -> float:
        return smallest_detectable_gain(tasks, discordance, alpha, min_gain=self.min_gain)

    @property
    def _total(self) -> float:
        """The one-sided error probability that a two-sided interval at `confidence` leaves to its lower limit."""
        return round((1 - self.confidence) / 2, _DIGITS)

    def _budget(self, number: int, fresh: bool, spent: float) -> _Budget:
        if fresh:
            return _Budget(self._total, self._total, self._total)
        alpha = round(alpha_spending(number, self._total, spent), _DIGITS)
        return _Budget(alpha, self._total, max(self._total - spent - alpha, 0.0))

    def _gain(self, pairs: Pairs, budget: _Budget, seed: int) -> Gain:
        if self.test == "sign_flip":
            return mean_gain(pairs.champion, pairs.challenger, budget.confidence, seed)
        if self.test == "mcnemar":
            _check_binary(self.metric, pairs)
        return paired_gain(pairs.champion, pairs.challenger, budget.confidence, seed)

    def _checks(self, evidence: Evidence, gain: Gain, budget: _Budget) -> Iterator[Check]:
        yield _new_model(evidence)
        yield _uncontaminated(evidence.contaminated)
        if not evidence.fresh:
            yield _within_budget(evidence.round, budget)
        yield self._significant(gain, budget)
        yield self._worth_it(gain)
        yield self._guarded(evidence)

    def _significant(self, gain: Gain, budget: _Budget) -> Check:
        detectable = self._detectable(gain.tasks, budget.alpha or budget.total)
        reason = (
            f"gain {_interval(gain)} ({_percent(budget.confidence)} interval) on {gain.tasks} tasks, "
            f"{gain.gained} gained, {gain.lost} lost, one-sided {gain.test} p = {gain.p_value:.2g}; "
            f"it takes p of at most {budget.alpha:.2g}"
        )
        values = {"gained": gain.gained, "lost": gain.lost, "tasks": gain.tasks, "p_value": gain.p_value}
        if detectable < math.inf:
            values["detectable_gain"] = detectable
        return Check("gain", gain.p_value <= budget.alpha, reason, values)

    def _worth_it(self, gain: Gain) -> Check:
        passed = gain.gain > self.min_gain
        reason = f"the estimate {gain.gain:+.3f} is {'' if passed else 'not '}above min_gain, {self.min_gain:g}"
        return Check("min_gain", passed, reason, {"gain": gain.gain, "min_gain": self.min_gain})

    def _guarded(self, evidence: Evidence) -> Check:
        """Non-inferiority on the guard set, all its templates together: one by one they are too few to tell."""
        if not any(score.split == "guard" and score.metric == self.metric for score in evidence.scores):
            return Check("guard", True, "there are no guard tasks: losses elsewhere were not looked for")
        pairs = pair(evidence.scores, self.metric, "guard", evidence.champion, evidence.challenger)
        gain = paired_gain(pairs.champion, pairs.challenger, 2 * self.guard_confidence - 1, evidence.seed)
        passed = gain.low > -self.guard_margin
        reason = (
            f"gain {gain.gain:+.3f} on {gain.tasks} guard tasks, {gain.gained} gained, {gain.lost} lost: a loss of "
            f"{self.guard_margin:g} or more is {'' if passed else 'not '}excluded at {_percent(self.guard_confidence)} "
            f"(lower limit {gain.low:+.3f})"
        )
        return Check("guard", passed, reason, {"gain": gain.gain, "low": gain.low, "tasks": gain.tasks})


def _new_model(evidence: Evidence) -> Check:
    digest = evidence.challenger[:8]
    if evidence.challenger == evidence.champion:
        return Check("new_model", False, f"the challenger is the champion itself ({digest}): training changed nothing")
    return Check("new_model", True, f"the challenger ({digest}) is not the champion ({evidence.champion[:8]})")


def _uncontaminated(found: Sequence[str]) -> Check:
    if not found:
        return Check("contamination", True, "no training task overlaps a held-out one")
    listed = "; ".join(found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
    reason = f"training overlaps held-out tasks in {len(found)} places, so nothing measured counts: {listed}"
    return Check("contamination", False, reason, {"overlaps": len(found)})


def _within_budget(round: int, budget: _Budget) -> Check:
    values = {"alpha": budget.alpha, "budget": budget.total, "budget_left": budget.left}
    if budget.alpha == 0:
        reason = f"the error budget of {budget.total:.3g} on these gate tasks is used up: give the gate other tasks"
        return Check("error_budget", False, reason, values)
    reason = (
        f"the gate tasks are the same every round: round {round} spends {budget.alpha:.2g} of the error budget of "
        f"{budget.total:.3g}, which leaves {budget.left:.2g}"
    )
    return Check("error_budget", True, reason, values)


def _check_binary(metric: str, pairs: Pairs) -> None:
    for value in (*pairs.champion, *pairs.challenger):
        if not is_binary([value]):
            raise BadInput(
                f"gate.test is 'mcnemar', but '{metric}' has the value {value:g}, neither 0 nor 1. "
                f"Leave out test, or set it to 'sign_flip'."
            )


def _interval(gain: Gain) -> str:
    return f"{gain.gain:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _percent(share: float) -> str:
    """`share` as per cent, with as many digits as tell it from 0 and 100.

    >>> _percent(0.95), _percent(0.025), _percent(1 - 1.8e-5)
    ('95 %', '2.5 %', '99.9982 %')
    """
    digits = max(3, 2 - math.floor(math.log10(min(share, 1 - share))))
    return f"{100 * share:.{digits}g} %"
