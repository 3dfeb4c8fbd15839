"""The gate: what it refuses, what it promotes, and how often noise gets past it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from selftaught.blocks import Check, Decision, Evidence
from selftaught.errors import BadInput
from selftaught.evaluation.decision import decision_from_json, decision_to_json
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.records import Split, TaskScore
from selftaught.statistics import smallest_detectable_gain

CHAMPION, CHALLENGER = "c4a3910f00", "cha11e46e5"
Values = Sequence[float]


def rows(model: str, values: Values, split: Split = "gate", metric: str = "accuracy") -> list[TaskScore]:
    """Scores of a model, task i having value i; unvalidated, because simulations make millions."""
    make = TaskScore.model_construct
    return [make(model=model, metric=metric, split=split, task=f"{i:05}", value=v) for i, v in enumerate(values)]


def evidence(champion: Values, challenger: Values, guard: tuple[Values, Values] | None = None, **told) -> Evidence:
    scores = rows(CHAMPION, champion) + rows(CHALLENGER, challenger)
    if guard:
        scores += rows(CHAMPION, guard[0], "guard") + rows(CHALLENGER, guard[1], "guard")
    return Evidence(
        **{"champion": CHAMPION, "challenger": CHALLENGER, "scores": scores, "round": 1, "fresh": True} | told
    )


def table(gained: int, lost: int, tasks: int) -> tuple[Values, Values]:
    """The values of champion and challenger of whom one gained and lost so many tasks."""
    same = tasks - gained - lost
    return [0.0] * gained + [1.0] * lost + [1.0] * same, [1.0] * gained + [0.0] * lost + [1.0] * same


def check(decision: Decision, name: str) -> Check:
    return next(check for check in decision.checks if check.name == name)


def failed(decision: Decision) -> set[str]:
    return {check.name for check in decision.checks if not check.passed}


CLEAR, SMALL = table(71, 6, 200), table(20, 0, 30)


def test_a_clear_gain_is_promoted_and_says_why():
    decision = PairedGain(min_gain=0.05).decide(evidence(*CLEAR, guard=table(8, 3, 64)))
    assert (decision.outcome, failed(decision), decision.alpha) == ("promoted", set(), 0.025)
    assert check(decision, "gain").reason.startswith(
        "gain +0.325 [+0.252, +0.399] (95 % interval) on 200 tasks, 71 gained, 6 lost, "
        "one-sided mid-p McNemar p = 9.2e-16"
    )
    assert (decision.gain, decision.low, decision.high) == pytest.approx((0.325, 0.252, 0.399), abs=1e-3)


def test_every_check_is_a_sentence_with_its_numbers():
    decision = PairedGain(min_gain=0.05).decide(evidence(*CLEAR, guard=table(8, 3, 64), fresh=False, round=3))
    assert [c.name for c in decision.checks] == [
        "new_model", "contamination", "error_budget", "gain", "min_gain", "guard",
    ]  # fmt: skip
    assert check(decision, "error_budget").reason == (
        "the gate tasks are the same every round: round 3 spends 0.0021 of the error budget of 0.025, "
        "which leaves 0.023"
    )
    assert check(decision, "guard").reason.startswith("gain +0.078 on 64 guard tasks, 8 gained, 3 lost: a loss of 0.15")


# What it refuses ------------------------------------------------------------------------------------------------------


def test_the_champion_itself_is_refused_even_when_its_sampled_scores_differ():
    decision = PairedGain().decide(replace(evidence(*CLEAR), challenger=CHAMPION))
    assert {"new_model", "gain"} <= failed(decision)
    assert "is the champion itself (c4a3910f)" in check(decision, "new_model").reason


def test_a_model_that_answers_alike_gains_nothing():
    values = [0.0, 1.0] * 100
    decision = PairedGain().decide(evidence(values, values))
    assert (decision.outcome, decision.gain, decision.p_value, failed(decision)) == (
        "refused", 0, 1, {"gain", "min_gain"},
    )  # fmt: skip


def test_overlapping_data_refuses_the_clearest_gain_and_is_named():
    decision = PairedGain().decide(evidence(*CLEAR, contaminated=["a", "b", "c", "d"]))
    assert (decision.outcome, failed(decision)) == ("refused", {"contamination"})
    assert "in 4 places, so nothing measured counts: a; b; c …" in check(decision, "contamination").reason


def test_a_significant_gain_below_min_gain_is_not_worth_it():
    few = table(40, 10, 1000)
    assert PairedGain().decide(evidence(*few)).outcome == "promoted"
    assert failed(PairedGain(min_gain=0.05).decide(evidence(*few))) == {"min_gain"}


@pytest.mark.parametrize(("gained", "outcome"), [(4, "refused"), (5, "promoted")])
def test_the_test_decides_at_its_limit(gained: int, outcome: str):
    """4 of 4 is p = 0.031, 5 of 5 is p = 0.016."""
    assert PairedGain().decide(evidence(*table(gained, 0, 200))).outcome == outcome


def test_a_loss_on_guard_tasks_refuses_a_gain_on_gate_tasks():
    decision = PairedGain().decide(evidence(*CLEAR, guard=table(2, 12, 64)))
    assert (decision.outcome, failed(decision)) == ("refused", {"guard"})
    assert "a loss of 0.15 or more is not excluded at 90 %" in check(decision, "guard").reason


@pytest.mark.parametrize(
    ("gain", "least", "most"), [(0.05, 0.97, 1.0), (0.0, 0.88, 0.95), (-0.15, 0.05, 0.13), (-0.2, 0, 0.03)]
)
def test_the_guard_passes_good_models_and_stops_bad_ones(gain: float, least: float, most: float):
    """64 guard tasks, a fifth of which change sides."""
    drawn = np.random.default_rng(0).multinomial(64, [0.1 + gain / 2, max(0.1 - gain / 2, 0), 0.8], 400).tolist()
    gate = PairedGain()
    passed = [check(gate.decide(evidence(*SMALL, guard=table(b, c, 64))), "guard").passed for b, c, _ in drawn]
    assert least <= np.mean(passed) <= most


def test_no_guard_tasks_is_said_not_held_against_the_model():
    guard = check(PairedGain().decide(evidence(*CLEAR)), "guard")
    assert guard.passed
    assert "were not looked for" in guard.reason


def test_the_report_set_and_other_metrics_change_nothing():
    seen = evidence(*CLEAR)
    unseen = [
        *rows(CHAMPION, [1.0] * 300, "report"), *rows(CHALLENGER, [0.0] * 300, "report"),
        *rows(CHAMPION, [1.0] * 200, metric="pass@8"), *rows(CHALLENGER, [0.0] * 200, metric="pass@8"),
    ]  # fmt: skip
    more = evidence(*CLEAR, scores=[*seen.scores, *unseen])
    assert PairedGain().decide(more) == PairedGain().decide(seen)


# What it cannot decide ------------------------------------------------------------------------------------------------


def test_scores_that_cannot_be_paired_are_bad_input():
    with pytest.raises(BadInput, match="no 'accuracy' scores of model cha11e46 on the gate set"):
        PairedGain().decide(evidence([1.0] * 9, []))
    with pytest.raises(BadInput, match="no 'pass@8' scores of model c4a3910f"):
        PairedGain(metric="pass@8").decide(evidence(*CLEAR))
    with pytest.raises(BadInput, match=r"different tasks of the gate set: 2 .* \(00007 first\)"):
        PairedGain().decide(evidence([1.0] * 9, [1.0] * 7))


def test_mcnemar_is_refused_for_values_between_zero_and_one():
    values = [0.5, 0.25] * 10
    with pytest.raises(BadInput, match=r"test is 'mcnemar', but 'accuracy' has the value 0\.5"):
        PairedGain(test="mcnemar").decide(evidence(values, values))
    assert PairedGain().decide(evidence(values, values)).outcome == "refused"


@pytest.mark.parametrize(("gained", "outcome"), [(4, "refused"), (5, "refused"), (6, "promoted")])
def test_a_few_quarters_are_told_as_a_few_whole_tasks_are(gained: int, outcome: str):
    """Of 160 tasks at mean@4: p = 1/16, 1/32, 1/64. Resampling promoted all three."""
    champion = [0.25] * 160
    challenger = [0.5] * gained + [0.25] * (160 - gained)
    assert PairedGain().decide(evidence(champion, challenger)).outcome == outcome


def test_a_late_round_promotes_what_its_error_allows():
    """17 gained and none lost of 160 in round 52: p is 3.8e-6 and may be 9.1e-6; an interval of another rule held 0."""
    decision = PairedGain().decide(evidence(*table(17, 0, 160), fresh=False, round=52))
    assert (decision.outcome, decision.alpha) == ("promoted", pytest.approx(9.07e-6, rel=1e-2))
    assert decision.low > 0


@pytest.mark.parametrize("fresh", [True, False])
def test_values_between_zero_and_one_are_decided_by_sign_flips(fresh: bool):
    rng = np.random.default_rng(0)
    decision = PairedGain().decide(
        evidence(*(rng.binomial(8, [[0.3], [0.6]], (2, 64)) / 8).tolist(), fresh=fresh, round=5)
    )
    assert decision.outcome == "promoted"
    assert "one-sided sign flip p" in check(decision, "gain").reason


def test_decisions_survive_being_kept():
    decision = PairedGain().decide(evidence(*CLEAR, guard=table(3, 2, 64), fresh=False, round=2))
    assert decision_from_json(decision_to_json(decision)) == decision
    with pytest.raises(BadInput, match="not a gate's decision: outcome"):
        decision_from_json(decision_to_json(decision).replace('"promoted"', '"perhaps"'))


# How often it errs ----------------------------------------------------------------------------------------------------


def test_noise_on_fresh_tasks_is_promoted_in_no_more_than_one_round_in_forty():
    rng, gate = np.random.default_rng(0), PairedGain()
    rates = rng.beta(1, 2, (1000, 64))
    drawn = [(rng.random((2, 64)) < rate).astype(float).tolist() for rate in rates]
    promoted = [gate.decide(evidence(*values)).outcome == "promoted" for values in drawn]
    assert 0 < sum(promoted) <= stats.binom.isf(0.001, 1000, 0.025)


@pytest.mark.parametrize(
    ("spending", "campaigns", "least", "most"),
    [(True, 80, 0, 6), (False, 30, 4, 30)],
    ids=["budget spent", "budget ignored"],
)
def test_a_year_of_noise_on_the_same_tasks_promotes_once_in_forty_years_if_the_budget_is_spent(
    spending: bool, campaigns: int, least: int, most: int
):
    """Campaigns of 52 rounds, each on one gate set; without spending a quarter of them promote noise."""
    promoted = [_promotes_noise(np.random.default_rng(seed), spending) for seed in range(campaigns)]
    assert least <= sum(promoted) <= most


def _promotes_noise(rng: np.random.Generator, spending: bool) -> bool:
    gate, rates, spent = PairedGain(), rng.beta(1, 2, 64), 0.0
    champion = (rng.random(64) < rates).astype(float).tolist()
    for round in range(1, 53):
        challenger = (rng.random(64) < rates).astype(float).tolist()
        decision = gate.decide(evidence(champion, challenger, round=round, fresh=not spending, alpha_spent=spent))
        if decision.outcome == "promoted":
            return True
        spent += decision.alpha
    return False


def test_a_used_up_budget_refuses_and_asks_for_other_tasks():
    decision = PairedGain().decide(evidence(*CLEAR, fresh=False, alpha_spent=0.025))
    assert {"error_budget", "gain"} <= failed(decision)
    assert "is used up: give the gate other tasks" in check(decision, "error_budget").reason
    assert check(decision, "error_budget").values["budget_left"] == 0


def test_a_real_gain_is_promoted_as_often_as_the_plan_promised():
    tasks, discordance = 200, 0.2
    gain = smallest_detectable_gain(tasks, discordance)
    shares = [(discordance + gain) / 2, (discordance - gain) / 2, 1 - discordance]
    drawn = np.random.default_rng(0).multinomial(tasks, shares, 500).tolist()
    gate = PairedGain()
    promoted = [gate.decide(evidence(*table(b, c, tasks))).outcome == "promoted" for b, c, _ in drawn]
    assert np.mean(promoted) == pytest.approx(0.8, abs=0.05)


# What it says before --------------------------------------------------------------------------------------------------


def test_the_plan_says_what_the_gate_tasks_can_show():
    assert PairedGain().plan(200, fresh=True, rounds=52) == (
        "200 gate tasks can show a gain of 0.09 or more at 80 % power if 20 % of the tasks change sides, "
        "0.12 if 40 % do (2.5 % one-sided error)."
    )


def test_the_plan_says_what_a_fixed_set_costs_over_the_rounds():
    assert (
        PairedGain()
        .plan(200, fresh=False, rounds=52)
        .endswith(
            "They are the same every round, so 2.5 % is spent over all rounds: in round 52 it takes a gain of 0.15."
        )
    )


def test_the_plan_of_too_few_tasks_says_so():
    assert PairedGain().plan(4, fresh=True, rounds=1).startswith("4 gate tasks are too few to show any gain")


def test_the_decision_repeats_what_the_plan_said():
    values = check(PairedGain().decide(evidence(*CLEAR)), "gain").values
    assert values["detectable_gain"] == pytest.approx(smallest_detectable_gain(200, 0.2))
