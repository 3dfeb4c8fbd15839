"""Statistics against brute force, against scipy's own tests and published values, and by simulation."""

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import xlogy

from selftaught.core.errors import BadInput
from selftaught.core.statistics import (
    Interval,
    alpha_spending,
    binary_gain,
    binary_guard_power,
    bootstrap,
    change_of_gains,
    independent_change,
    mcnemar,
    mcnemar_mid_p,
    mcnemar_power,
    mcnemar_two_sided,
    mean_gain,
    mean_guard_power,
    mean_interval,
    mean_power,
    paired_gain,
    pass_at_k,
    sign_flip,
    smallest_detectable_gain,
    smallest_mean_gain,
    tango,
    template_gain,
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


@pytest.mark.parametrize(("n", "c", "k"), [(7, 3, 8), (0, 0, 1), (8, 9, 4), (8, -1, 4), (8, 2, 0)])
def test_pass_at_k_refuses_counts_that_cannot_be(n: int, c: int, k: int):
    with pytest.raises(BadInput, match=f"pass@{k} takes {k} samples or more, of which there are {n}, {c} of them"):
        pass_at_k(n, c, k)


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
    """Of ten values the widening is by a tenth: a plain percentile interval, or a narrowed one, is distinguished from
    it.
    """
    values = 0.5 + 0.2 * stats.norm.ppf((np.arange(10) + 0.5) / 10)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    interval = bootstrap(values.tolist())
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.03)


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("others", [0, 3])
def test_values_that_hardly_differ_get_an_interval_as_wide_as_that_of_zeros_and_ones(common: float, others: int):
    values = [0.25] * others + [common] * (160 - others)
    interval, mean = mean_interval(values), float(np.mean(values))
    assert interval.low <= mean <= interval.high
    assert interval.high - interval.low >= 0.999 * wilson(0, 160).high
    assert interval.low >= 0


@given(
    values=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=40),
    least=st.sampled_from([-1.0, 0.0, 3.0]),
    width=st.sampled_from([1.0, 2.0, 50.0]),
)
def test_the_interval_of_a_mean_goes_by_the_values_that_there_can_be(values: list[float], least: float, width: float):
    """On whatever scale: a figure in [-1, 1] is one in [0, 1] stretched and moved."""
    plain, bounds = mean_interval(values), (least, least + width)
    moved = mean_interval([least + width * value for value in values], bounds=bounds)
    stretched = [least + width * each for each in (plain.estimate, plain.low, plain.high)]
    assert [moved.estimate, moved.low, moved.high] == pytest.approx(stretched, abs=1e-9 * width)


@pytest.mark.parametrize("n", [6, 64])
def test_values_that_are_all_equal_leave_room_for_those_that_were_not_drawn(n: int):
    """Of n tasks none gained or lost anything: as many may as could have anything right where none of n had."""
    room = wilson(0, n).high
    interval = mean_interval([0.0] * n, bounds=(-1.0, 1.0))
    assert (interval.low, interval.high) == pytest.approx((-room, room))
    unbounded = mean_interval([0.0] * n, bounds=None)
    assert (unbounded.low, unbounded.high) == (0, 0)


def test_the_mean_of_rare_losses_and_gains_is_held_as_often_as_it_says():
    """A task in twenty-five is won, one in fifty lost; no value but these and 0."""
    drawn = np.random.default_rng(0).choice([1.0, 0.0, -1.0], (2000, 100), p=[0.04, 0.94, 0.02])
    rare = [row for row in drawn if np.count_nonzero(row) < 10]
    assert len(rare) > 1500
    assert np.mean([_holds(mean_interval(row, bounds=(-1.0, 1.0)), 0.02) for row in rare]) >= 0.93


def test_the_mean_of_rare_fractions_is_held_as_often_as_it_says():
    """A task in fifty is worth .25: resamples of what was seen held .87."""
    seen = stats.binom.pmf(range(15), 160, 0.02)
    held = [_holds(mean_interval([0.25] * n + [0.0] * (160 - n)), 0.005) for n in range(15)]
    assert seen @ held >= 0.94


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


