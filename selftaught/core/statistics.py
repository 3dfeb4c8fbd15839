"""Statistics of evaluation: pass@k, intervals, the paired tests of two models, and what a test can show.

Pure functions on counts and arrays of per-task values; the unit of sampling is the task, or its template where results
are meant for unseen templates (`template_gain`), never the rollout. Equal input gives equal output:
whatever resamples takes a seed. Probabilities are fractions, `alpha` and p-values one-sided unless said otherwise. It
knows nothing of models, metrics or gates; `selftaught.evaluation` puts it to use, docs/statistics.md says what is
promised and what is not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, cast

import numpy as np
import scipy  # its parts load when they are first used: most steps of a round need none
from numpy.typing import ArrayLike, NDArray

from selftaught.core.errors import BadInput

Floats = NDArray[np.float64]
Bounds = tuple[float, float]
"""The least and the highest value that there can be."""
SHARES: Bounds = (0.0, 1.0)
"""The bounds of what is right or wrong, or a share of it."""

POWER = 0.8
_FEWEST_RESAMPLES, _MOST_RESAMPLES = 10_000, 1_000_000
_MOST_HIERARCHICAL = 100_000
_BATCH = 2_000
_DENOMINATORS = 20_000
"""The finest fractions that values are read as: pass@8 of 16 samples has twelve thousandths."""
_FINEST = 1_000_000
"""A common denominator above which values are taken to have none."""
_MOST_CELLS, _MOST_STEPS, _ENUMERATED = 20_000_000, 2_000_000_000, 12
"""Of exact sign flips: what fits into memory, what takes a few seconds, and of how many tasks subsets are listed."""
_FEW = 10
"""So few tasks beside the most common value tell nothing of the spread."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Gain:
    """What the challenger gains on the champion over the same tasks: the mean difference a task, with its interval.

    `p_value` is one-sided (how likely such a gain is where there is none) and decides; the interval agrees with it:
    `low` is above 0 exactly where `p_value` is at most the error probability that the interval leaves to one side.
    `gained` and `lost` count the tasks on which the challenger did better and worse; `test` says how the p-value was
    made.
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
class TemplateGain:
    """The gain on unseen templates: the mean over `templates`, each of equal weight.

    `p_value` is that of the one-sided t-test on the templates' means, `flip` that of the sign flips of complete
    templates.
    """

    gain: float
    t: float
    p_value: float
    flip: float
    templates: int


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
    """The unbiased estimate of the chance that one of `k` samples is right, from `c` right ones among `n`.

    Raises BadInput where `n` samples are too few. Source: Chen et al. 2021, Evaluating Large Language Models Trained on
    Code, equation 1.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise BadInput(f"pass@{k} takes {k} samples or more, of which there are {n}, {c} of them right. Sample again.")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval, which keeps its coverage near 0 and 1, where Wald's collapses."""
    return _wilson(successes / n, n, confidence)


def mean_interval(
    values: ArrayLike, confidence: float = 0.95, seed: int = 0, bounds: Bounds | None = SHARES
) -> Interval:
    """The mean over tasks: Wilson's interval where every value is one of `bounds`, the bootstrap's otherwise.

    Where all values but a few are the same one, resamples tell nothing of the spread (none at all where they are all
    equal): then `bounds` say how far off tasks may be that were not drawn. Where they are not known, and the values all
    equal, the interval is that one value, and means nothing.
    """
    values = np.asarray(values, float)
    if bounds is None or values.min() < bounds[0] or values.max() > bounds[1]:
        return bootstrap(values, confidence, seed)
    if np.isin(values, bounds).all() or _hardly_differ(values):
        return _bounded(values, bounds, confidence)
    return bootstrap(values, confidence, seed)


def _hardly_differ(values: Floats) -> bool:
    return len(values) - int(np.unique(values, return_counts=True)[1].max()) < min(_FEW, len(values))


