"""Paired gain: promote a challenger that is shown to be better on the same held-out tasks, and worse nowhere else.

Promotes when the test of the paired gain is significant (its interval is then above zero), over complete templates too
where the gain has to hold for new ones, the estimate is above `min_gain`, a loss on the guard set is excluded
(`evaluation.guard`), nothing held out was trained on, and the challenger is another model. Where gate tasks cannot be
redrawn, the error probability is spent over the rounds. It sees the scores of gate and guard, and of named sets with a
margin; the report set is never looked at. docs/statistics.md says what is promised and what is not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from selftaught.blocks import Check, Decision, Evidence, Gate, Outlook, Over
from selftaught.core.errors import BadInput
from selftaught.core.statistics import (
    Gain,
    alpha_spending,
    is_binary,
    mean_gain,
    paired_gain,
    template_gain,
)
from selftaught.evaluation.guard import guard_checks, set_checks
from selftaught.evaluation.judged import judged
from selftaught.evaluation.outlook import Chances, describe, noise_of
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.evaluation.wording import percent

_DIGITS = 12
"""Of error probabilities: hides the noise of floats, and takes a rest that no test could use for none."""
FEWEST_TEMPLATES = 6
"""Under which nothing is said of other templates: if all of five gain, chance has done so with 2^-5 > .025."""

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

    With `over: templates` the gain has to hold over complete templates too, six at least; by default it does for rows
    of users and not for a generator's problems. The guard is a non-inferiority test of `metric`, or of the metrics that
    are listed, against the champion and the model that the line began with: a loss of `guard_margin`, or of half of
    what is there to lose where that is less, has to be excluded. `guard: none` promotes without having looked
    elsewhere. On a named set that has a margin a loss of it is excluded in the same way, whatever `guard` says.
    """

    minds_sets: ClassVar[bool] = True
    metric: Annotated[str, Field(description="the metric that decides, as evaluate names it: accuracy, pass@8")] = (
        "accuracy"
    )
    min_gain: Annotated[float, Field(ge=0, lt=1, description="smallest estimate worth a promotion")] = 0.0
    confidence: Annotated[Share, Field(description="of the two-sided interval of the gain")] = 0.95
    test: Annotated[
        Literal["mcnemar", "sign_flip"] | None,
        Field(description="of the gain; null: McNemar's mid-p where every value is 0 or 1, else sign flips"),
    ] = None
    over: Annotated[Over | None, Field(description="what the gain has to generalise to, unless the source sets it")] = (
        None
    )
    guard: Annotated[
        Literal["none"] | tuple[str, ...], Field(description="the metrics that guard, of those that evaluate names")
    ] = ()
    guard_margin: Annotated[Share, Field(description="the loss on guard tasks that has to be excluded, at most")] = 0.15
    guard_confidence: Annotated[float, Field(ge=0.5, lt=1, description="one-sided, of excluding that loss")] = 0.9

    @property
    def guarding(self) -> tuple[str, ...]:
        """The metrics that guard; none where there is no guard."""
        return () if self.guard == "none" else self.guard or (self.metric,)

    @property
    def anchored(self) -> frozenset[str]:
        """The metrics that guard: the line's first model is measured on them too."""
        return frozenset(self.guarding)

    def decide(self, evidence: Evidence) -> Decision:
        """Promote or refuse, each condition a check. Raises BadInput when the two models' scores cannot be paired."""
        budget = self._budget(evidence.round, evidence.fresh, evidence.alpha_spent)
        pairs = pair(evidence.scores, self.metric, "gate", evidence.champion, evidence.challenger)
        gain = self._gain(pairs, budget, evidence.seed)
        checks = tuple(self._checks(evidence, pairs, gain, budget))
        outcome = "promoted" if all(check.passed for check in checks) else "refused"
        return Decision(outcome, self.metric, gain.gain, gain.low, gain.high, gain.p_value, budget.alpha, checks)

    def plan(self, outlook: Outlook) -> str:
        """What the gate tasks can show at 80 % power, how likely that is promoted, and how that changes over rounds."""
        now, last = (
            self._budget(number, outlook.fresh, outlook.spent).alpha
            for number in (outlook.number, outlook.number + outlook.rounds - 1)
        )
        chances = Chances(outlook, self.metric, self.guarding, self.min_gain, self.guard_margin, self.guard_confidence)
        later = None if outlook.fresh or outlook.rounds == 1 else last
        over = self.over or outlook.over
        return describe(chances, now, later, self._total, FEWEST_TEMPLATES if over == "templates" else 0)

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

    def _checks(self, evidence: Evidence, pairs: Pairs, gain: Gain, budget: _Budget) -> Iterator[Check]:
        yield _new_model(evidence)
        if any(pairs.errors):
            yield judged("judged", f"{self.metric} on the gate set", pairs)
        if not evidence.fresh:
            yield _within_budget(evidence, budget)
        yield self._significant(pairs, gain, budget)
        if (self.over or evidence.over) == "templates":
            yield _over_templates(pairs, evidence, budget)
        yield self._worth_it(gain)
        if self.guard == "none":
            yield Check("guard", True, "the recipe sets guard: none, so losses elsewhere were not checked")
        else:
            yield from guard_checks(evidence, self.guarding, self.guard_margin, self.guard_confidence)
        yield from set_checks(evidence, self.guard_confidence)

    def _significant(self, pairs: Pairs, gain: Gain, budget: _Budget) -> Check:
        detectable = noise_of(pairs).smallest_gain(gain.tasks, budget.alpha or budget.total, self.min_gain)
        reason = (
            f"gain {_interval(gain)} ({percent(budget.confidence)} interval) on {gain.tasks} tasks, "
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

    @model_validator(mode="after")
    def _names_what_guards(self) -> Self:
        if len(set(self.guard)) < len(self.guard) and self.guard != "none":
            raise ValueError(f"guard names {', '.join(self.guard)}: name each metric once")
        return self


def _new_model(evidence: Evidence) -> Check:
    digest = evidence.challenger[:8]
    if evidence.challenger == evidence.champion:
        return Check("new_model", False, f"the challenger is the champion itself ({digest}): training changed nothing")
    return Check("new_model", True, f"the challenger ({digest}) is not the champion ({evidence.champion[:8]})")


def _over_templates(pairs: Pairs, evidence: Evidence, budget: _Budget) -> Check:
    """The gain over complete templates: what it says of tasks whose templates are unseen."""
    clusters = [evidence.clusters.get(task, task) for task in pairs.tasks]
    number = len(set(clusters))
    if number < FEWEST_TEMPLATES:
        reason = (
            f"the gate tasks are of {number} templates, which is too few to generalise from; it takes "
            f"{FEWEST_TEMPLATES}. Give tasks of more templates, or set `over: tasks` in the gate to decide for these "
            "alone"
        )
        return Check("templates", False, reason, {"templates": number})
    gain = template_gain(pairs.difference, clusters)
    reason = (
        f"gain {gain.gain:+.3f} over {number} templates of equal weight, t = {gain.t:.2f}, one-sided p = "
        f"{gain.p_value:.2g}; it takes p of at most {budget.alpha:.2g}"
    )
    values = {"gain": gain.gain, "templates": number, "p_value": gain.p_value}
    return Check("templates", gain.p_value <= budget.alpha, reason, values)


def _within_budget(evidence: Evidence, budget: _Budget) -> Check:
    values = {"alpha": budget.alpha, "budget": budget.total, "budget_left": budget.left}
    if budget.alpha == 0:
        reason = f"the error budget of {budget.total:.3g} on these gate tasks is used up: give the gate other tasks"
        return Check("error_budget", False, reason, values)
    reason = (
        f"every round draws its gate tasks from one pool: round {evidence.round} spends {budget.alpha:.2g} of the "
        f"error budget of {budget.total:.3g}, of which rounds of any line and campaign had spent "
        f"{evidence.alpha_spent:.2g}; that leaves {budget.left:.2g}"
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