@given(gained=counts, lost=counts)
def test_the_mid_p_counts_the_table_that_was_seen_half(gained: int, lost: int):
    if gained + lost == 0:
        assert mcnemar_mid_p(0, 0) == 1
        return
    assert mcnemar_mid_p(gained, lost) == pytest.approx((mcnemar(gained, lost) + mcnemar(gained + 1, lost - 1)) / 2)
    assert mcnemar_mid_p(gained, lost) + mcnemar_mid_p(lost, gained) == pytest.approx(1)


def test_the_mid_p_asks_for_as_many_as_published():
    """Of 160 tasks at .025, for 0 to 8 lost; the exact test asks 6 8 10 12 13 15 17 18 20."""
    least = [next(b for b in range(30) if mcnemar_mid_p(b, c) <= 0.025) for c in range(9)]
    assert least == [5, 7, 9, 11, 12, 14, 16, 17, 19]


@pytest.mark.parametrize("alpha", [0.025, 1.2e-3, 2.7e-5])
@pytest.mark.parametrize("tasks", [60, 160, 400])
def test_the_mid_p_errs_no_oftener_than_it_says_whatever_the_share_that_changes_sides(tasks: int, alpha: float):
    sizes = [mcnemar_power(tasks, 0.0, share, alpha, min_gain=-1) for share in np.linspace(0.02, 0.6, 59)]
    assert max(sizes) <= 1.011 * alpha


def zeros_and_ones_of(gained: int, lost: int, tasks: int) -> tuple[list[float], list[float]]:
    same = [1.0] * (tasks - gained - lost)
    return [0.0] * gained + [1.0] * lost + same, [1.0] * gained + [0.0] * lost + same


@given(gained=counts, lost=counts, same=st.integers(1, 100), alpha=st.sampled_from([0.1, 0.025, 2.4e-3, 9.1e-6]))
def test_the_interval_of_zeros_and_ones_excludes_zero_where_the_test_does(gained, lost, same, alpha):
    gain = binary_gain(*zeros_and_ones_of(gained, lost, gained + lost + same), 1 - 2 * alpha)
    assert (gain.gained, gain.lost) == (gained, lost)
    assert (gain.low > 0) == (gain.p_value <= alpha)
    assert gain.low <= gain.gain <= gain.high


def test_a_late_round_has_one_rule():
    """17 gained and none lost of 160: p is below what round 52 may spend, and so is zero below the interval."""
    gain = binary_gain(*zeros_and_ones_of(17, 0, 160), 1 - 2 * 9.1e-6)
    assert gain.p_value == pytest.approx(3.81e-6, rel=1e-2)
    assert gain.low > 0


@pytest.mark.parametrize(
    ("tasks", "gain", "discordance"),
    [(64, 0.0, 0.1), (64, 0.1, 0.2), (200, 0.0, 0.2), (200, 0.3, 0.4), (200, 0.05, 0.05)],
)
def test_the_intervals_of_zeros_and_ones_hold_the_true_gain_as_often_as_they_say(tasks, gain, discordance):
    """Exact coverage, by enumeration of every table that can come up."""
    differ = np.arange(tasks + 1)
    likely = differ[stats.binom.pmf(differ, tasks, discordance) > 1e-7]
    coverage = np.zeros(2)
    for m in likely:
        up = np.arange(m + 1)
        chance = stats.binom.pmf(m, tasks, discordance) * stats.binom.pmf(up, m, (discordance + gain) / 2 / discordance)
        for b, p in zip(up.tolist(), chance, strict=True):
            if p > 1e-7:
                coverage += p * np.array([_holds(each, gain) for each in _both(b, int(m) - b, tasks)])
    assert (coverage >= 0.935).all() and (coverage <= 0.985).all(), coverage


# Sign flips -----------------------------------------------------------------------------------------------------------

