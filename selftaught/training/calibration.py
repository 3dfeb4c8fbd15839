"""How good a value model is: figures over its predictions and the labels of steps it was not trained on.

Pure functions of numbers; whose they are is the loop's business.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from selftaught.core.pooled import auroc, bin_of

RESAMPLES, TAIL, SEED = 1000, 0.025, 1

Floats = NDArray[np.float64]


def figures(
    predicted: Sequence[float], labels: Sequence[float], right: Sequence[bool | None], tasks: Sequence[str]
) -> Mapping[str, float]:
    """Mean absolute error, share within 0.1, and where some steps are known to be right and others wrong, AUROC.

    `tasks` says which task each step is of. Steps of one tree resemble each other, so intervals (`mae.low`, `mae.high`
    and so for `auroc`: 95 %, percentile bootstrap) resample complete tasks, and there are none of a single task.
    `mae.constant` is the error of always saying the median label: labels of two rounds differ, so an error means
    something beside it alone. `n` steps of `n.tasks` tasks were measured, `auroc.right` and `auroc.wrong` of them are
    known to be so. `calibration.<b>.predicted`, `.label` and `.n` are the means and the count of bin b of predictions
    cut to [0, 1], for the bins that hold any; `calibration_error` is their mean distance, weighted by count.
    """
    errors = [abs(p - label) for p, label in zip(predicted, labels, strict=True)]
    found = {
        "mae": sum(errors) / len(errors),
        "within_0.1": sum(error <= 0.1 for error in errors) / len(errors),
        "mae.constant": _error_of_the_median(labels),
        "n": float(len(errors)),
        "n.tasks": float(len(set(tasks))),
    }
    weighed = np.asarray(errors)
    found |= _interval("mae", tasks, lambda weights: float(weights @ weighed / weights.sum()))
    return found | _auroc(predicted, right, tasks) | _calibration(predicted, labels)


def _error_of_the_median(labels: Sequence[float]) -> float:
    """The mean absolute error of the constant that has the least."""
    middle = median(labels)
    return sum(abs(label - middle) for label in labels) / len(labels)


def _auroc(predicted: Sequence[float], right: Sequence[bool | None], tasks: Sequence[str]) -> dict[str, float]:
    """AUROC with its interval, over the steps that are known to be right or wrong; empty without some of both."""
    known = [index for index, is_right in enumerate(right) if is_right is not None]
    good = [predicted[index] for index in known if right[index]]
    bad = [predicted[index] for index in known if not right[index]]
    if not good or not bad:
        return {}
    order = sorted(known, key=lambda index: predicted[index])
    starts = [0, *(i for i in range(1, len(order)) if predicted[order[i - 1]] < predicted[order[i]])]
    is_right = np.array([bool(right[index]) for index in order])

    def of_weights(weights: Floats) -> float:
        goods, bads = (np.add.reduceat(weights * side, starts) for side in (is_right, ~is_right))
        won = float(goods @ (np.cumsum(bads) - bads / 2))
        return won / (goods.sum() * bads.sum()) if goods.any() and bads.any() else float("nan")

    counted = {"auroc": auroc(good, bad), "auroc.right": float(len(good)), "auroc.wrong": float(len(bad))}
    return counted | _interval("auroc", [tasks[index] for index in order], of_weights)


def _interval(name: str, tasks: Sequence[str], figure: Callable[[Floats], float]) -> dict[str, float]:
    """The interval of a figure of weighted steps, over resampled tasks; `tasks` are the steps'. Empty for one task."""
    number = {task: n for n, task in enumerate(dict.fromkeys(tasks))}
    if len(number) < 2:
        return {}
    whose = np.array([number[task] for task in tasks])
    draw = np.random.default_rng(SEED)
    drawn = draw.multinomial(len(number), np.full(len(number), 1 / len(number)), RESAMPLES)
    low, high = np.nanquantile([figure(times[whose].astype(float)) for times in drawn], [TAIL, 1 - TAIL])
    return {f"{name}.low": float(low), f"{name}.high": float(high)}


def _calibration(predicted: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    bins: dict[int, list[tuple[float, float]]] = {}
    cut = [min(max(p, 0.0), 1.0) for p in predicted]
    for bin, p, label in zip(bin_of(cut).tolist(), cut, labels, strict=True):
        bins.setdefault(bin, []).append((p, label))
    found: dict[str, float] = {}
    apart = 0.0
    for number, pairs in sorted(bins.items()):
        mean, label = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        apart += abs(mean - label) * len(pairs) / len(predicted)
        found |= {
            f"calibration.{number}.predicted": mean,
            f"calibration.{number}.label": label,
            f"calibration.{number}.n": float(len(pairs)),
        }
    return found | {"calibration_error": apart}
