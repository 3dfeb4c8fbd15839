"""The report's contract: it survives JSON, and mirrors what the steps say without changing it."""

import pytest

from selftaught.blocks import Check, Decision
from selftaught.records import Split, Verdict
from selftaught.report.data import Funnel, GateReport, ModelVersion, ReportData
from selftaught.report.verdict import comparisons
from tests.report.sample_report import ACCURACY, GUARD, groups, sample


def test_report_data_survives_json():
    data = sample()
    assert ReportData.model_validate_json(data.model_dump_json()) == data


def test_a_decision_is_mirrored_field_by_field():
    check = Check("guard", False, "the guard set fell", {"low": -0.2})
    decision = Decision("refused", "accuracy", 0.01, -0.05, 0.07, 0.4, 0.025, (check,))
    told = GateReport.of(decision, detectable_gain=0.1, budget_left=0.0125)
    assert (told.outcome, told.gain, told.low, told.high, told.alpha) == ("refused", 0.01, -0.05, 0.07, 0.025)
    assert told.checks[0].model_dump() == {
        "name": "guard",
        "passed": False,
        "reason": check.reason,
        "values": {"low": -0.2},
    }
    assert (told.detectable_gain, told.budget_left) == (0.1, 0.0125)


def test_the_funnel_counts_rollouts_errors_and_truncations():
    sampled = groups(ModelVersion(digest="d"), 21)
    funnel = Funnel.count(sampled, kept=9)
    assert (funnel.tasks, funnel.rollouts, funnel.kept) == (21, 84, 9)
    assert funnel.errors == 3  # groups 0, 7 and 14
    assert funnel.truncated == 5  # groups 0, 5, 10, 15 and 20
    assert funnel.accepted == sum(len(list(group.accepted())) for group in sampled)
    assert funnel.solved == sum(any(True for _ in group.accepted()) for group in sampled)


def test_a_rollout_that_two_verifiers_could_not_judge_is_one_error():
    (group,) = groups(ModelVersion(digest="d"), 1)
    again = tuple((*verdicts, Verdict.errored("equations", "no answer in time")) for verdicts in group.verdicts[2:])
    twice = group.model_copy(update={"verdicts": (*group.verdicts[:2], *again)})
    assert Funnel.count([twice], kept=0).errors == 2


@pytest.mark.parametrize("model", [0, 1])
@pytest.mark.parametrize(("split", "mean"), [("gate", -0.01), ("guard", None), ("report", 0.0)])
def test_every_row_of_the_page_shows_its_own_splits_mean(model: int, split: Split, mean: float | None):
    """Whatever the order of what was measured: here the report set comes last, as in a real round."""
    (row,) = (r for r in comparisons(sample(1).last) if (r.metric, r.split) == ("accuracy", split))
    shown = row.challenger if model else row.champion
    assert shown
    assert shown.mean == (GUARD[model] if mean is None else ACCURACY[model] + mean)
