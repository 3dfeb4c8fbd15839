"""The gate on models that are made up: how often it errs, what it lets through, and what a line comes to.

The worlds are those of `benchmarks/bench_gate.py`, which prints what docs/statistics.md shows. Bounds leave room for
three Monte-Carlo standard errors or more.
"""

import math

import numpy as np
import pytest

from benchmarks.bench_gate import (
    ALPHA,
    DRIFTS,
    SPREAD,
    START,
    drawn,
    eroded,
    gaining,
    guarded,
    hopeless,
    many,
    means_of,
    null,
    pool,
    year,
)
from selftaught.core.statistics import paired_gain


@pytest.mark.parametrize(
    "world",
    [
        {"count": 96, "spread": SPREAD},
        {"count": 160, "metric": "pass@8"},
        {"count": 160, "spread": SPREAD, "templates": 8},
        {"count": 160, "spread": SPREAD, "templates": 40},
    ],
    ids=["tasks", "pass@8", "eight templates", "forty templates"],
)
def test_an_equal_challenger_is_promoted_in_no_more_than_one_round_in_forty(world: dict[str, float]):
    promoted = many(400, null, **world)
    assert np.mean(promoted) <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / 400)


def test_templates_that_part_would_promote_noise_where_only_tasks_are_looked_at():
    """The same worlds, decided over tasks: what looking at templates is for."""
    rng, shown = np.random.default_rng(0), 0
    for _ in range(200):
        tasks = drawn(rng, 160, templates=8)
        challenger = tasks.of(rng, START, tau=0.09)
        shown += paired_gain(means_of(rng, tasks.rates), means_of(rng, challenger)).p_value <= ALPHA
    assert shown > 200 * 2 * ALPHA + 3 * math.sqrt(200 * 2 * ALPHA)


def test_ten_campaigns_on_one_pool_err_as_one_round_on_new_tasks_does():
    """200 pools, of which five may promote noise; 14 do where what was spent is forgotten, two else."""
    assert sum(promoted > 0 for promoted in many(200, pool, 48)) <= 12


def test_rounds_that_are_not_asked_about_would_have_been_refused():
    rng, left = np.random.default_rng(0), 0
    for _ in range(300):
        tasks = drawn(rng, 96)
        champion, challenger = means_of(rng, tasks.rates), means_of(rng, tasks.rates)
        for alpha in (ALPHA, ALPHA / 20):
            if hopeless(champion, challenger, alpha):
                left += 1
                assert paired_gain(champion, challenger).p_value > alpha
    assert 300 < left < 590


def test_a_gain_of_five_hundredths_is_promoted_in_every_second_round_of_160_tasks():
    promoted = [one.outcome == "promoted" for one in many(80, gaining, 160)]
    assert np.mean(promoted) >= 0.5


@pytest.mark.parametrize("right", [0.146, 0.3, 0.6])
def test_the_guard_passes_equals_and_stops_who_lost_half(right: float):
    assert np.mean(many(100, guarded, 96, right, 0.0)) >= 0.95 - 0.07
    assert np.mean(many(100, guarded, 96, right, -right / 2)) <= 0.1 + 0.09


def test_a_line_that_loses_a_little_every_round_is_stopped_at_the_margin():
    """Against the champion alone, all ten rounds of .03 get through."""
    assert np.mean(many(12, eroded, 0.6, anchored=True)) <= 0.15
    assert np.mean(many(12, eroded, 0.6, anchored=False)) >= 0.25


def test_a_year_of_gains_is_taken_and_one_of_decay_is_not():
    gained = [max(one.values(), default=START) for one in many(3, year, DRIFTS["+.05 a round, up to .85"], 96)]
    assert min(gained) >= 0.75
    decayed = [list(one.values())[-1] if one else START for one in many(6, year, DRIFTS["-.02 a round, sd .03"], 96)]
    assert min(decayed) >= START - 0.05
    assert np.mean([len(one) for one in many(6, year, DRIFTS["nothing"], 96)]) <= 4
