"""Statistics against brute force, against scipy's own tests and published values, and by simulation."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import xlogy

from selftaught.errors import BadInput
from selftaught.statistics import (
    Interval,
    alpha_spending,
    binary_gain,
    bootstrap,
    independent_change,
    mcnemar,
    mcnemar_power,
    mcnemar_two_sided,
    mean_gain,
    mean_interval,
    paired_gain,
    pass_at_k,
    smallest_detectable_gain,
    tango,
    wilson,
)

counts = st.integers(0, 40)


# One model ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "k"), [(n, k) for n in range(1, 8) for k in range(1, n + 1)])
def test_pass_at_k_is_the_share_of_k_subsets_with_a_right_sample(n: int, k: int):
    for c in range(n + 1):
        subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@given(n=st.integers(1, 64), c=st.integers(0, 64), k=st.integers(1, 64))
def test_pass_at_k_grows_with_k_and_is_the_mean_at_one(n: int, c: int, k: int):
    c, k = min(c, n), min(k, n)
    assert pass_at_k(n, c, 1) == pytest.approx(c / n)
    assert pass_at_k(n, c, 1) - 1e-12 <= pass_at_k(n, c, k) <= 1


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(10, 100, 0.0552291, 0.1743657), (0, 20, 0.0, 0.1611252), (81, 263, 0.2553, 0.3662)],
    ids=["statsmodels", "none", "Newcombe 1998, table I"],
)
def test_wilson_gives_the_published_values(successes: int, n: int, low: float, high: float):
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_a_mean_of_zeros_and_ones_gets_wilsons_interval_and_never_a_width_of_zero():
    assert mean_interval([1.0] * 30) == wilson(30, 30)
    assert mean_interval([1.0] * 30).low < 0.9


def test_bootstrap_is_decided_by_its_seed():
    values = np.random.default_rng(0).random(40).tolist()
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1) != bootstrap(values, seed=2)


def test_bootstrap_is_as_wide_as_students_t_where_the_values_are_normal():
    values = np.random.default_rng(0).normal(0.5, 0.2, 25)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    interval = bootstrap(values.tolist())
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


@pytest.mark.parametrize(("tasks", "rate"), [(20, 0.5), (64, 0.5), (64, 0.15)])
def test_bootstrap_holds_the_true_mean_as_often_as_it_says(tasks: int, rate: float):
    draws = np.random.default_rng(0).beta(4 * rate, 4 * (1 - rate), (200, tasks))
    held = np.mean([_holds(bootstrap(np.random.default_rng(1).binomial(8, p) / 8, seed=0), rate) for p in draws])
    assert 0.92 <= held <= 0.98


def test_bootstrap_refuses_a_single_task():
    with pytest.raises(BadInput, match="1 task is too few"):
        bootstrap([0.5])


# Two models -----------------------------------------------------------------------------------------------------------


@given(gained=counts, lost=counts)
def test_mcnemar_is_the_binomial_test_at_even_odds(gained: int, lost: int):
    if gained + lost == 0:
        assert mcnemar(0, 0) == mcnemar_two_sided(0, 0) == 1
        return
    tests = [stats.binomtest(gained, gained + lost, alternative=side).pvalue for side in ("greater", "two-sided")]
    assert [mcnemar(gained, lost), mcnemar_two_sided(gained, lost)] == pytest.approx(tests)


def test_tangos_interval_of_his_own_example():
    """Tango 1998: of 44 patients who used both lenses, 43 agreed and one differed."""
    interval = tango(0, 1, 44)
    assert (interval.low, interval.high) == (pytest.approx(-0.1184, abs=5e-4), pytest.approx(0.0592, abs=5e-4))


@given(gained=counts, lost=counts, same=st.integers(1, 100))
def test_tangos_limits_are_where_the_score_test_with_brute_force_likelihood_turns(gained: int, lost: int, same: int):
    tasks, z = gained + lost + same, stats.norm.isf(0.025)
    interval = tango(gained, lost, tasks)
    for limit, sign in ((interval.low, 1), (interval.high, -1)):
        if abs(limit) < 0.999:
            assert sign * _score(limit, gained, lost, tasks) == pytest.approx(z, rel=0.02)


@given(gained=counts, lost=counts, same=st.integers(0, 100))
def test_tangos_interval_turns_with_the_sides_and_stays_within_bounds(gained: int, lost: int, same: int):
    tasks = max(gained + lost + same, 1)
    one, other = tango(gained, lost, tasks), tango(lost, gained, tasks)
    assert (one.low, one.high) == (-other.high, -other.low)
    assert -1 <= one.low <= one.estimate <= one.high <= 1


@given(gained=counts, lost=counts, same=st.integers(0, 100))
def test_where_the_exact_test_sees_a_gain_the_interval_excludes_zero(gained: int, lost: int, same: int):
    champion = [0.0] * gained + [1.0] * lost + [1.0] * (same + 1)
    challenger = [1.0] * gained + [0.0] * lost + [1.0] * (same + 1)
    gain = binary_gain(champion, challenger)
    assert (gain.gained, gain.lost) == (gained, lost)
    if gain.p_value <= 0.025:
        assert gain.low > 0


@pytest.mark.parametrize(
    ("tasks", "gain", "discordance"),
    [(64, 0.0, 0.1), (64, 0.1, 0.2), (200, 0.0, 0.2), (200, 0.3, 0.4), (200, 0.05, 0.05)],
)
def test_tangos_interval_holds_the_true_gain_as_often_as_it_says(tasks: int, gain: float, discordance: float):
    """Exact coverage, by enumeration of every table that can come up."""
    differ = np.arange(tasks + 1)
    likely = differ[stats.binom.pmf(differ, tasks, discordance) > 1e-7]
    coverage = 0.0
    for m in likely:
        up = np.arange(m + 1)
        chance = stats.binom.pmf(m, tasks, discordance) * stats.binom.pmf(up, m, (discordance + gain) / 2 / discordance)
        coverage += sum(
            p for b, p in zip(up, chance, strict=True) if p > 1e-7 and _holds(_tango(b, m - b, tasks), gain)
        )
    assert 0.935 <= coverage <= 0.985


def test_the_gain_of_values_between_zero_and_one_is_the_bootstraps():
    rng = np.random.default_rng(0)
    champion, challenger = rng.binomial(8, 0.5, 64) / 8, rng.binomial(8, 0.55, 64) / 8
    gain = paired_gain(champion, challenger)
    assert gain == mean_gain(champion, challenger)
    assert gain.test == "bootstrap"
    assert gain.low < gain.gain < gain.high
    assert gain.p_value == pytest.approx(stats.ttest_rel(challenger, champion, alternative="greater").pvalue, rel=0.5)


@pytest.mark.parametrize("alpha", [0.025, 0.005])
def test_the_bootstrap_promotes_noise_no_oftener_than_alpha(alpha: float):
    rng = np.random.default_rng(0)
    values = rng.binomial(4, 0.4, (2, 500, 40)) / 4
    gains = [mean_gain(a, b, 1 - 2 * alpha) for a, b in zip(*values, strict=True)]
    seen = [gain.low > 0 and gain.p_value <= alpha for gain in gains]
    assert sum(seen) <= stats.binom.isf(1e-3, len(seen), alpha)


def test_the_bootstraps_limit_and_p_value_agree():
    rng = np.random.default_rng(1)
    gains = [mean_gain(rng.binomial(4, 0.4, 30) / 4, rng.binomial(4, 0.55, 30) / 4) for _ in range(100)]
    agree = [(gain.low > 0) == (gain.p_value <= 0.025) for gain in gains]
    assert sum(agree) >= 98


def test_models_that_answer_alike_gain_nothing():
    for values in ([0.0, 1.0, 1.0], [0.25, 0.5, 1.0]):
        gain = paired_gain(values, values)
        assert (gain.gain, gain.p_value, gain.gained, gain.lost) == (0, 1, 0, 0)
        assert gain.low <= 0 <= gain.high


# One model on two sets of tasks ---------------------------------------------------------------------------------------


def zeros_and_ones(right: int, tasks: int) -> list[float]:
    return [1.0] * right + [0.0] * (tasks - right)


def test_a_change_has_newcombes_interval_of_his_own_example():
    """56 of 70 and 48 of 80: method 10 gives .0524 to .3339."""
    change = independent_change(zeros_and_ones(48, 80), zeros_and_ones(56, 70))
    assert (change.change, change.low, change.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


@given(st.integers(0, 8), st.integers(0, 9))
def test_the_p_value_of_a_fall_is_the_share_of_deals_that_fall_as_far(before: int, after: int):
    """Fisher: the right answers are dealt to the tasks at random."""
    change = independent_change(zeros_and_ones(before, 8), zeros_and_ones(after, 9))
    right, deals = before + after, math.comb(17, before + after)
    as_far = sum(math.comb(9, k) * math.comb(8, right - k) for k in range(after + 1) if right >= k)
    assert change.p_value == pytest.approx(as_far / deals)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.85])
@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_where_nothing_fell_a_fall_is_seen_no_oftener_than_alpha(rate: float, alpha: float):
    one, other = (stats.binom.pmf(range(n + 1), n, rate) for n in (20, 25))
    seen = sum(
        one[b] * other[a]
        for b in range(21)
        for a in range(26)
        if independent_change(zeros_and_ones(b, 20), zeros_and_ones(a, 25)).p_value <= alpha
    )
    assert 0 < seen <= alpha


def test_a_change_of_other_values_is_that_of_their_means():
    before, after = np.linspace(0.2, 0.8, 40), np.linspace(0.0, 0.4, 30)
    change = independent_change(before, after)
    assert change.change == pytest.approx(-0.3)
    assert change.low < -0.3 < change.high < 0
    assert change.p_value < 0.001
    assert independent_change(after, before).p_value > 0.999
    assert independent_change([0.5, 0.5], [0.5, 0.5, 0.5]).p_value == 1


def test_a_change_takes_tasks_on_both_sides():
    with pytest.raises(BadInput, match="0 tasks before and 3 after"):
        independent_change([], [1, 0, 1])
    with pytest.raises(BadInput, match="at least 2 tasks"):
        independent_change([0.5], [0.5, 0.25])


# What a test can show -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gain", "discordance", "min_gain"), [(0.1, 0.2, 0), (0.3, 0.2, 0), (0.1, 0.3, 0.12)])
def test_the_power_is_that_of_the_test_enumerated(gain: float, discordance: float, min_gain: float):
    tasks, up = 30, (max(discordance, gain) + gain) / 2
    down = max(discordance, gain) - up
    power = 0.0
    for b, c in itertools.product(range(tasks + 1), repeat=2):
        if b + c <= tasks and mcnemar(b, c) <= 0.025 and (b - c) / tasks > min_gain:
            power += stats.multinomial.pmf([b, c, tasks - b - c], tasks, [up, down, 1 - up - down])
    assert mcnemar_power(tasks, gain, discordance, 0.025, min_gain) == pytest.approx(power)


@pytest.mark.parametrize(("tasks", "discordance"), [(64, 0.2), (200, 0.2), (200, 0.4)])
def test_the_smallest_detectable_gain_is_detected_four_times_in_five(tasks: int, discordance: float):
    gain = smallest_detectable_gain(tasks, discordance)
    up, down = (discordance + gain) / 2, (discordance - gain) / 2
    drawn = np.random.default_rng(0).multinomial(tasks, [up, down, 1 - up - down], 4000)
    assert np.mean([mcnemar(b, c) <= 0.025 for b, c, _ in drawn.tolist()]) == pytest.approx(0.8, abs=0.025)


def test_the_smallest_detectable_gain_is_near_the_textbook_formula():
    """Connor 1987: n = (z_alpha sqrt(d) + z_beta sqrt(d - gain^2))^2 / gain^2; the exact test needs a little more."""
    tasks, d = 500, 0.2
    gain = smallest_detectable_gain(tasks, d)
    connor = ((stats.norm.isf(0.025) * d**0.5 + stats.norm.isf(0.2) * (d - gain**2) ** 0.5) / gain) ** 2
    assert connor <= tasks <= 1.1 * connor


def test_more_tasks_show_smaller_gains_and_too_few_none():
    gains = [smallest_detectable_gain(n, 0.2) for n in (5, 8, 64, 200, 1000)]
    assert gains[0] == math.inf
    assert gains == sorted(gains, reverse=True)


@given(alpha=st.floats(0.001, 0.2), ran=st.lists(st.booleans(), min_size=1, max_size=200), before=st.floats(0, 1))
def test_rounds_never_spend_more_than_the_budget(alpha: float, ran: list[bool], before: float):
    """Whatever rounds reach the gate, and whatever an earlier campaign spent on the same tasks."""
    spent = before * alpha
    for round, reached in enumerate(ran, start=1):
        spent += alpha_spending(round, alpha, spent) if reached else 0.0
    assert spent <= alpha * (1 + 1e-9)


def test_spending_telescopes_and_is_over_when_the_budget_is():
    spent = 0.0
    for round in range(1, 53):
        spent += alpha_spending(round, 0.025, spent)
    assert spent == pytest.approx(0.025 * 52 / 53)
    assert alpha_spending(3, 0.025, spent=0.025) == 0


def test_spending_without_keeping_count_stays_within_the_budget():
    assert sum(alpha_spending(round, 0.025) for round in range(1, 1000)) < 0.025


def _holds(interval: Interval, value: float) -> bool:
    return interval.low <= value <= interval.high


@cache
def _tango(gained: int, lost: int, tasks: int) -> Interval:
    return tango(gained, lost, tasks)


def _score(gain: float, gained: int, lost: int, tasks: int) -> float:
    """McNemar's score statistic at `gain`, with the share of losses that makes the table likeliest by grid search."""
    q = np.linspace(max(0.0, -gain), min(1.0, (1 - gain) / 2), 40_001)[:-1]
    likelihood = xlogy(gained, q + gain) + xlogy(lost, q) + xlogy(tasks - gained - lost, 1 - 2 * q - gain)
    best = q[np.nanargmax(likelihood)]
    return (gained - lost - tasks * gain) / math.sqrt(tasks * (2 * best + gain - gain * gain))
