"""until: a flat curve ends the campaign, a rising one at its error rate, and a curve that says little does not."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Measured, Observed, State
from selftaught.controls.until import Until, slope, standard_error
from selftaught.recipe import Recipe

BLOCK = Until(metric="accuracy", rounds=4, min_gain=0.02, confidence=0.9)


def measured(mean: float, error: float = 0.01) -> Observed:
    return Observed([], {"accuracy": Measured(mean, mean - 1.96 * error, mean + 1.96 * error, 100)})


def after(means: list[float], error: float = 0.01, block: Until = BLOCK) -> State:
    state: State = {}
    for mean in means:
        state = block.observe(state, measured(mean, error))
    return state


def test_a_flat_curve_ends_the_campaign_and_says_in_which_figures():
    assert "accuracy has gained 0.000 a round over the last 4 (at most 0.006 at 90% confidence)" in BLOCK.ended(
        after([0.5] * 4)
    )


@pytest.mark.parametrize("means", [[], [0.5] * 3, [0.2, 0.3, 0.4, 0.5], [0.5] * 3 + [0.9]])
def test_too_few_rounds_and_rising_ones_do_not(means: list[float]):
    assert not BLOCK.ended(after(means))


def test_it_explains_the_slope_by_the_means_it_is_fitted_to():
    explained = BLOCK.explain(after([0.1, 0.5, 0.5, 0.5, 0.5]))
    assert explained
    assert explained.text.startswith(
        "accuracy has gained 0.000 a round over the last 4 (at most 0.006 at 90% confidence)."
    )
    assert {name: row[0] for name, row in explained.rows.items()} == {
        "3 rounds before": 0.5, "2 rounds before": 0.5, "the round before": 0.5, "the last round": 0.5
    }  # fmt: skip


def test_it_says_how_many_rounds_it_still_needs():
    explained = BLOCK.explain(after([0.4, 0.5]))
    assert explained
    assert explained.text == (
        "accuracy is known of 2 of 4 rounds. The campaign ends once it gains less than 0.02 a round."
    )
    assert [row[0] for row in explained.rows.values()] == [0.4, 0.5]
    assert BLOCK.explain({}) is None


def test_a_set_too_small_to_tell_does_not():
    assert not BLOCK.ended(after([0.5] * 4, error=0.05))


@given(start=st.floats(0, 0.2), gain=st.floats(0.03, 0.1))
def test_a_curve_that_rises_by_more_without_noise_never_ends(start: float, gain: float):
    state: State = {}
    for number in range(8):
        state = BLOCK.observe(state, measured(start + gain * number))
        assert not BLOCK.ended(state)


@pytest.mark.parametrize(("gain", "least", "most"), [(0.02, 0.07, 0.13), (0.0, 0.9, 1.0)])
def test_a_look_is_wrong_of_a_curve_that_rises_by_min_gain_as_often_as_the_confidence_says(
    gain: float, least: float, most: float
):
    """At a true gain of min_gain a round one look in ten ends it; of a flat curve almost every one does."""
    random, error = Random(0), 0.01
    looks = [
        bool(BLOCK.ended(after([random.gauss(0.3 + gain * number, error) for number in range(4)], error)))
        for _ in range(2000)
    ]
    assert least <= sum(looks) / len(looks) <= most


def test_the_slope_is_that_of_least_squares():
    """By hand: through (0, 1), (1, 3), (2, 2), (3, 6) it is 1.4; its error is e / sqrt(5)."""
    gain, error = slope([(1, 0.3), (3, 0.3), (2, 0.3), (6, 0.3)])
    assert (gain, error) == (pytest.approx(1.4), pytest.approx(0.3 / 5**0.5))
    assert standard_error(Measured(0.5, 0.402, 0.598, 100)) == pytest.approx(0.05, abs=1e-5)


def test_a_round_in_which_it_was_not_measured_changes_nothing():
    state = after([0.5] * 3)
    assert BLOCK.observe(state, Observed([])) == state


CONTROL = {"type": "until", "metric": "accuracy"}
STAGE: dict[str, Any] = {
    "sample": {"type": "iid"},
    "verify": {"type": "answer_match"},
    "curate": {"type": "accepted"},
    "train": {"type": "sft"},
    "evaluate": {"type": "accuracy"},
    "gate": {"type": "paired_gain", "metric": "accuracy", "guard": "none"},
}


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        ([STAGE | {"control": CONTROL | {"metric": "mean@8"}}], "until: metric is 'mean@8', but evaluate measures acc"),
        ([STAGE | {"control": CONTROL, "gate": None}], "until: it goes by the gate set, and the stage has no gate"),
        ([STAGE | {"name": "first", "control": CONTROL}, STAGE], "first.control.until: it ends the campaign, and main"),
    ],
)
def test_a_control_that_could_not_work_is_refused(stages: list[Any], text: str):
    tasks = {"type": "word_problems", "train": 8, "gate": 8, "report": 8}
    with pytest.raises(ValueError, match=text):
        Recipe.model_validate({"name": "early", "models": {"policy": "m"}, "tasks": tasks, "stages": stages})
