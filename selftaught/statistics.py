"""Statistics of evaluation: pass@k, intervals, the paired test of two models, and what a test can show.

Pure functions on counts and arrays of per-task values; tasks are the unit of sampling everywhere, never rollouts.
Equal input gives equal output: whatever resamples takes a seed. Probabilities are fractions, `alpha` and p-values
one-sided unless said otherwise. It knows nothing of models, metrics or gates; `selftaught.evaluation` puts it to use.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import scipy  # its parts load when they are first used: most steps of a round need none
from numpy.typing import ArrayLike, NDArray

from selftaught.errors import BadInput

Floats = NDArray[np.float64]

POWER = 0.8
_FEWEST_RESAMPLES, _MOST_RESAMPLES = 10_000, 1_000_000
_BATCH = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What the challenger gains on the champion over the same tasks: the mean difference a task, with its interval.

    `p_value` is one-sided (how likely such a gain is where there is none); `gained` and `lost` count the tasks on
    which the challenger did better and worse; `test` says how the p-value was made.
    """

    gain: float
    low: float
    high: float
    p_value: float
    gained: int
    lost: int
    tasks: int
    test: str


@dataclass(frozen=True, slots=True)
class Change:
    """By how much the mean of later tasks is above that of earlier, other ones, with its interval.

    `p_value` is one-sided: how likely a fall like this is where there is none. `test` says how it was made.
    """

    change: float
    low: float
    high: float
    p_value: float
    test: str


# One model ------------------------------------------------------------------------------------------------------------


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of the chance that one of `k` samples is right, from `c` right ones among `n` >= `k`.

    Source: Chen et al. 2021, Evaluating Large Language Models Trained on Code, equation 1.
    """
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval, which keeps its coverage near 0 and 1, where Wald's collapses."""
    interval = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(interval.low), float(interval.high))


def mean_interval(values: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean over tasks: Wilson's interval where every value is 0 or 1, the bootstrap's otherwise."""
    values = np.asarray(values, float)
    if is_binary(values):
        return wilson(int(values.sum()), len(values), confidence)
    return bootstrap(values, confidence, seed)


def bootstrap(values: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean over tasks with its expanded percentile bootstrap interval. Raises BadInput under two values.

    The plain percentile interval is too narrow on few tasks; widening its tails to those of Student's t mends that
    (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 3.1). Not BCa: it corrects skew, of which
    bounded values have little, not narrowness, and is unstable in the far tails that an error budget asks for.
    """
    tail = (1 - confidence) / 2
    values = np.asarray(values, float)
    return _percentile(values, _resampled_means(values, tail, seed), tail)


def is_binary(values: ArrayLike) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


def _percentile(values: Floats, means: Floats, tail: float) -> Interval:
    """The mean of `values` with the interval that leaves `tail` on either side of the resampled `means`."""
    share = _expanded(tail, len(values))
    low, high = np.quantile(means, [share, 1 - share])
    return Interval(float(np.mean(values)), float(low), float(high))


def _resampled_means(values: Floats, tail: float, seed: int) -> Floats:
    """Means of resamples of `values`, enough of them that about twenty lie beyond `tail`, a million at most."""
    if len(values) < 2:
        raise BadInput(f"{len(values)} task is too few for an interval of a mean. Measure at least 2 tasks.")
    resamples = int(np.clip(20 / _expanded(tail, len(values)), _FEWEST_RESAMPLES, _MOST_RESAMPLES))
    result = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=resamples, batch=_BATCH, method="percentile", rng=seed
    )
    return np.asarray(result.bootstrap_distribution)


def _expanded(tail: float, n: int) -> float:
    """The tail of the percentile bootstrap that is as wide as Student's t at `tail` on `n` values."""
    return float(scipy.stats.norm.cdf(math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(tail, n - 1)))


def _contracted(share: float, n: int) -> float:
    """The inverse of `_expanded`: the p-value that a share of resamples stands for."""
    return float(scipy.stats.t.cdf(scipy.stats.norm.ppf(share) * math.sqrt((n - 1) / n), n - 1))


# Two models on the same tasks -----------------------------------------------------------------------------------------


