"""How often the interval of an effect holds the true difference, and says that there is one where there is none.

Arms are simulated: a task's difference varies by .30, a seed's by so many times what its tasks leave uncertain, and the
true difference is 0, so that an interval that misses it shows what is not there, half the time in the claimed
direction. Baseline: the plain hierarchical bootstrap (percentiles, without the corrections for few seeds), on the same
draws. Seeded; a minute or two of CPU. Usage: `python benchmarks/bench_effects.py [--arms 400] [--tasks 100]`.
"""

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from selftaught.core.statistics import gain_over_seeds

NOISE = 0.3
RESAMPLES = 2_000
Floats = NDArray[np.float64]


def main() -> None:
    """Print a row for each number of seeds and each spread of theirs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=400, help="simulated comparisons a row")
    parser.add_argument("--tasks", type=int, default=100, help="tasks a seed")
    args = parser.parse_args()
    print(
        "| seeds | they vary by | holds the truth | shown in error | half width | plain bootstrap holds | half width |"
    )
    print("|---|---|---|---|---|---|---|")
    for seeds in (1, 3, 5):
        for between in (0.0, 1.0, 2.0) if seeds > 1 else (0.0,):
            print(row(seeds, between, args.arms, args.tasks), flush=True)


def row(seeds: int, between: float, arms: int, tasks: int) -> str:
    """Coverage and width of the interval and of the baseline's, over `arms` simulated comparisons."""
    rng = np.random.default_rng([seeds, int(10 * between)])
    drawn = [differences(rng, seeds, tasks, between) for _ in range(arms)]
    ours = np.array([(found.low, found.high) for each in drawn if (found := gain_over_seeds(0 * each, each))])
    plain = np.array([percentiles(rng, each) for each in drawn])
    shown = share((ours[:, 0] > 0).mean(), arms)
    figures = [share(holds(ours), arms), shown, half(ours), share(holds(plain), arms), half(plain)]
    return f"| {seeds} | {between:g} | {' | '.join(figures)} |"


def differences(rng: np.random.Generator, seeds: int, tasks: int, between: float) -> Floats:
    """Differences in eighths, [seeds, tasks]."""
    shifts = rng.normal(0, between * NOISE / math.sqrt(tasks), (seeds, 1))
    return np.rint(8 * (shifts + rng.normal(0, NOISE, (seeds, tasks)))) / 8


def percentiles(rng: np.random.Generator, values: Floats) -> tuple[float, float]:
    """The plain hierarchical bootstrap's 95 % interval of the mean."""
    seeds, tasks = values.shape
    which = rng.integers(0, seeds, (RESAMPLES, seeds, 1))
    means = values[which, rng.integers(0, tasks, (RESAMPLES, seeds, tasks))].mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def holds(intervals: Floats) -> float:
    """The share of intervals that hold 0."""
    return float(((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)).mean())


def half(intervals: Floats) -> str:
    """Half the mean width."""
    return f"{float((intervals[:, 1] - intervals[:, 0]).mean() / 2):.3f}"


def share(value: float, of: int) -> str:
    """A share with its standard error."""
    return f"{value:.3f} ± {math.sqrt(value * (1 - value) / of):.3f}"


if __name__ == "__main__":
    main()
