"""A watch, week after week for a year, some hundred times: how often is it wrong, and how soon does it see a fall?

The comparison, the alarm and the test after it are the platform's own; what the two models score on each task is made
up: they part on a share of the tasks, and all tasks of a week are harder or easier, for both.
Usage: `python benchmarks/bench_watch.py [--years 400]`.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np

from selftaught.lines.watch import LEVEL, Guard, Pair, Watched, compared, tested

WEEKS, WEEKLY, MOST = 52, 60, 400
GAIN = 0.10
"""What the champion gains on its predecessor at its promotion."""


@dataclass(frozen=True)
class World:
    """`before` report tasks, a share `apart` of tasks on which the two part, and a `fall` of the gain in a week."""

    before: int
    apart: float
    fall: float = 0.0
    week: int = 0
    gain: float = GAIN
    difficulty: float = 0.1
    """The standard deviation of how hard a week's tasks are."""

    def tasks(self, drawing: np.random.Generator, count: int, gain: float) -> list[Pair]:
        """A week's scores; tasks that the two do not part on are right for both, or wrong."""
        easy = np.clip(0.55 + drawing.normal(0, self.difficulty), 0.02, 0.98)
        apart = max(self.apart, abs(gain))
        luck, both = drawing.random(count), drawing.random(count) < easy
        up, down = luck < (apart + gain) / 2, luck >= 1 - (apart - gain) / 2
        rows = zip(np.where(up, 1, np.where(down, 0, both)), np.where(down, 1, np.where(up, 0, both)), strict=True)
        return [Pair("", float(ours), float(theirs)) for ours, theirs in rows]


def year(world: World, seed: int, guard: Guard) -> tuple[int | None, int | None]:
    """The week of the alarm and that of the roll-back, if there were any."""
    drawing = np.random.default_rng([seed, 14])
    before, after, since = world.tasks(drawing, world.before, world.gain), list[Pair](), list[Pair]()
    found, alarm, looks = Watched("", "", "", "held", ""), None, 0
    for week in range(WEEKS):
        new = world.tasks(drawing, WEEKLY, world.gain - world.fall * (week >= world.week))
        after = [*after, *new][-MOST:]
        if alarm is None:
            alarm = week if compared(found, before, after, guard).outcome == "fell" else None
            continue
        since = [*since, *new][-MOST:]
        if tested(replace(found, anchor="1"), since, LEVEL / 2**looks).confirmed:
            return alarm, week
        looks += 1
    return alarm, None


def main() -> None:
    """Print the figures that docs/fresh-tasks.md gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=150)
    options = parser.parse_args()
    guard = Guard(0.15, 0.01)
    print(f"{options.years} years, {WEEKLY} tasks a week, margin {guard.margin}, alpha {guard.alpha}, 20 % part")
    print("report tasks, what happens     alarm in 4 weeks, in 13, in a year; rolled back in a year")
    for before in (60, 400):
        for name, world in {
            "nothing": World(before, 0.2),
            "nothing, predecessor equal": World(before, 0.2, gain=0.0),
            "nothing, weeks equally hard": World(before, 0.2, difficulty=0.0),
            "fall .15 in week 1": World(before, 0.2, 0.15),
            "fall .20 in week 1": World(before, 0.2, 0.20),
            "fall .30 in week 1": World(before, 0.2, 0.30),
            "fall .15 in week 27": World(before, 0.2, 0.15, 26),
            "fall .20 in week 27": World(before, 0.2, 0.20, 26),
            "fall .30 in week 27": World(before, 0.2, 0.30, 26),
        }.items():
            ended = [year(world, seed, guard) for seed in range(options.years)]
            alarms = [alarm - world.week for alarm, _ in ended if alarm is not None and alarm >= world.week]
            within = [sum(week < weeks for week in alarms) / len(ended) for weeks in (4, 13, WEEKS)]
            back = sum(week is not None for _, week in ended) / len(ended)
            figures = "  ".join(f"{share:8.3f}" for share in (*within, back))
            print(f"{before:12}, {name:30} {figures}", flush=True)


if __name__ == "__main__":
    main()