def paired_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Gain:
    """The gain of the challenger, value i of both being of task i: `binary_gain` where it applies, else `mean_gain`."""
    if is_binary(champion) and is_binary(challenger):
        return binary_gain(champion, challenger, confidence)
    return mean_gain(champion, challenger, confidence, seed)


def binary_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95) -> Gain:
    """The gain where every value is 0 or 1: Tango's interval and the exact McNemar test."""
    gained, lost = _sides(difference := _difference(champion, challenger))
    interval = tango(gained, lost, tasks := len(difference), confidence)
    p_value = mcnemar(gained, lost)
    return Gain(interval.estimate, interval.low, interval.high, p_value, gained, lost, tasks, "exact McNemar")


def mean_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Gain:
    """The gain of any values: bootstrap over tasks, and the p-value at which its lower limit would touch zero.

    The p-value is bounded from below by the number of resamples, which grows with the confidence asked for. Raises
    BadInput under two tasks.
    """
    difference, tail = _difference(champion, challenger), (1 - confidence) / 2
    means = _resampled_means(difference, tail, seed)
    interval = _percentile(difference, means, tail)
    p_value = _contracted((1 + int((means <= 0).sum())) / (1 + len(means)), tasks := len(difference))
    return Gain(interval.estimate, interval.low, interval.high, p_value, *_sides(difference), tasks, "bootstrap")


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact test, one-sided: the chance of `gained` or more among the tasks that changed sides, at even odds.

    Twice the smaller of `mcnemar(gained, lost)` and `mcnemar(lost, gained)`, at most 1, is the two-sided p-value.
    """
    return float(scipy.stats.binom.sf(gained - 1, gained + lost, 0.5))


def mcnemar_two_sided(gained: int, lost: int) -> float:
    """McNemar's exact test, two-sided."""
    return min(1.0, 2 * mcnemar(max(gained, lost), min(gained, lost)))


def tango(gained: int, lost: int, tasks: int, confidence: float = 0.95) -> Interval:
    """The difference of two paired proportions with Tango's score interval.

    Its limits invert McNemar's score test, so interval and test agree, and it stays within [-1, 1] and keeps its
    coverage with few or no tasks that changed sides. Source: Tango 1998, Statistics in Medicine 17:891-908; among those
    recommended by Fagerland, Lydersen and Laake 2014, Statistics in Medicine 33:2850-2875.
    """
    z = float(scipy.stats.norm.isf((1 - confidence) / 2))
    return Interval((gained - lost) / tasks, _tango_low(gained, lost, tasks, z), -_tango_low(lost, gained, tasks, z))


def _tango_low(gained: int, lost: int, tasks: int, z: float) -> float:
    """Tango's lower limit by bisection: the score test rejects everything below it."""
    rejected, held = -1.0, (gained - lost) / tasks
    for _ in range(50):
        middle = (rejected + held) / 2
        if _tango_rejects(middle, gained, lost, tasks, z):
            rejected = middle
        else:
            held = middle
    return rejected


def _tango_rejects(gain: float, gained: int, lost: int, tasks: int, z: float) -> bool:
    """Whether the score test at `z` rejects that the true gain is `gain`; q is the likeliest share of losses then."""
    a, b, c = 2 * tasks, (2 * tasks - gained + lost) * gain - gained - lost, -lost * gain * (1 - gain)
    q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = tasks * (2 * q + gain * (1 - gain))
    return (gained - lost - tasks * gain) ** 2 >= z * z * variance


def _difference(champion: ArrayLike, challenger: ArrayLike) -> Floats:
    return np.asarray(challenger, float) - np.asarray(champion, float)


def _sides(difference: Floats) -> tuple[int, int]:
    """How many tasks were gained and lost."""
    return int((difference > 0).sum()), int((difference < 0).sum())


# One model on two sets of tasks ---------------------------------------------------------------------------------------