eighths = st.integers(-8, 8).map(lambda n: n / 8)


@given(st.lists(eighths, min_size=2, max_size=9))
def test_the_p_value_is_the_share_of_sign_flips_that_gain_as_much(difference: list[float]):
    flips = [sum(s * d for s, d in zip(signs, difference, strict=True)) for signs in _signs(len(difference))]
    assert sign_flip(difference).p_value == pytest.approx(np.mean(np.array(flips) >= sum(difference) - 1e-9))


@pytest.mark.parametrize("tasks", [12, 13, 14])
@given(data=st.data())
def test_counting_by_size_and_sum_is_counting_every_subset(tasks: int, data: st.DataObject):
    """Twelve tasks are listed, more are counted: both against all flips."""
    difference = np.array(data.draw(st.lists(eighths, min_size=tasks, max_size=tasks)))
    gain, flips = sign_flip(difference), _signs(tasks)
    for limit, beyond in ((gain.low, -1), (gain.high, 1)):
        off = (difference - limit - beyond * 1e-6) * -beyond
        if np.count_nonzero(difference) > 5:
            assert np.mean(flips @ off >= off.sum() - 1e-9) <= 0.025
    assert gain.p_value == pytest.approx(np.mean(flips @ difference >= difference.sum() - 1e-9))


@pytest.mark.parametrize(
    ("difference", "p_value"),
    [
        ([0.25] * 4 + [0.0] * 156, 0.0625),
        ([0.25] * 5 + [0.0] * 155, 0.03125),
        ([0.25] * 6 + [0.0] * 154, 0.015625),
        ([0.5, 0.25, 0.25, -0.25, 0.75], 0.125),
        ([1, 1, 1, -0.5, 0.25, 0.25], 0.078125),
        ([0.1] * 5 + [-0.1] + [0.0] * 40, 7 / 64),
    ],
)
def test_the_sign_flip_test_of_small_examples(difference: list[float], p_value: float):
    assert sign_flip(difference).p_value == pytest.approx(p_value)


@given(st.lists(eighths, min_size=6, max_size=60), st.sampled_from([0.1, 0.025, 1.2e-3, 9e-6]))
def test_the_interval_by_inversion_excludes_zero_where_the_test_does(difference: list[float], alpha: float):
    gain = sign_flip(difference, 1 - 2 * alpha)
    assert (gain.low > 0) == (gain.p_value <= alpha)
    assert gain.low <= gain.gain + 1e-12 and gain.gain - 1e-12 <= gain.high


@given(st.lists(eighths, min_size=2, max_size=40))
def test_the_interval_turns_with_the_sides(difference: list[float]):
    one, other = sign_flip(difference), sign_flip([-d for d in difference])
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_random_flips_stand_in_where_there_is_no_common_fraction():
    difference = np.random.default_rng(0).normal(0.06, 0.2, 60)
    gain = sign_flip(difference, seed=1)
    t = stats.ttest_1samp(difference, 0, alternative="greater").pvalue
    assert gain == sign_flip(difference, seed=1) != sign_flip(difference, seed=2)
    assert gain.p_value == pytest.approx(t, rel=0.2, abs=2e-3)
    assert (gain.low > 0) == (gain.p_value <= 0.025)
    assert sign_flip(difference + 10).p_value == 1 / 10_001  # never 0


def test_the_flips_limits_are_students_where_the_values_are_near_normal():
    difference = np.round(np.random.default_rng(3).normal(0.05, 0.25, 120) * 8) / 8
    gain = sign_flip(difference)
    low, high = stats.t.interval(0.95, 119, difference.mean(), stats.sem(difference))
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.002)


def test_where_hardly_a_task_differs_the_interval_is_tangos_at_least():
    for changed in (0, 1, 4):
        gain, wide = sign_flip([0.125] * changed + [0.0] * (160 - changed)), tango(changed, 0, 160)
        assert gain.low <= wide.low and gain.high >= wide.high


