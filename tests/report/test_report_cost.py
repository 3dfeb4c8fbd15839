"""Costs and settings: the tokens of the steps, the points of the gain, and what was changed for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.report.cost import cost
from selftaught.report.data import RoundReport, StepTime
from selftaught.report.parameter_changes import Changed, by_round, changed
from tests.report.sample_report import played


def with_gain(gain: float, low: float, high: float) -> RoundReport:
    """A round that sampled 9,000 tokens and trained on 1,000, and gained so much."""
    plain = played(1, champion=0, challenger=1, outcome="promoted")
    steps = (
        StepTime(name="sample", seconds=5, tokens=9000),
        StepTime(name="verify", seconds=1),
        StepTime(name="train", seconds=3, tokens=800),
        StepTime(name="train value", seconds=2, tokens=200),
        StepTime(name="evaluate gate", seconds=4, tokens=70),
        StepTime(name="evaluate report", seconds=4, tokens=7),
        StepTime(name="everything else", seconds=1),
    )
    gains = tuple(
        g.model_copy(update={"gain": gain, "low": low, "high": high}) if g.split == "report" else g for g in plain.gains
    )
    return plain.model_copy(update={"steps": steps, "gains": gains})


def test_a_point_costs_what_was_sampled_and_trained_on_over_the_points_gained():
    """10,000 tokens for .20, which are 20 points, between 10 and 25."""
    found = cost(with_gain(0.2, 0.1, 0.25))
    assert (found.seconds, found.sampled, found.trained, found.evaluated) == (20, 9000, 1000, 77)
    assert found.per_point == pytest.approx(500)
    assert found.per_point_range == pytest.approx((400, 1000))


@pytest.mark.parametrize("low", [0.0, -0.01])
def test_a_gain_that_may_be_none_has_no_price(low: float):
    found = cost(with_gain(0.2, low, 0.4))
    assert (found.per_point, found.per_point_range) == (None, None)


def test_a_round_that_measured_nothing_costs_time_alone():
    assert cost(with_gain(0.2, 0.1, 0.3).model_copy(update={"summaries": (), "gains": ()})).per_point is None


def set_to(**settings: str) -> RoundReport:
    return played(1, champion=0, challenger=1, outcome="promoted").model_copy(update={"settings": settings})


def test_what_was_changed_added_and_taken_away_is_told_by_name():
    before, after = set_to(k="4", rate="1e-5", same="x"), set_to(k="8", same="x", epochs="2")
    assert changed(before, after) == [
        Changed("epochs", "–", "2"), Changed("k", "4", "8"), Changed("rate", "1e-5", "–"),
    ]  # fmt: skip


names = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), min_size=1)


@given(names, names)
def test_nothing_is_changed_where_settings_are_equal_and_only_there(one: dict[str, str], other: dict[str, str]):
    assert (changed(set_to(**one), set_to(**other)) == []) == (one == other)


def test_a_round_that_recorded_no_settings_is_compared_with_none():
    first, old, new = set_to(k="4"), set_to(), set_to(k="8")
    assert [change for _, change in by_round([first, old, new])] == [None, None, None]
