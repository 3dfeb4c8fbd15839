"""The report's contract: it survives JSON, and mirrors what the steps say without changing it."""

import pytest

from selftaught.blocks import Check, Decision
from selftaught.records import Split
from selftaught.report.data import GateReport, ReportData
from selftaught.report.outcome import comparisons
from tests.report.sample_report import ACCURACY, GUARD, sample


def test_report_data_survives_json():
    data = sample()
    assert ReportData.model_validate_json(data.model_dump_json()) == data


def test_a_decision_is_mirrored_field_by_field():
    check = Check("guard", False, "the guard set fell", {"low": -0.2})
    decision = Decision("refused", "accuracy", 0.01, -0.05, 0.07, 0.4, 0.025, (check,))
    found = GateReport.of(decision, detectable_gain=0.1, budget_left=0.0125)
    assert (found.outcome, found.gain, found.low, found.high, found.alpha) == ("refused", 0.01, -0.05, 0.07, 0.025)
    assert found.checks[0].model_dump() == {
        "name": "guard",
        "passed": False,
        "reason": check.reason,
        "values": {"low": -0.2},
    }
    assert (found.detectable_gain, found.budget_left) == (0.1, 0.0125)


@pytest.mark.parametrize("model", [0, 1])
@pytest.mark.parametrize(("split", "mean"), [("gate", -0.01), ("guard", None), ("report", 0.0)])
def test_every_row_of_the_page_shows_its_own_splits_mean(model: int, split: Split, mean: float | None):
    """Whatever the order of what was measured: here the report set comes last, as in a real round."""
    (row,) = (r for r in comparisons(sample(1).last) if (r.metric, r.split) == ("accuracy", split))
    shown = row.challenger if model else row.champion
    assert shown
    assert shown.mean == (GUARD[model] if mean is None else ACCURACY[model] + mean)
