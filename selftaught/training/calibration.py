"""How good a value model is: figures over its predictions and the labels of steps it was not trained on.

Pure functions of numbers; whose they are is the loop's business.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

BINS = 10


def figures(predicted: Sequence[float], labels: Sequence[float], right: Sequence[bool | None]) -> Mapping[str, float]:
    """Mean absolute error, share within 0.1, and where some steps are known to be right and others wrong, AUROC.

    `calibration.<b>.predicted`, `.label` and `.n` are the means and the count of bin b of predictions cut to [0, 1],
    for the bins that hold any; `calibration_error` is their mean distance, weighted by count.
    """
    errors = [abs(p - label) for p, label in zip(predicted, labels, strict=True)]
    found = {
        "mae": sum(errors) / len(errors),
        "within_0.1": sum(error <= 0.1 for error in errors) / len(errors),
        "n": float(len(errors)),
    }
    good = [p for p, is_right in zip(predicted, right, strict=True) if is_right]
    bad = [p for p, is_right in zip(predicted, right, strict=True) if is_right is False]
    if good and bad:
        found["auroc"] = auroc(good, bad)
    return found | _calibration(predicted, labels)


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The probability that a good one has the higher value than a bad one, ties counting half.

    >>> auroc([0.9, 0.5], [0.5, 0.1])
    0.875
    """
    ordered = sorted(bad)
    won = sum(bisect_left(ordered, value) + bisect_right(ordered, value) for value in good) / 2
    return won / (len(good) * len(bad))


def _calibration(predicted: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    bins: dict[int, list[tuple[float, float]]] = {}
    for p, label in zip((min(max(p, 0.0), 1.0) for p in predicted), labels, strict=True):
        bins.setdefault(min(int(p * BINS), BINS - 1), []).append((p, label))
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
