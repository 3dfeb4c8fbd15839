"""Pooled figures: each is the mean of its values a task, and these spread as the figure does."""

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selftaught.core.pooled import Opinions, auroc, figures, ratio, relative_self_correction

opinion = st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 0.9, 1.0]), st.booleans())
by_task = st.lists(st.lists(opinion, max_size=4), min_size=1, max_size=12)
shares = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


def means(tasks: list[list[tuple[float, bool]]]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in figures(Opinions.of(tasks)).items()}


def by_definition(tasks: list[list[tuple[float, bool]]]) -> dict[str, float]:
    """The figures, written down from their definitions."""
    rows = [each for task in tasks for each in task]
    good, bad = [said for said, right in rows if right], [said for said, right in rows if not right]
    both, called = sum(said > 0.5 for said in good), sum(said > 0.5 for said, _ in rows)
    bins = [[(said, right) for said, right in rows if min(int(said * 10), 9) == each] for each in range(10)]
    found = {
        "accuracy": sum(said != 0.5 and (said > 0.5) == right for said, right in rows) / len(rows),
        "brier": sum((said - right) ** 2 for said, right in rows) / len(rows),
        "ece": sum(abs(sum(said - right for said, right in each)) for each in bins) / len(rows),
    }
    if called + len(good):
        found["f1"] = 2 * both / (called + len(good))
    if good and bad:
        won = sum((one > other) + (one == other) / 2 for one in good for other in bad)
        found["auroc"] = won / len(good) / len(bad)
    return found


@given(by_task)
def test_the_mean_over_tasks_is_the_figure(tasks: list[list[tuple[float, bool]]]):
    assume(any(tasks))
    found = means(tasks)
    assert found.pop("ece_calibrated") >= 0
    assert found == pytest.approx(by_definition(tasks), abs=1e-9)


def test_of_nothing_said_there_are_no_figures():
    assert means([[], []]) == {}


@given(by_task, st.randoms())
def test_the_order_of_tasks_and_of_answers_does_not_matter(tasks: list[list[tuple[float, bool]]], random: Random):
    found = means(tasks)
    shuffled = [list(task) for task in tasks]
    random.shuffle(shuffled)
    for task in shuffled:
        random.shuffle(task)
    again = means(shuffled)
    assert again == pytest.approx(found)


def test_who_knows_has_no_error():
    found = means([[(1.0, True), (0.0, False)], [(1.0, True)]])
    assert found == {"accuracy": 1, "f1": 1, "brier": 0, "ece": 0, "ece_calibrated": 0, "auroc": 1}


@given(st.integers(0, 8))
def test_who_always_says_the_base_rate_is_calibrated_and_tells_nothing_apart(right: int):
    found = means([[(right / 8, at < right)] for at in range(8)])
    assert found["ece"] == pytest.approx(0)
    assert found.get("auroc", 0.5) == 0.5


def test_few_answers_make_an_error_of_the_perfectly_calibrated():
    """E|mean of n fair coins - 1/2| is about sqrt(1 / (2 pi n)): .0399 for 100."""
    found = means([[(0.5, at % 2 == 0)] for at in range(100)])
    assert found["ece_calibrated"] == pytest.approx((1 / (2 * np.pi * 100)) ** 0.5, abs=0.008)
    fewer = means([[(0.5, at % 2 == 0)] for at in range(16)])
    assert fewer["ece_calibrated"] > 2 * found["ece_calibrated"]


def test_values_spread_as_the_figures_do_when_tasks_are_drawn_anew():
    """Their standard error is that of the figure over fresh samples of tasks, to a fifth."""
    rng = np.random.default_rng(3)

    def drawn() -> Opinions:
        skill = rng.beta(2, 2, 150)  # answers to one task resemble each other
        right = rng.random((150, 4)) < skill[:, None]
        said = np.clip(0.25 + 0.6 * right + rng.normal(0, 0.25, (150, 4)), 0, 1).round(1)
        return Opinions.of([list(zip(*task, strict=True)) for task in zip(said.tolist(), right.tolist(), strict=True)])

    found = [figures(drawn()) for _ in range(200)]
    for name in ("accuracy", "f1", "brier", "ece", "auroc"):
        values = [each[name] for each in found]
        spread = np.std([each.mean() for each in values])
        assert np.mean([each.std() / len(each) ** 0.5 for each in values]) == pytest.approx(spread, rel=0.2), name


@given(st.lists(st.floats(0, 1), min_size=1), st.lists(st.floats(0, 1), min_size=1))
def test_auroc_is_the_chance_that_a_good_one_is_above_a_bad_one(good: list[float], bad: list[float]):
    won = sum((one > other) + (one == other) / 2 for one in good for other in bad)
    assert auroc(good, bad) == pytest.approx(won / len(good) / len(bad))


@given(shares)
def test_a_ratio_is_that_of_the_sums(parts: list[tuple[int, int]]):
    above, below = (np.array(column, float) for column in zip(*parts, strict=True))
    values = ratio(above, below)
    if not below.sum():
        assert values is None
    else:
        assert values is not None and values.mean() == pytest.approx(above.sum() / below.sum())


@given(shares)
@settings(max_examples=50)
def test_influences_are_the_derivatives_by_the_weights_of_tasks(parts: list[tuple[int, int]]):
    first, last = (np.array(column, float) / 4 for column in zip(*parts, strict=True))
    values = relative_self_correction(first, last)
    if not 0 < first.mean() < 1:
        assert values is None
        return
    assert values is not None

    def rss(weights: np.ndarray) -> float:
        one, two = (weights @ each / weights.sum() for each in (first, last))
        return (two - one * one) / (2 * one * (1 - one))

    slopes = [_slope(rss, at, len(first)) for at in range(len(first))]
    assert values == pytest.approx(rss(np.ones(len(first))) + np.array(slopes), abs=1e-4)


def _slope(figure: Callable[[np.ndarray], float], at: int, tasks: int) -> float:
    """By how much the figure grows with the weight of one task, times the number of tasks."""
    step = np.zeros(tasks)
    step[at] = 1e-5
    return tasks * (figure(1 + step) - figure(1 - step)) / 2e-5
