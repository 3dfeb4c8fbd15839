"""The charts: valid plotly, the numbers of the data, and the champion where it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.graph_objects import Figure

from selftaught.report import figures
from selftaught.report.data import RoundReport
from tests.report.sample_report import ACCURACY, MODELS, sample, summary


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_both_charts_are_what_plotly_accepts(rounds: int):
    data = sample(rounds)
    for figure in (figures.curve(data.rounds), figures.training(data.rounds)):
        Figure(figure)  # raises on a property or value that plotly does not know


def test_a_refused_round_leaves_the_champion_where_it_was():
    line = figures.curve(sample(3).rounds)["data"][0]
    assert line["name"] == "accuracy"
    assert line["y"] == [ACCURACY[0], ACCURACY[1], ACCURACY[1], ACCURACY[3]]


def test_after_a_rollback_the_curve_goes_on_from_what_the_round_began_with():
    """Round 2's champion is round 1's challenger no more: that was rolled back to the model of the start."""
    one, two, _ = sample(3).rounds
    back = two.model_copy(update={"champion": one.champion, "summaries": (*one.summaries, *two.summaries)})
    assert figures.curve([one, back])["data"][0]["y"] == [ACCURACY[0], ACCURACY[1], ACCURACY[0]]


def test_refused_challengers_are_crosses_beside_the_line_and_keep_their_interval():
    data = sample(3)
    (cross,) = (trace for trace in figures.curve(data.rounds)["data"] if trace["name"] == "accuracy, refused")
    refused = data.rounds[1].summary(MODELS[2], "accuracy", "report")
    assert refused
    assert (cross["x"], cross["y"], cross["marker"]["symbol"]) == ([2], [refused.mean], "x-thin")
    assert cross["y"][0] - cross["error_y"]["arrayminus"][0] == pytest.approx(refused.low)
    assert cross["y"][0] + cross["error_y"]["array"][0] == pytest.approx(refused.high)


def test_the_curve_is_of_rates_and_the_deciding_metric_comes_first():
    (only,) = sample(1).rounds
    tokens = summary(0, "tokens", "report", 0.5, 10).model_copy(update={"mean": 41.0})
    longer = only.model_copy(update={"summaries": (tokens, *reversed(only.summaries))})
    assert figures.curve_metrics([longer]) == ["accuracy", "pass@8"]


def test_without_a_report_set_the_curve_is_drawn_over_the_gate_set():
    (only,) = sample(1).rounds
    gate_alone = only.model_copy(update={"summaries": tuple(s for s in only.summaries if s.split == "gate")})
    assert figures.curve([gate_alone])["data"][0]["y"] == pytest.approx([ACCURACY[0] - 0.01, ACCURACY[1] - 0.01])


@given(st.integers(2, 5000), st.integers(2, 900))
def test_thinning_keeps_the_ends_the_order_and_the_limit(n: int, most: int):
    losses = [(step, 1.0) for step in range(n)]
    kept = figures.thinned(losses, most)
    assert (kept[0], kept[-1]) == (losses[0], losses[-1])
    assert len(kept) == min(n, most)
    assert kept == sorted(set(kept))


def measured_on(*tasks: str, split: str = "report") -> list[RoundReport]:
    """As many rounds as `tasks`, each measured on its own."""
    played = sample(len(tasks)).rounds
    return [
        r.model_copy(update={"measured_on": {split: on} if on else {}}) for r, on in zip(played, tasks, strict=True)
    ]


@pytest.mark.parametrize(
    ("tasks", "same"),
    [("aaa", True), ("aab", False), (("a", "", ""), False), (("", "", ""), True), (("a", "a", ""), False), ("a", True)],
)
def test_scores_are_on_a_line_where_they_are_of_the_same_tasks(tasks: tuple[str, ...], same: bool):
    assert figures.same_tasks(measured_on(*tasks)) is same


def test_rounds_with_tasks_of_their_own_are_drawn_by_their_paired_gains():
    rounds = measured_on("a", "b", "c")
    drawn = figures.curve(rounds)
    Figure(drawn)
    taken, refused = (trace for trace in drawn["data"] if trace["name"].startswith("accuracy"))
    gains = [r.gain("accuracy", "report") for r in rounds]
    assert (taken["x"], taken["y"]) == ([0, 2], [gains[0].gain, gains[2].gain])
    assert (refused["x"], refused["y"], refused["marker"]["symbol"]) == ([1], [gains[1].gain], "x-thin")
    assert taken["y"][0] - taken["error_y"]["arrayminus"][0] == pytest.approx(gains[0].low)
    assert taken["y"][1] + taken["error_y"]["array"][1] == pytest.approx(gains[2].high)
    assert not [trace for trace in drawn["data"] if trace["mode"] == "lines"]


def test_gate_sets_that_nobody_noted_were_redrawn():
    rounds = [
        r.model_copy(update={"summaries": tuple(s for s in r.summaries if s.split == "gate")}) for r in sample(3).rounds
    ]
    assert not figures.same_tasks(rounds)
    noted = [r.model_copy(update={"measured_on": {"gate": "a"}}) for r in rounds]
    assert figures.same_tasks(noted)


def test_a_round_that_measured_nothing_does_not_part_the_others():
    one, two, three = measured_on("a", "", "a")
    assert figures.same_tasks([one, two.model_copy(update={"summaries": ()}), three])
