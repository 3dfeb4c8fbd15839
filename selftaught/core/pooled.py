"""Figures of many answers together, which are no means over tasks: F1, calibration error, AUROC, ratios of two means.

Each is given as one value a task: the figure, plus how much that task moves it (its influence, times the number of
tasks). The mean of these values is the figure, and their spread is the figure's to first order: the infinitesimal
jackknife (Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6), which of an AUROC is
DeLong's estimate (1988, Biometrics 44:837) by complete tasks (Obuchowski 1997, Biometrics 53:567). So all that
`selftaught.core.statistics` has for means over tasks holds for them, paired and over seeds as well. It makes no
interval itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = 10
DRAWS, SEED = 200, 1


@dataclass(frozen=True)
class Opinions:
    """How sure somebody was of each of many answers (`said`, in [0, 1]), whether it was `right`, and of which task.

    `task[i]` is the position of opinion i's task among `tasks`.
    """

    said: Floats
    right: NDArray[np.bool_]
    task: NDArray[np.int_]
    tasks: int

    @classmethod
    def of(cls, by_task: Sequence[Sequence[tuple[float, bool]]]) -> "Opinions":
        """The opinions (how sure, whether right) of each task."""
        rows = [(said, right, at) for at, each in enumerate(by_task) for said, right in each]
        said, right, task = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(said, float), np.array(right, bool), np.array(task, int), len(by_task))

    @cached_property
    def agrees(self) -> NDArray[np.bool_]:
        """Which of them are on the side of the truth; one of .5 is on neither."""
        return (self.said != 0.5) & ((self.said > 0.5) == self.right)

    def summed(self, values: ArrayLike) -> Floats:
        """The sum over each task's opinions."""
        return np.bincount(self.task, np.asarray(values, float), self.tasks).astype(float)


def figures(opinions: Opinions, bins: int = BINS) -> Mapping[str, Floats]:
    """Every figure of `opinions` as one value a task; those that are not defined are left out.

    `accuracy` is the share on the side of the truth, `f1` the F1 score of calling right answers right, `brier` the mean
    squared distance from the truth, `ece` the expected calibration error over `bins` of equal width (Guo et al. 2017,
    arXiv 1706.04599), `auroc` the chance that the surer of a right and a wrong answer is the right one, ties counting
    half. `ece_calibrated` is the expected `ece` of somebody who says the same and is perfectly calibrated: few answers
    make an error of it all the same. Without opinions nothing is defined, without both right and wrong answers no
    `auroc`, and without any that is right, or called so, no `f1`.
    """
    if not len(opinions.said):
        return {}
    count, called = opinions.summed(np.ones_like(opinions.said)), opinions.said > 0.5
    found: dict[str, Floats | None] = {
        "accuracy": ratio(opinions.summed(opinions.agrees), count),
        "f1": ratio(opinions.summed(2.0 * (called & opinions.right)), opinions.summed(1.0 * called + opinions.right)),
        "brier": ratio(opinions.summed((opinions.said - opinions.right) ** 2), count),
        "ece": _calibration_error(opinions, opinions.right, bins),
        "ece_calibrated": _of_the_calibrated(opinions, bins),
        "auroc": _auroc(opinions),
    }
    return {name: values for name, values in found.items() if values is not None}


def ratio(above: ArrayLike, below: ArrayLike) -> Floats | None:
    """The ratio of two sums over tasks, whose parts these are; None where the lower one is 0.

    >>> ratio([1, 0, 2], [2, 1, 2]).round(2).tolist()
    [0.48, 0.24, 1.08]
    """
    above, below = np.asarray(above, float), np.asarray(below, float)
    if not below.sum():
        return None
    figure = above.sum() / below.sum()
    return figure + len(below) * (above - figure * below) / below.sum()


def relative_self_correction(first: ArrayLike, last: ArrayLike) -> Floats | None:
    """RSS: where the accuracy of the last answers is between those that chance alone would make of the first.

    (Acc2 - Acc1^2) / (2 Acc1 (1 - Acc1)), from both accuracies a task; None where Acc1 is 0 or 1. Source: Confidence
    v.s. Critique, arXiv 2412.19513.
    """
    first, last = np.asarray(first, float), np.asarray(last, float)
    one, two = float(first.mean()), float(last.mean())
    if not 0 < one < 1:
        return None
    span = 2 * one * (1 - one)
    figure = (two - one * one) / span
    return figure + ((last - two) - (2 * one + figure * (2 - 4 * one)) * (first - one)) / span


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The probability that a good one has the higher value than a bad one, ties counting half.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    return float(_below(bad, good).mean())


def bin_of(values: ArrayLike, bins: int = BINS) -> NDArray[np.int_]:
    """The bin of each value of [0, 1] among `bins` of equal width; 1 is in the last.

    >>> bin_of([0.0, 0.09, 0.1, 1.0]).tolist()
    [0, 0, 1, 9]
    """
    return np.minimum((np.asarray(values, float) * bins).astype(int), bins - 1)


def _below(values: ArrayLike, of: ArrayLike) -> Floats:
    """The share of `values` that is below each of `of`, ties counting half."""
    ordered = np.sort(np.asarray(values, float))
    under, upto = (np.searchsorted(ordered, of, side) for side in ("left", "right"))
    return (under + upto) / 2 / len(ordered)


def _calibration_error(opinions: Opinions, right: NDArray[np.bool_], bins: int) -> Floats | None:
    apart, where = opinions.said - right, bin_of(opinions.said, bins)
    signs = np.sign(np.bincount(where, apart, bins))
    return ratio(opinions.summed(signs[where] * apart), opinions.summed(np.ones_like(apart)))


def _of_the_calibrated(opinions: Opinions, bins: int) -> Floats:
    """The mean calibration error of `DRAWS` worlds in which each answer is right as likely as was said."""
    rank = opinions.said.argsort().argsort()  # the worlds do not depend on the order of answers
    drawn = np.random.default_rng(SEED).random((DRAWS, len(rank)))[:, rank] < opinions.said
    errors = [_calibration_error(opinions, right, bins) for right in drawn]
    return np.mean([error for error in errors if error is not None], axis=0)


def _auroc(opinions: Opinions) -> Floats | None:
    right, said = opinions.right, opinions.said
    if right.all() or not right.any():
        return None
    won = np.where(right, _below(said[~right], said), 1 - _below(said[right], said))
    area = float(won[right].mean())
    return area + opinions.tasks * opinions.summed((won - area) / np.where(right, right.sum(), (~right).sum()))
