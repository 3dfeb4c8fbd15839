"""A campaign's limits are of its finished rounds together, and a report is all that they go by."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.campaign.limits import Limits
from selftaught.campaign.local import LimitReached, StoppedEarly
from selftaught.lines.status import status_of
from selftaught.report.data import RoundReport, StepTime
from tests.campaign.test_local import Desk, desk
from tests.report.sample_report import sample
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "desk", "model", "platform", "recorded_blocks", "requests"]

STEPS = ("sample", "verify", "train", "train value", "evaluate gate", "everything else")


def took(*steps: tuple[str, float, int | None]) -> RoundReport:
    """A round of these steps: name, seconds and tokens."""
    made = tuple(StepTime(name=name, seconds=seconds, tokens=tokens) for name, seconds, tokens in steps)
    return sample(1).last.model_copy(update={"steps": made})


TWO = [
    took(("sample", 1800, 700), ("train", 900, 5000), ("evaluate gate", 900, 200), ("evaluate report", 0, 100)),
    took(("sample", 1800, 1000), ("everything else", 1800, None)),
]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(), ""),
        (Limits(hours=2.1, tokens=2001), ""),
        (Limits(hours=2), "its rounds have taken 2.0 hours of 2 (--max-hours)"),
        (Limits(hours=0.5, tokens=1), "its rounds have taken 2.0 hours of 0.5 (--max-hours)"),
        (Limits(tokens=2000), "its rounds have taken 2,000 new tokens of 2,000 (--max-tokens)"),  # none of training
    ],
)
def test_a_limit_is_reached_by_the_rounds_together(limits: Limits, reason: str):
    assert limits.reached(TWO) == reason


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0, 1e5), st.none() | st.integers(0, 10**9)), max_size=6),
    st.none() | st.floats(0, 100),
    st.none() | st.integers(0, 10**9),
)
def test_a_limit_that_was_reached_stays_reached(
    steps: list[tuple[str, float, int | None]], hours: float | None, tokens: int | None
):
    limits = Limits(hours, tokens)
    if limits.reached(TWO):
        assert limits.reached([*TWO, took(*steps)])


def limited(desk: Desk, limits: Limits) -> list[Any]:
    """What an order of two rounds yields under these limits."""
    campaign = desk.campaign(rounds=2)
    campaign.order = replace(campaign.order, limits=limits)
    return list(campaign.run())


def test_an_order_whose_limit_is_reached_stops_after_its_round_and_a_higher_limit_continues(desk: Desk):
    first, stopped = limited(desk, Limits(tokens=1))
    assert (first.key.number, first.report.last.outcome) == (1, "promoted")
    assert stopped == LimitReached(first.key.next(), stopped.reason)
    assert "new tokens of 1 (--max-tokens)" in stopped.reason
    assert limited(desk, Limits(tokens=1)) == [stopped]  # nothing is begun, and nothing added to the order
    assert desk.rounds() == [(1, 0, "promoted")]
    assert desk.run(rounds=2) == [(2, 0, "refused")]


def test_a_round_that_was_begun_is_finished_whatever_the_limit(desk: Desk, tmp_path: Path):
    assert desk.run(rounds=1) == [(1, 0, "promoted")]
    Round(tmp_path / "begun", recipe(desk.model), number=2).prepare()
    second, stopped = limited(desk, Limits(hours=0))
    assert (second.key.number, stopped.key.number) == (2, 3)


FLAT = {"type": "until", "metric": "accuracy", "rounds": 2, "min_gain": 1.0}
"""No gain is worth another round: it ends a campaign as soon as it has two rounds."""


def test_a_campaign_that_a_control_ends_is_done_says_why_and_goes_on_without_it(desk: Desk):
    first, second, stop = desk.campaign(rounds=5, control=FLAT).run()
    assert isinstance(stop, StoppedEarly)
    assert (first.key.number, second.key.number, stop.key.number) == (1, 2, 3)
    assert "accuracy has gained" in stop.reason
    assert list(desk.campaign(rounds=5, control=FLAT).run()) == [stop]
    status = status_of(desk.platform, "line")
    assert status.stopped == {"campaign": stop.reason}
    assert f"campaign: stopped early: {stop.reason}" in status.text()
    assert [number for number, _, _ in desk.run(rounds=1)] == [3]
    assert status_of(desk.platform, "line").stopped == {}