def _bounded(values: Floats, bounds: Bounds, confidence: float) -> Interval:
    """As wide as where every value that is not the commonest were one of `bounds`: none within them spread more.

    What is above the commonest value and what is below have Wilson's interval each, put together as Newcombe's (1998,
    Statistics in Medicine 17:873, method 10) are. Where it is one of `bounds` that is Wilson's interval of the mean.
    """
    (least, most), n = bounds, len(values)
    different, counts = np.unique(values, return_counts=True)
    mean, common = float(values.mean()), float(different[counts.argmax()])
    if common in bounds:
        inside = _wilson((mean - least) / (most - least), n, confidence)
        return Interval(mean, least + (most - least) * inside.low, least + (most - least) * inside.high)
    up = _wilson(float(np.maximum(values - common, 0).mean()) / (most - common), n, confidence)
    down = _wilson(float(np.maximum(common - values, 0).mean()) / (common - least), n, confidence)
    low = math.hypot((up.estimate - up.low) * (most - common), (down.high - down.estimate) * (common - least))
    high = math.hypot((up.high - up.estimate) * (most - common), (down.estimate - down.low) * (common - least))
    return Interval(mean, mean - low, mean + high)


def _wilson(mean: float, n: int, confidence: float) -> Interval:
    """Wilson's interval of a mean, which need not be a whole number of successes."""
    z = float(scipy.stats.norm.isf((1 - confidence) / 2))
    middle, half = mean + z * z / 2 / n, z * math.sqrt(mean * (1 - mean) / n + z * z / 4 / n / n)
    return Interval(mean, max((middle - half) / (1 + z * z / n), 0.0), min((middle + half) / (1 + z * z / n), 1.0))


def bootstrap(values: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean over tasks with its expanded percentile bootstrap interval. Raises BadInput under two values.

    The plain percentile interval is too narrow on few tasks; widening its tails to those of Student's t fixes that
    (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 3.1). For description: tests are others'.
    """
    tail = (1 - confidence) / 2
    values = np.asarray(values, float)
    means = _resampled_means(values, tail, seed)
    share = _expanded(tail, len(values))
    low, high = np.quantile(means, [share, 1 - share])
    return Interval(float(np.mean(values)), float(low), float(high))


def is_binary(values: ArrayLike) -> bool:
    """Whether every value is 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())


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


# Two models on the same tasks -----------------------------------------------------------------------------------------


def paired_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Gain:
    """The gain of the challenger, value i of both being of task i: `binary_gain` where it applies, else `mean_gain`."""
    if is_binary(champion) and is_binary(challenger):
        return binary_gain(champion, challenger, confidence)
    return mean_gain(champion, challenger, confidence, seed)


def binary_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95) -> Gain:
    """The gain where every value is 0 or 1: McNemar's mid-p test, and Tango's interval in agreement with it."""
    gained, lost = _sides(difference := _difference(champion, challenger))
    p_value, tasks = mcnemar_mid_p(gained, lost), len(difference)
    z = _agreeing(gained + lost, (1 - confidence) / 2)
    low, high = _tango_low(gained, lost, tasks, z), -_tango_low(lost, gained, tasks, z)
    return Gain((gained - lost) / tasks, low, high, p_value, gained, lost, tasks, "mid-p McNemar")


def _agreeing(differ: int, alpha: float) -> float:
    """The normal deviate of `alpha`, or the nearest with which the score test parts tables where the mid-p test does.

    The two disagree on few tasks that differ, and where `alpha` is so small that the normal tail is not the binomial's.
    """
    z = float(scipy.stats.norm.isf(alpha))
    if differ == 0:
        return z
    least = int(_least_gained(differ, alpha)[differ])
    refused, shown = ((2 * gained - differ) / math.sqrt(differ) for gained in (least - 1, least))
    return z if refused < z < shown else (refused + shown) / 2