def independent_change(before: ArrayLike, after: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Change:
    """The change from `before` to `after`, whose tasks are different ones and so cannot be paired.

    Where every value is 0 or 1: Newcombe's interval from Wilson's (1998, Statistics in Medicine 17:873-890, method 10)
    and Fisher's exact test, which keeps its error probability whatever the common rate. Otherwise: the percentile
    bootstrap and a permutation test. Raises BadInput where a side has no task, or only one where that is too few.
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    if not len(before) or not len(after):
        raise BadInput(f"{len(before)} tasks before and {len(after)} after: a change takes some of both.")
    if is_binary(before) and is_binary(after):
        return _binary_change(before, after, confidence)
    return _mean_change(before, after, confidence, seed)


def _binary_change(before: Floats, after: Floats, confidence: float) -> Change:
    one, other = (wilson(int(values.sum()), len(values), confidence) for values in (before, after))
    change = other.estimate - one.estimate
    low = change - math.hypot(other.estimate - other.low, one.high - one.estimate)
    high = change + math.hypot(other.high - other.estimate, one.estimate - one.low)
    table = np.array([[values.sum(), len(values) - values.sum()] for values in (after, before)], int)
    p_value = scipy.stats.fisher_exact(table, alternative="less").pvalue
    return Change(change, low, high, float(p_value), "Fisher's exact test")


def _mean_change(before: Floats, after: Floats, confidence: float, seed: int) -> Change:
    if min(len(before), len(after)) < 2:
        raise BadInput("1 task is too few for an interval of a mean. Measure at least 2 tasks.")
    stats, settings = cast(Any, scipy.stats), {"n_resamples": _FEWEST_RESAMPLES, "batch": _BATCH, "rng": seed}
    both, method = (after, before), "percentile"
    interval = stats.bootstrap(both, _mean_above, confidence_level=confidence, method=method, **settings)
    tested = stats.permutation_test(both, _mean_above, alternative="less", **settings)
    low, high = interval.confidence_interval
    change = float(after.mean() - before.mean())
    return Change(change, float(low), float(high), float(tested.pvalue), "permutation test")


def _mean_above(one: Floats, other: Floats, axis: int = -1) -> Any:
    return np.mean(one, axis=axis) - np.mean(other, axis=axis)


# What a test can show -------------------------------------------------------------------------------------------------


def mcnemar_power(tasks: int, gain: float, discordance: float, alpha: float = 0.025, min_gain: float = 0.0) -> float:
    """The chance that the exact test at `alpha` shows a true `gain` and the estimate is above `min_gain`.

    `discordance` is the share of tasks on which the two models differ; a gain above it raises it to the gain. Exact:
    the number of tasks that differ is binomial, and given it, so is the number gained.
    """
    discordance = max(discordance, gain)
    differ = np.arange(tasks + 1)
    needed = scipy.stats.binom.isf(alpha, differ, 0.5) + 1
    needed = np.maximum(needed, np.floor((differ + tasks * min_gain) / 2) + 1)
    shown = scipy.stats.binom.sf(needed - 1, differ, (discordance + gain) / (2 * discordance))
    return float(scipy.stats.binom.pmf(differ, tasks, discordance) @ shown)


@lru_cache
def smallest_detectable_gain(
    tasks: int, discordance: float, alpha: float = 0.025, power: float = POWER, min_gain: float = 0.0
) -> float:
    """The smallest true gain that the exact McNemar test shows with `power`; infinite where `tasks` can show none.

    Assumes the share of tasks on which the models differ, `discordance`, which nobody knows before the run: the more
    tasks change sides, the more noise there is. State it beside the result, for two values.
    """

    def shortfall(gain: float) -> float:
        return power - mcnemar_power(tasks, gain, discordance, alpha, min_gain)

    return math.inf if shortfall(1.0) > 0 else float(scipy.optimize.brentq(shortfall, 1e-9, 1.0, xtol=1e-6))


def alpha_spending(round: int, alpha: float, spent: float = 0.0) -> float:
    """The error probability for `round` (from 1) where all rounds together may err with `alpha` and `spent` is gone.

    alpha / (r (r + 1)) in round r adds up to alpha over endless rounds, so it needs no planned number of them, and it
    falls slowly: on 200 tasks the gain that round 52 can show is less than twice that of a single test. Where more was
    spent than planned (another campaign on the same tasks), what is left is shared out in the same way. This is online
    Bonferroni: Foster and Stine 2008, alpha-investing, JRSS B 70:429-444; Blum and Hardt 2015, The Ladder, say why
    refusals that tell one bit each leave the bound standing.
    """
    left = max(alpha - spent, 0.0)
    return min(alpha / (round * (round + 1)), left / (round + 1))