def test_pass_at_k_of_noise_is_taken_for_a_gain_no_oftener_than_it_says():
    """48 tasks, most of them never or always solved: the bootstrap took half as many again for gains."""
    rng = np.random.default_rng(0)
    rates = rng.beta(0.15, 0.3, (1500, 48))
    values = [[[pass_at_k(8, c, 4) for c in model] for model in rng.binomial(8, [p, p])] for p in rates]
    seen = [sign_flip(np.subtract(b, a)).p_value <= 0.025 for a, b in values]
    assert sum(seen) <= stats.binom.isf(1e-3, len(seen), 0.025)


def test_the_gain_of_values_between_zero_and_one_is_that_of_sign_flips():
    rng = np.random.default_rng(0)
    champion, challenger = rng.binomial(8, 0.5, 64) / 8, rng.binomial(8, 0.55, 64) / 8
    gain = paired_gain(champion, challenger)
    assert gain == mean_gain(champion, challenger) == sign_flip(challenger - champion)
    assert gain.test == "sign flip"


# Templates as clusters ------------------------------------------------------------------------------------------------


def by_template(*gains: float, tasks: int = 20) -> tuple[list[float], list[str]]:
    return [gain for gain in gains for _ in range(tasks)], [f"t{i}" for i in range(len(gains)) for _ in range(tasks)]


@pytest.mark.parametrize(
    ("gains", "t", "p_value", "flip"),
    [
        ((0.05, 0.15, 0.20, 0.30, 0.10, 0.20, 0.25, 0.40), 5.227, 0.0006, 1 / 256),
        ((0.5, 0, 0, 0, 0, 0, 0, 0), 1.0, 0.175, 0.5),
        ((0.3, 0.3, 0.3, -0.05, -0.05, -0.05, -0.05, -0.1), 1.134, 0.147, 0.137),
    ],
    ids=["all gain", "one gains", "three gain, five lose"],
)
def test_a_gain_on_templates_is_tested_by_their_means(gains, t: float, p_value: float, flip: float):
    found = template_gain(*by_template(*gains))
    assert (found.t, found.p_value, found.flip) == pytest.approx((t, p_value, flip), abs=6e-4)
    assert (found.gain, found.templates) == (pytest.approx(np.mean(gains)), 8)


def test_templates_weigh_the_same_however_many_tasks_they_have():
    many, names = by_template(0.4, 0.0, 0.1)
    few = many + [0.4] * 300
    one, other = template_gain(few, [*names, *["t0"] * 300]), template_gain(many, names)
    assert (one.gain, one.p_value, one.flip) == pytest.approx((other.gain, other.p_value, other.flip))


def test_templates_that_gain_alike_are_told_by_sign_flips():
    found = template_gain(*by_template(*[0.1] * 6))
    assert (found.p_value, found.t) == (1 / 64, math.inf)


def test_one_template_tells_nothing_of_others():
    with pytest.raises(BadInput, match="1 template is too few to generalise from"):
        template_gain(*by_template(0.5))


@pytest.mark.parametrize("templates", [6, 8, 40])
def test_the_test_over_templates_holds_its_error_where_templates_differ(templates: int):
    """Template effects of sd .09, 160 tasks of which a third change sides: the test over tasks takes .05 for gains."""
    rng = np.random.default_rng(templates)
    effects, each = rng.normal(0, 0.09, (4000, templates)), 160 // templates
    drawn = [rng.multinomial(each, [0.17 + e / 2, 0.17 - e / 2, 0.66]) for e in np.clip(effects, -0.3, 0.3).ravel()]
    means = np.array([(up - down) / each for up, down, _ in drawn]).reshape(effects.shape)
    names = [str(i) for i in range(templates)]
    wrong = sum(template_gain(row, names).p_value <= 0.025 for row in means[:1500])
    assert wrong <= stats.binom.isf(1e-3, 1500, 0.027)


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


