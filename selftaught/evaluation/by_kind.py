"""Where a gain comes from: the paired gain on the tasks of each level, template and source.

It describes and decides nothing. Of many kinds that are checked some seem to gain or lose by chance: one in twenty
intervals of 95 % misses.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selftaught.core.statistics import paired_gain
from selftaught.evaluation.pairing import Pairs, pair
from selftaught.records import Split, TaskScore

Kind = Literal["level", "template", "source"]
MOST = 40
"""Kinds that are listed one by one, those with most tasks; the others are merged."""
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class KindGain:
    """Means of both models on the `n` tasks of one kind, and the gain; the interval is None of a single task."""

    by: Kind
    name: str
    n: int
    champion: float
    challenger: float
    interval: tuple[float, float] | None

    @property
    def gain(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion


def by_kind(
    scores: Sequence[TaskScore],
    metric: str,
    split: Split,
    models: tuple[str, str],
    levels: Mapping[str, int],
    seed: int = 0,
) -> list[KindGain]:
    """What champion and challenger (the digests `models`) came to on each kind of task, by level, template and source.

    `levels` are those of tasks by id, as far as they are known. What all tasks have in common is not a kind of them.
    Raises BadInput where the two did not answer the same tasks.
    """
    pairs = pair(scores, metric, split, *models)
    scored = {score.task: score for score in scores if score.metric == metric and score.split == split}
    names: dict[Kind, dict[str, str]] = {
        "level": {task: str(levels[task]) for task in pairs.tasks if task in levels},
        "template": {task: scored[task].template or "none" for task in pairs.tasks},
        "source": {task: scored[task].source for task in pairs.tasks},
    }
    return [gain for by, named in names.items() for gain in _gains(by, named, pairs, seed)]


def _gains(by: Kind, named: Mapping[str, str], pairs: Pairs, seed: int) -> Iterator[KindGain]:
    counts = Counter(named.values())
    if len(counts) < 2:
        return
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    shown = sorted(ranked[:MOST], key=lambda name: (int(name), "") if name.isdecimal() else (0, name))
    own = {task: name if name in shown else OTHERS for task, name in named.items()}
    for name in [*shown, *([OTHERS] if ranked[MOST:] else [])]:
        yield _gain(by, name, [index for index, task in enumerate(pairs.tasks) if own.get(task) == name], pairs, seed)


def _gain(by: Kind, name: str, places: Sequence[int], pairs: Pairs, seed: int) -> KindGain:
    before, after = ([values[index] for index in places] for values in (pairs.champion, pairs.challenger))
    n, interval = len(places), None
    if n > 1:
        found = paired_gain(before, after, seed=seed)
        interval = found.low, found.high
    return KindGain(by, name, n, sum(before) / n, sum(after) / n, interval)
