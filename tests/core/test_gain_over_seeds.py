"""The gain over seeds: what it is of equal arms, of shifted ones, and how often its interval holds the truth."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.core.errors import BadInput
from selftaught.core.statistics import gain_over_seeds, mean_gain

eighths = st.integers(0, 8).map(lambda n: n / 8)


@st.composite
def runs(draw: st.DrawFn, most: int = 4) -> list[list[float]]:
    """A metric's values on a few tasks, for one seed or several."""
    tasks = st.lists(eighths, min_size=8, max_size=12)
    return draw(st.lists(tasks, min_size=1, max_size=most))


@settings(max_examples=20, deadline=None)
@given(runs())
def test_equal_arms_have_no_gain_and_an_interval_around_it(values: list[list[float]]):
    gain = gain_over_seeds(values, values)
    assert gain.low < gain.estimate == 0 < gain.high


@settings(max_examples=20, deadline=None)
@given(runs(), st.integers(1, 4))
def test_a_shift_of_every_task_is_the_estimate_and_inside(values: list[list[float]], shift: int):
    gain = gain_over_seeds(values, [[value + shift / 8 for value in each] for each in values])
    assert gain.estimate == pytest.approx(shift / 8)
    assert gain.low - 1e-9 <= shift / 8 <= gain.high + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_neither_the_order_of_seeds_nor_that_of_tasks_matters(data: st.DataObject):
    control = data.draw(runs())
    treated = [data.draw(st.lists(eighths, min_size=len(each), max_size=len(each))) for each in control]
    order = data.draw(st.permutations(range(len(control))))
    mixed = [data.draw(st.permutations(list(zip(control[s], treated[s], strict=True)))) for s in order]
    again = gain_over_seeds([[c for c, _ in each] for each in mixed], [[t for _, t in each] for each in mixed])
    assert again == gain_over_seeds(control, treated)


@settings(max_examples=20, deadline=None)
@given(runs(most=1), st.data())
def test_one_seed_has_the_interval_of_its_tasks(control: list[list[float]], data: st.DataObject):
    treated = [data.draw(st.lists(eighths, min_size=len(control[0]), max_size=len(control[0])))]
    gain, alone = gain_over_seeds(control, treated), mean_gain(control[0], treated[0])
    assert (gain.estimate, gain.low, gain.high) == pytest.approx((alone.gain, alone.low, alone.high))


def test_seeds_that_disagree_widen_the_interval():
    """The same gains of the same tasks, put together so that seeds are alike, and so that they are not."""
    zeros, sign = np.zeros(200), np.repeat([1.0, -1.0], 100) / 4
    alike = gain_over_seeds([zeros, zeros], [sign, sign])
    apart = gain_over_seeds([zeros, zeros], [np.abs(sign), -np.abs(sign)])
    assert alike.estimate == apart.estimate == 0
    assert apart.high > 3 * alike.high


def test_a_single_task_is_refused():
    with pytest.raises(BadInput, match="at least 2 tasks"):
        gain_over_seeds([[0.0]], [[1.0]])


@pytest.mark.parametrize(("between", "least"), [(0.0, 0.92), (1.0, 0.9), (2.0, 0.85)])
def test_the_interval_of_three_seeds_holds_the_true_gain_about_as_often_as_it_says(between: float, least: float):
    """Whether trainings are alike, differ as much as tasks leave uncertain, or twice as much; 95 % is what it says."""
    rng = np.random.default_rng(0)
    held = [_holds(0.1, _drawn(rng, 3, 30, 0.1, between)) for _ in range(100)]
    assert np.mean(held) >= least


def _drawn(rng: np.random.Generator, seeds: int, tasks: int, gain: float, between: float) -> list[np.ndarray]:
    """Differences in eighths, whose seeds vary by `between` times what their tasks leave uncertain."""
    noise = 0.3
    shifts = rng.normal(gain, between * noise / np.sqrt(tasks), seeds)
    return [np.round(8 * rng.normal(shift, noise, tasks)) / 8 for shift in shifts]


def _holds(gain: float, differences: Sequence[np.ndarray]) -> bool:
    found = gain_over_seeds([0 * each for each in differences], differences)
    return found.low <= gain <= found.high