@pytest.mark.parametrize(("ours", "theirs"), [((0.2, 0.05), (0.2, 0.05)), ((0.3, 0.15), (0.2, 0.05))])
def test_a_gain_that_is_what_it_was_falls_no_oftener_than_alpha(ours: Any, theirs: Any):
    """Also where the two models part more often than they did. Tasks are drawn 2,000 times."""
    drawing = np.random.default_rng(3)
    p_values = [
        change_of_gains(gains_of(drawing, 60, *theirs), gains_of(drawing, 120, *ours)).p_value for _ in range(2000)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert np.mean(np.array(p_values) <= 0.01) <= 0.01 + 3 * math.sqrt(0.01 * 0.99 / 2000)


def gains_of(drawing: np.random.Generator, tasks: int, won: float, lost: float) -> Any:
    """Differences of two models: won, lost and even tasks."""
    return drawing.choice([1.0, -1.0, 0.0], tasks, p=[won, lost, 1 - won - lost])


def test_a_change_of_gains_is_that_of_their_means_and_its_interval_agrees_with_the_test():
    before, after = [1.0] * 30 + [0.0] * 70, [1.0] * 5 + [-1.0] * 15 + [0.0] * 80
    found = change_of_gains(before, after, 0.98)
    assert found.change == pytest.approx(-0.4)
    assert found.high < 0
    assert found.p_value < 0.01
    limit = change_of_gains(before, after, 1 - 2 * found.p_value)
    assert limit.high == pytest.approx(0, abs=1e-9)


@given(*[st.lists(st.sampled_from([-1.0, -0.25, 0.0, 0.25, 1.0]), min_size=1, max_size=40)] * 2)
def test_a_change_of_gains_is_tested_by_welch(before: list[float], after: list[float]):
    found = change_of_gains(before, after, 0.9)
    tested = stats.ttest_ind([*after, 1, -1], [*before, 1, -1], equal_var=False)
    interval = tested.confidence_interval(0.9)
    one_sided = stats.ttest_ind([*after, 1, -1], [*before, 1, -1], equal_var=False, alternative="less")
    assert (found.p_value, found.low, found.high) == pytest.approx((one_sided.pvalue, interval.low, interval.high))


def test_models_that_never_part_prove_nothing_by_one_task_on_which_they_do():
    assert change_of_gains([0.0] * 100, [-1.0]).p_value > 0.05


def test_a_change_takes_tasks_on_both_sides():
    with pytest.raises(BadInput, match="0 tasks before and 3 after"):
        independent_change([], [1, 0, 1])
    with pytest.raises(BadInput, match="at least 2 tasks"):
        independent_change([0.5], [0.5, 0.25])


# What a test can show -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "discordance", "min_gain"),
    [(0.1, 0.2, 0), (0.3, 0.2, 0), (0.1, 0.3, 0.12), (0.2, 0.3, 0.2), (0.4, 0.4, 0.3)],
)
def test_the_power_is_that_of_the_test_enumerated(gain: float, discordance: float, min_gain: float):
    tasks, up = 30, (max(discordance, gain) + gain) / 2
    down = max(discordance, gain) - up
    power = 0.0
    for b, c in itertools.product(range(tasks + 1), repeat=2):
        if b + c <= tasks and mcnemar_mid_p(b, c) <= 0.025 and b - c > round(tasks * min_gain, 9):
            power += stats.multinomial.pmf([b, c, tasks - b - c], tasks, [up, down, 1 - up - down])
    assert mcnemar_power(tasks, gain, discordance, 0.025, min_gain) == pytest.approx(power)


@pytest.mark.parametrize(("tasks", "discordance"), [(64, 0.2), (200, 0.2), (200, 0.4)])
def test_the_smallest_detectable_gain_is_detected_four_times_in_five(tasks: int, discordance: float):
    gain = smallest_detectable_gain(tasks, discordance)
    up, down = (discordance + gain) / 2, (discordance - gain) / 2
    drawn = np.random.default_rng(0).multinomial(tasks, [up, down, 1 - up - down], 4000)
    assert np.mean([mcnemar_mid_p(b, c) <= 0.025 for b, c, _ in drawn.tolist()]) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("tasks", "power"), [(60, 0.396), (160, 0.822)])