def mean_gain(champion: ArrayLike, challenger: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Gain:
    """The gain of any values: the sign-flip test of the mean difference, as `sign_flip` has it."""
    return sign_flip(_difference(champion, challenger), confidence, seed)


def mcnemar(gained: int, lost: int) -> float:
    """McNemar's exact test, one-sided: the chance of `gained` or more among the tasks that changed sides, at even odds.

    Twice the smaller of `mcnemar(gained, lost)` and `mcnemar(lost, gained)`, at most 1, is the two-sided p-value.
    """
    return float(scipy.stats.binom.sf(gained - 1, gained + lost, 0.5))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """McNemar's mid-p test, one-sided: as `mcnemar`, but the table that was seen counts half.

    The exact test leaves a third to a half of its error probability unused. This one errs by at most 1.01 times what it
    says, whatever the share of tasks that change sides, for 60 to 400 tasks and error probabilities from .025 to 3e-5.
    1 where no task changed sides.
    Source: Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91.
    """
    if gained + lost == 0:
        return 1.0
    return mcnemar(gained, lost) - float(scipy.stats.binom.pmf(gained, gained + lost, 0.5)) / 2


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


# Sign flips -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Subsets:
    """The means of subsets of the differences, ascending, and the chance of a mean up to each; that of none apart.

    Flipping signs and leaving tasks out is one thing: flipped, the sum of `difference - gain` reaches the one that was
    seen where the tasks that were flipped have a mean of at most `gain`. So one distribution tests every gain.
    """

    means: Floats
    up_to: Floats
    none: float

    def p_value(self) -> float:
        """One-sided, of no gain."""
        below = int(np.searchsorted(self.means, 0.0, side="right"))
        return min(1.0, self.none + float(self.up_to[below - 1])) if below else self.none

    def low(self, alpha: float) -> float:
        """The largest gain such that the test at `alpha` rejects every smaller one."""
        return float(self.means[np.searchsorted(self.up_to, alpha - self.none, side="right")])

    def mirrored(self) -> "_Subsets":
        """Of the opposite differences."""
        return _subsets_of(-self.means[::-1], np.diff(self.up_to, prepend=0.0)[::-1], self.none)


def sign_flip(difference: ArrayLike, confidence: float = 0.95, seed: int = 0) -> Gain:
    """The mean of the differences a task: the sign-flip test, and the interval of all means that it does not reject.

    Where the two models are equal, a task's difference is as likely as its opposite; so the test is exact whatever the
    distribution, with no floor that resamples would give it. Of equal fractions (mean@k, pass@k) all flips are counted;
    where that takes too much, or there is no common fraction, random ones, the p-value being (1 + hits) / (1 + B)
    (Phipson and Smyth 2010, Statistical Applications in Genetics and Molecular Biology 9:39). Where so few tasks differ
    that no test could reject anything, the interval is at least Tango's, which takes each of them for a complete task.
    Sources: Fisher 1935; the interval by subsets: Hartigan 1969, JASA 64:1303. Raises BadInput under two tasks.
    """
    difference = np.asarray(difference, float)
    if len(difference) < 2:
        raise BadInput(f"{len(difference)} task is too few for an interval of a mean. Measure at least 2 tasks.")
    alpha, (gained, lost), tasks = (1 - confidence) / 2, _sides(difference), len(difference)
    subsets = _subsets(difference, alpha, seed)
    low, high = subsets.low(alpha), -subsets.mirrored().low(alpha)
    if 0.5 ** (gained + lost) > alpha:
        wide = tango(gained, lost, tasks, confidence)
        low, high = min(low, wide.low), max(high, wide.high)
    return Gain(float(difference.mean()), low, high, subsets.p_value(), gained, lost, tasks, "sign flip")


def template_gain(difference: ArrayLike, templates: Sequence[str]) -> TemplateGain:
    """The gain on unseen templates, from the differences a task, difference i being of `templates[i]`.

    Templates are the clusters that tasks were drawn in, so a template is one value, its mean. All weigh the same: how
    many tasks each has is an accident. Sign flips of complete templates need no normal means but reject too seldom.
    Raises BadInput under two templates. Source for evaluations: Miller 2024, arXiv 2411.00640.
    """
    difference, names = np.asarray(difference, float), sorted(set(templates))
    if len(names) < 2:
        raise BadInput(f"{len(names)} template is too few to generalise from. Measure tasks of at least 2 templates.")
    where = np.array(templates)
    means = np.array([difference[where == name].mean() for name in names])
    flip, spread = sign_flip(means).p_value, float(means.std(ddof=1))
    if spread < 1e-12:
        return TemplateGain(float(means.mean()), math.copysign(math.inf, means.mean()), flip, flip, len(names))
    t = float(means.mean() / (spread / math.sqrt(len(names))))
    return TemplateGain(float(means.mean()), t, float(scipy.stats.t.sf(t, len(names) - 1)), flip, len(names))


def _subsets(difference: Floats, alpha: float, seed: int) -> _Subsets:
    """All of them where they can be counted, else random ones."""
    different = np.unique(difference).tolist()
    step = math.lcm(*(Fraction(value).limit_denominator(_DENOMINATORS).denominator for value in different))
    if len(difference) <= _ENUMERATED or step > _FINEST or not _fractions(different, step):
        return _listed_subsets(difference, alpha, seed)
    units = np.rint(difference * step).astype(int)
    cells = (len(units) + 1) * (int(np.abs(units).sum()) + 1)
    if cells > _MOST_CELLS or cells * len(units) > _MOST_STEPS:
        return _listed_subsets(difference, alpha, seed)
    return _counted_subsets(units, step)


def _fractions(values: Sequence[float], step: int) -> bool:
    """Whether all `values` are multiples of 1 / `step`, but for the noise of floats."""
    return all(abs(value * step - round(value * step)) < 1e-7 for value in values)


def _counted_subsets(units: NDArray[np.int_], step: int) -> _Subsets:
    """All subsets, by size and sum (in units of 1 / `step`): how likely each is where every task is in with 1/2."""
    differ, below = units[units != 0], int(-units[units < 0].sum())
    chance = np.zeros((len(differ) + 1, int(np.abs(differ).sum()) + 1))
    chance[0, below] = 1.0
    for used, unit in enumerate(differ.tolist(), start=1):
        half = chance[:used] / 2
        chance[:used] = half
        if unit > 0:
            chance[1 : used + 1, unit:] += half[:, :-unit]
        else:
            chance[1 : used + 1, :unit] += half[:, -unit:]
    chance = _with_others(chance, len(units) - len(differ))
    size, total = np.nonzero(chance[1:])
    return _subsets_of((total - below) / (size + 1) / step, chance[1:][size, total], float(chance[0].sum()))


def _with_others(chance: Floats, others: int) -> Floats:
    """`chance` by size and sum, with so many tasks beside that add nothing to the sum."""
    grown = np.zeros((len(chance) + others, chance.shape[1]))
    for more, share in enumerate(scipy.stats.binom.pmf(np.arange(others + 1), others, 0.5)):
        grown[more : more + len(chance)] += share * chance
    return grown


def _listed_subsets(difference: Floats, alpha: float, seed: int) -> _Subsets:
    """All subsets of a few tasks, random ones of many; the empty one stands for the order that was seen."""
    few, tasks = len(difference) <= _ENUMERATED, len(difference)
    number = 2**tasks - 1 if few else int(np.clip(50 / alpha, _FEWEST_RESAMPLES, _MOST_RESAMPLES))
    means, none, rng = list[Floats](), 1, np.random.default_rng(seed)
    for first in range(1, number + 1, _BATCH):
        which = np.arange(first, min(first + _BATCH, number + 1))
        chosen = (which[:, None] >> np.arange(tasks)) & 1 if few else rng.integers(0, 2, (len(which), tasks))
        sizes, sums = chosen.sum(axis=1), chosen @ difference
        sums[np.abs(sums) < 1e-9 * np.abs(difference).max()] = 0.0
        means.append(sums[sizes > 0] / sizes[sizes > 0])
        none += int((sizes == 0).sum())
    found = np.concatenate(means)
    return _subsets_of(found, np.full(len(found), 1 / (number + 1)), none / (number + 1))


def _subsets_of(means: Floats, chance: Floats, none: float) -> _Subsets:
    order = np.argsort(means, kind="stable")
    return _Subsets(means[order], np.cumsum(chance[order]), none)


def _difference(champion: ArrayLike, challenger: ArrayLike) -> Floats:
    return np.asarray(challenger, float) - np.asarray(champion, float)


def _sides(difference: Floats) -> tuple[int, int]:
    """How many tasks were gained and lost."""
    return int((difference > 0).sum()), int((difference < 0).sum())


# Two models on the same tasks, over seeds --------------------------------------------------------------------------


def gain_over_seeds(
    control: Sequence[ArrayLike], treated: Sequence[ArrayLike], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean gain over repetitions, value i of `control[s]` and of `treated[s]` being of task i of repetition s.

    The hierarchical bootstrap: repetitions are drawn with replacement, then the tasks of each (Davison and Hinkley
    1997, Bootstrap Methods and their Application, section 3.8). Two corrections for few repetitions: their deviations
    are widened to their unbiased variance (Rao and Wu 1988, JASA 83:231-241), and the tails to those of Student's t,
    as `bootstrap` does it, at the degrees of freedom of the two variances together (Satterthwaite 1946, Biometrics
    Bulletin 2:110-114). Never narrower than Student's t interval of the repetitions' means: where these differ by more
    than their tasks explain, no resample of two or three is as far off as the next training may be. Nor than the
    interval of all tasks as of one repetition, which is all there is where there is only one: that one holds for its
    training run, and not for the next. The order of repetitions does not matter. Raises BadInput under two tasks.
    """
    pairs = zip(control, treated, strict=True)
    gains = sorted((np.sort(_difference(one, other)) for one, other in pairs), key=lambda values: values.tolist())
    together = np.concatenate(gains)
    mean, alone = float(np.mean([values.mean() for values in gains])), mean_gain(0 * together, together, confidence)
    if len(gains) == 1 or not together.std():
        return Interval(mean, alone.low, alone.high)
    tail = _tail_over_seeds(gains, (1 - confidence) / 2)
    low, high = np.quantile(_resampled_gains(gains, tail, seed), [tail, 1 - tail])
    means = [values.mean() for values in gains]
    apart = float(scipy.stats.t.ppf((1 + confidence) / 2, len(means) - 1) * np.std(means, ddof=1) / len(means) ** 0.5)
    return Interval(mean, min(float(low), alone.low, mean - apart), max(float(high), alone.high, mean + apart))


def _tail_over_seeds(gains: Sequence[Floats], tail: float) -> float:
    """The tail of the hierarchical bootstrap that is as wide as Student's t at `tail`."""
    between = np.var([values.mean() for values in gains], ddof=1)
    within = np.mean([values.var() / len(values) for values in gains])
    spread = between**2 / (len(gains) - 1) + within**2 / sum(len(values) - 1 for values in gains)
    return float(scipy.stats.norm.cdf(scipy.stats.t.ppf(tail, (between + within) ** 2 / spread)))


def _resampled_gains(gains: Sequence[Floats], tail: float, seed: int) -> Floats:
    """Means over resampled repetitions and their resampled tasks."""
    rng, count = np.random.default_rng(seed), len(gains)
    resamples = int(np.clip(20 / tail, _FEWEST_RESAMPLES, _MOST_HIERARCHICAL))
    drawn = rng.integers(0, count, (resamples, count))
    means = np.array([values.mean() for values in gains])
    found = means.mean() + math.sqrt(count / (count - 1)) * (means[drawn] - means.mean())
    for which, values in enumerate(gains):
        chosen = drawn == which
        found[chosen] += _resampled_noise(values, int(chosen.sum()), rng)
    return found.mean(axis=1)


def _resampled_noise(values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """By how much the means of resampled tasks are off the mean of `values`."""
    sizes = [min(_BATCH, resamples - first) for first in range(0, resamples, _BATCH)]
    means = [values[rng.integers(0, len(values), (size, len(values)))].mean(axis=1) for size in sizes]
    return np.concatenate(means or [np.empty(0)]) - values.mean()


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


def change_of_gains(before: ArrayLike, after: ArrayLike, confidence: float = 0.95) -> Change:
    """The change of what one model gains on another, from earlier tasks to later, other ones: Welch's t-test.

    A value is the difference of the two models on one task, in [-1, 1]; so how hard the tasks are weighs on neither
    set. The two sets need not vary alike, as a permutation test would have it: on harder tasks models part less often,
    or more. A won and a lost task are added to each set, for the test and its interval alone: models that never part in
    the sample would seem to be certain (Agresti and Min 2005, Statistics in Medicine 24:729-740).
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    sets = [np.append(values, (1.0, -1.0)) for values in (before, after)]
    fall = float(sets[1].mean() - sets[0].mean())
    squared = [float(values.var(ddof=1)) / len(values) for values in sets]
    error = math.sqrt(sum(squared))
    df = sum(squared) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(squared, sets, strict=True))
    width = error * float(scipy.special.stdtrit(df, (1 + confidence) / 2))
    p_value = float(scipy.special.stdtr(df, fall / error))
    return Change(float(after.mean() - before.mean()), fall - width, fall + width, p_value, "Welch's t-test")


# What a test can show -------------------------------------------------------------------------------------------------


def mcnemar_power(tasks: int, gain: float, discordance: float, alpha: float = 0.025, min_gain: float = 0.0) -> float:
    """The chance that the mid-p test at `alpha` shows a true `gain` and the estimate is above `min_gain`.

    `discordance` is the share of tasks on which the two models differ; a gain above it raises it to the gain. Exact:
    the number of tasks that differ is binomial, and given it, so is the number gained.
    """
    discordance = max(discordance, abs(gain))
    differ = np.arange(tasks + 1)
    needed = np.maximum(_least_gained(tasks, alpha), np.floor((differ + round(tasks * min_gain, 9)) / 2) + 1)
    shown = scipy.stats.binom.sf(needed - 1, differ, (discordance + gain) / (2 * discordance))
    return float(scipy.stats.binom.pmf(differ, tasks, discordance) @ shown)


@lru_cache
def _least_gained(tasks: int, alpha: float) -> Floats:
    """For 0 to `tasks` that differ, the fewest gained that the mid-p test takes for a gain; one more where none are."""
    differ = np.arange(tasks + 1)
    exact = scipy.stats.binom.isf(alpha, differ, 0.5) + 1
    fewer = exact - 1
    mid_p = scipy.stats.binom.sf(fewer, differ, 0.5) + scipy.stats.binom.pmf(fewer, differ, 0.5) / 2
    return np.where((mid_p <= alpha) & (differ > 0), fewer, exact)


def mean_power(tasks: int, gain: float, variance: float, alpha: float = 0.025, min_gain: float = 0.0) -> float:
    """The chance that the sign-flip test at `alpha` shows a true `gain` and the estimate is above `min_gain`.

    `variance` is that of the differences a task. By Student's t, which flips approach: within .01 from 48 tasks on.
    """
    error = math.sqrt(variance / tasks)
    needed = max(float(scipy.stats.t.isf(alpha, tasks - 1)) * error, min_gain)
    return float(scipy.stats.norm.sf((needed - gain) / error))


@lru_cache
def smallest_detectable_gain(
    tasks: int, discordance: float, alpha: float = 0.025, power: float = POWER, min_gain: float = 0.0
) -> float:
    """The smallest true gain that the mid-p McNemar test shows with `power`; infinite where `tasks` can show none.

    Assumes the share of tasks on which the models differ, `discordance`, which is unknown before the run: the more
    tasks change sides, the more noise there is. State it beside the result, for two values.
    """

    def shortfall(gain: float) -> float:
        return power - mcnemar_power(tasks, gain, discordance, alpha, min_gain)

    return math.inf if shortfall(1.0) > 0 else float(scipy.optimize.brentq(shortfall, 1e-9, 1.0, xtol=1e-6))


def smallest_mean_gain(
    tasks: int, variance: float, alpha: float = 0.025, power: float = POWER, min_gain: float = 0.0
) -> float:
    """The smallest true gain that `mean_power` gives `power`, with `variance` of the differences a task."""
    error = math.sqrt(variance / tasks)
    return (
        max(float(scipy.stats.t.isf(alpha, tasks - 1)) * error, min_gain)
        + float(scipy.stats.norm.isf(1 - power)) * error
    )


def binary_guard_power(tasks: int, change: float, discordance: float, margin: float, confidence: float) -> float:
    """The chance that a loss of `margin` is excluded at one-sided `confidence` where the true change is `change`."""
    passed = _tables_within(tasks, margin, confidence)
    discordance, differ = max(discordance, abs(change)), np.arange(tasks + 1)
    chance = scipy.stats.binom.sf(passed - 1, differ, (discordance + change) / (2 * discordance))
    return float(scipy.stats.binom.pmf(differ, tasks, discordance) @ chance)


@lru_cache
def _tables_within(tasks: int, margin: float, confidence: float) -> Floats:
    """For 0 to `tasks` that differ, the fewest gained with which Tango's lower limit is above -`margin`."""
    z, least = float(scipy.stats.norm.isf(1 - confidence)), list[int]()
    for differ in range(tasks + 1):
        gained = max(least[-1] - 1, 0) if least else 0
        while gained <= differ and _tango_low(gained, differ - gained, tasks, z) <= -margin:
            gained += 1
        least.append(gained)
    return np.array(least, float)


def mean_guard_power(tasks: int, change: float, variance: float, margin: float, confidence: float) -> float:
    """As `binary_guard_power`, for means with `variance` of the differences a task; by Student's t."""
    error = math.sqrt(variance / tasks)
    return float(scipy.stats.norm.sf(scipy.stats.t.isf(1 - confidence, tasks - 1) - (margin + change) / error))


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