def test_the_mid_p_has_the_power_that_was_reckoned(tasks: int, power: float):
    """A gain of .10 where a fifth changes sides; the exact test has .308 and .777."""
    assert mcnemar_power(tasks, 0.1, 0.2) == pytest.approx(power, abs=1e-3)


@pytest.mark.parametrize(("tasks", "gain"), [(60, 0.082), (160, 0.050), (400, 0.032)])
def test_means_of_eight_samples_show_half_of_what_one_answer_does(tasks: int, gain: float):
    assert smallest_mean_gain(tasks, 0.052) == pytest.approx(gain, abs=2e-3)
    assert mean_power(tasks, smallest_mean_gain(tasks, 0.052), 0.052) == pytest.approx(0.8)
    assert smallest_mean_gain(tasks, 0.052, min_gain=0.2) > 0.2
    assert mean_power(tasks, 0.2, 0.052, min_gain=0.2) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("tasks", "discordance", "power"),
    [(32, 0.3, (0.775, 0.594, 0.221)), (48, 0.3, (0.898, 0.735, 0.268)), (64, 0.2, (0.988, 0.910, 0.351))],
)
def test_the_power_of_the_guard_is_that_of_its_interval_enumerated(tasks: int, discordance: float, power):
    found = [binary_guard_power(tasks, change, discordance, 0.15, 0.9) for change in (0.05, 0, -0.1)]
    assert found == pytest.approx(power, abs=1e-3)


def test_the_power_of_a_guard_of_means_is_that_of_its_interval():
    rng = np.random.default_rng(5)
    noise = rng.binomial(8, 0.3, (400, 2, 48)) / 8
    variance = 2 * 0.3 * 0.7 / 8
    passed = np.mean([sign_flip(b - a, 0.8).low > -0.05 for a, b in noise])
    assert passed == pytest.approx(mean_guard_power(48, 0.0, variance, 0.05, 0.9), abs=0.05)


def test_the_smallest_detectable_gain_is_near_the_textbook_formula():
    """Connor 1987: n = (z_alpha sqrt(d) + z_beta sqrt(d - gain^2))^2 / gain^2; an exact test needs about as much."""
    tasks, d = 500, 0.2
    gain = smallest_detectable_gain(tasks, d)
    connor = ((stats.norm.isf(0.025) * d**0.5 + stats.norm.isf(0.2) * (d - gain**2) ** 0.5) / gain) ** 2
    assert 0.97 * connor <= tasks <= 1.07 * connor


def test_more_tasks_show_smaller_gains_and_too_few_none():
    gains = [smallest_detectable_gain(n, 0.2) for n in (4, 8, 64, 200, 1000)]
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


def _both(gained: int, lost: int, tasks: int) -> tuple[Interval, Interval]:
    """Tango's interval, and the one that agrees with the mid-p test."""
    gain = binary_gain(*zeros_and_ones_of(gained, lost, tasks))
    return tango(gained, lost, tasks), Interval(gain.gain, gain.low, gain.high)


@cache
def _signs(tasks: int) -> np.ndarray:
    """All sign flips of so many tasks, one a row."""
    return np.array(list(itertools.product((1, -1), repeat=tasks)))


def _score(gain: float, gained: int, lost: int, tasks: int) -> float:
    """McNemar's score statistic at `gain`, with the share of losses that makes the table likeliest by grid search."""
    q = np.linspace(max(0.0, -gain), min(1.0, (1 - gain) / 2), 40_001)[:-1]
    likelihood = xlogy(gained, q + gain) + xlogy(lost, q) + xlogy(tasks - gained - lost, 1 - 2 * q - gain)
    best = q[np.nanargmax(likelihood)]
    return (gained - lost - tasks * gain) / math.sqrt(tasks * (2 * best + gain - gain * gain))
