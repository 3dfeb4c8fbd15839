"""The gate: what it refuses, what it promotes, and how often noise gets past it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from selftaught.blocks import Check, Decision, Evidence, Margin, Outlook
from selftaught.core.errors import BadInput
from selftaught.core.statistics import Bounds, alpha_spending, mcnemar_power, smallest_detectable_gain
from selftaught.evaluation.decision import decision_from_json, decision_to_json
from selftaught.evaluation.guard import relative_margin
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.records import Split, TaskScore

CHAMPION, CHALLENGER = "c4a3910f00", "cha11e46e5"
BASE = "ba5e000000"
Values = Sequence[float]


def gate(**fields) -> PairedGain:
    """A gate without a guard, unless its fields say otherwise."""
    return PairedGain.model_validate({"type": "paired_gain", "guard": "none"} | fields)


def guarded(**fields) -> PairedGain:
    """A gate whose guard is of the metric that decides."""
    return gate(**{"guard": []} | fields)


def rows(model: str, values: Values, split: Split = "gate", metric: str = "accuracy") -> list[TaskScore]:
    """Scores of a model, task i having value i; unvalidated, because simulations make millions."""
    make = TaskScore.model_construct
    return [make(model=model, metric=metric, split=split, task=f"{i:05}", value=v) for i, v in enumerate(values)]


def evidence(champion: Values, challenger: Values, guard: tuple[Values, Values] | None = None, **found) -> Evidence:
    scores = rows(CHAMPION, champion) + rows(CHALLENGER, challenger)
    if guard:
        scores += rows(CHAMPION, guard[0], "guard") + rows(CHALLENGER, guard[1], "guard")
    return Evidence(
        **{"champion": CHAMPION, "challenger": CHALLENGER, "scores": scores, "round": 1, "fresh": True} | found
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
    decision = guarded(min_gain=0.05).decide(evidence(*CLEAR, guard=table(8, 3, 64)))
    assert (decision.outcome, failed(decision), decision.alpha) == ("promoted", set(), 0.025)
    assert check(decision, "gain").reason.startswith(
        "gain +0.325 [+0.252, +0.399] (95 % interval) on 200 tasks, 71 gained, 6 lost, "
        "one-sided mid-p McNemar p = 9.2e-16"
    )
    assert (decision.gain, decision.low, decision.high) == pytest.approx((0.325, 0.252, 0.399), abs=1e-3)


def test_every_check_is_a_sentence_with_its_numbers():
    decision = guarded(min_gain=0.05).decide(evidence(*CLEAR, guard=table(8, 3, 64), fresh=False, round=3))
    assert [c.name for c in decision.checks] == [
        "new_model", "error_budget", "gain", "min_gain", "guard",
    ]  # fmt: skip
    assert check(decision, "error_budget").reason == (
        "every round draws its gate tasks from one pool: round 3 spends 0.0021 of the error budget of 0.025, of which "
        "rounds of any line and campaign had spent 0; that leaves 0.023"
    )
    assert check(decision, "guard").reason.startswith(
        "accuracy gain over the champion +0.078 on 64 guard tasks, of which it has 0.875 right: a loss of 0.15 or more "
        "is excluded at 90 % (lower limit +0.0"
    )


# What it refuses ------------------------------------------------------------------------------------------------------


def test_the_champion_itself_is_refused_even_when_its_sampled_scores_differ():
    decision = gate().decide(replace(evidence(*CLEAR), challenger=CHAMPION))
    assert {"new_model", "gain"} <= failed(decision)
    assert "is the champion itself (c4a3910f)" in check(decision, "new_model").reason


def test_a_model_that_answers_alike_gains_nothing():
    values = [0.0, 1.0] * 100
    decision = gate().decide(evidence(values, values))
    assert (decision.outcome, decision.gain, decision.p_value, failed(decision)) == (
        "refused", 0, 1, {"gain", "min_gain"},
    )  # fmt: skip


def test_a_significant_gain_below_min_gain_is_not_worth_it():
    few = table(40, 10, 1000)
    assert gate().decide(evidence(*few)).outcome == "promoted"
    assert failed(gate(min_gain=0.05).decide(evidence(*few))) == {"min_gain"}


@pytest.mark.parametrize(("gained", "outcome"), [(4, "refused"), (5, "promoted")])
def test_the_test_decides_at_its_limit(gained: int, outcome: str):
    """4 of 4 is p = 0.031, 5 of 5 is p = 0.016."""
    assert gate().decide(evidence(*table(gained, 0, 200))).outcome == outcome


def test_a_loss_on_guard_tasks_refuses_a_gain_on_gate_tasks():
    decision = guarded().decide(evidence(*CLEAR, guard=table(2, 12, 64)))
    assert (decision.outcome, failed(decision)) == ("refused", {"guard"})
    assert "a loss of 0.15 or more is not excluded at 90 %" in check(decision, "guard").reason


@pytest.mark.parametrize(
    ("gain", "least", "most"), [(0.05, 0.97, 1.0), (0.0, 0.88, 0.95), (-0.15, 0.05, 0.13), (-0.2, 0, 0.03)]
)
def test_the_guard_passes_good_models_and_stops_bad_ones(gain: float, least: float, most: float):
    """64 guard tasks, a fifth of which change sides."""
    drawn = np.random.default_rng(0).multinomial(64, [0.1 + gain / 2, max(0.1 - gain / 2, 0), 0.8], 400).tolist()
    passed = [check(guarded().decide(evidence(*SMALL, guard=table(b, c, 64))), "guard").passed for b, c, _ in drawn]
    assert least <= np.mean(passed) <= most


def test_no_guard_is_said_by_the_recipe_and_by_the_decision():
    guard = check(gate().decide(evidence(*CLEAR)), "guard")
    assert guard.passed
    assert guard.reason == "the recipe sets guard: none, so losses elsewhere were not checked"
    with pytest.raises(BadInput, match=r"no 'accuracy' scores on guard tasks.* or set `guard: none`"):
        guarded().decide(evidence(*CLEAR))


def right(number: int, tasks: int) -> Values:
    return [1.0] * number + [0.0] * (tasks - number)


@pytest.mark.parametrize(
    ("champion", "challenger", "passed"),
    [(4, 0, False), (7, 0, False), (1, 0, False), (10, 0, False), (4, 30, True)],
)
def test_who_has_little_to_lose_may_not_lose_it_all(champion: int, challenger: int, passed: bool):
    """A loss of 4 of 48 is less than .15, and everything that there was."""
    decided = guarded().decide(evidence(*CLEAR, guard=(right(champion, 48), right(challenger, 48))))
    assert check(decided, "guard").passed == passed


def test_the_margin_is_what_the_recipe_says_and_half_of_what_there_is_at_most():
    margins = [relative_margin(0.15, right(n, 100)) for n in (0, 10, 29, 30, 31, 100)]
    assert margins == pytest.approx([0, 0.05, 0.145, 0.15, 0.15, 0.15])


def test_a_few_that_change_sides_both_ways_are_excluded_as_a_loss():
    """Tango at one-sided 90 %: 5 gained and 5 lost of 48 leave -.0881."""
    guard = check(guarded().decide(evidence(*CLEAR, guard=table(5, 5, 48))), "guard")
    assert guard.passed
    assert guard.values["low"] == pytest.approx(-0.0881, abs=1e-4)
    lost = check(guarded().decide(evidence(*CLEAR, guard=(right(7, 48), right(0, 48)))), "guard")
    assert lost.values["low"] == pytest.approx(-0.2228, abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "bounds", "margin"),
    [(0.0, (-1, 1), 0.15), (-0.9, (-1, 1), 0.05), (-0.9, None, 0.15), (96.0, None, 0.15), (0.1, (0, 1), 0.05)],
)
def test_what_there_is_to_lose_is_what_is_above_the_least_value(mean: float, bounds: Bounds | None, margin: float):
    assert relative_margin(0.15, [mean] * 8, bounds) == pytest.approx(margin)


def test_a_guard_on_which_nothing_is_right_asks_for_other_tasks_and_not_for_more():
    guard = check(guarded().decide(evidence(*CLEAR, guard=([0.0] * 960, [0.0] * 960))), "guard")
    assert not guard.passed
    assert guard.reason.endswith(
        "the champion has nothing to lose on them: take tasks that it can do, or set `guard: none`"
    )
    assert "take more" not in guard.reason


def test_a_guard_of_a_figure_below_and_above_zero_is_told_and_tested_as_one():
    """Both have 0 on every guard task: a task may be worth 2, so as many may yet lose twice as much."""
    fields = {"guard": ([0.0] * 64, [0.0] * 64), "bounds": {"accuracy": (-1.0, 1.0)}}
    signed = check(guarded().decide(evidence(*SMALL, **fields)), "guard")
    share = check(guarded().decide(evidence(*SMALL, guard=fields["guard"])), "guard")
    assert signed.reason.startswith("accuracy gain over the champion +0.000 on 64 guard tasks, where it has 0.000: ")
    assert signed.values["low"] == pytest.approx(2 * share.values["low"])
    assert (signed.values["margin"], share.values["margin"]) == (0.15, 0)


def test_what_cannot_be_told_is_refused_and_says_so():
    guard = check(guarded().decide(evidence(*CLEAR, guard=(right(2, 12), right(2, 12)))), "guard")
    assert not guard.passed
    assert guard.reason.endswith("these tasks cannot tell: take more of them, or more samples of each")


def test_every_metric_that_guards_has_to_pass():
    seen = evidence(*CLEAR, guard=table(6, 2, 64))
    lost = rows(CHAMPION, [0.75] * 64, "guard", "mean@8") + rows(CHALLENGER, [0.5] * 64, "guard", "mean@8")
    both = guarded(guard=["accuracy", "mean@8"])
    assert failed(both.decide(replace(seen, scores=[*seen.scores, *lost]))) == {"guard mean@8"}
    with pytest.raises(BadInput, match="no 'mean@8' scores on guard tasks"):
        both.decide(seen)


def test_the_line_may_not_fall_below_where_it_began_by_small_steps():
    """Each loss is within the margin of the champion before it; together they are not within the first model's."""
    base, champion, challenger = (right(n, 200) for n in (100, 74, 68))
    seen = evidence(*CLEAR, guard=(champion, challenger))
    assert guarded().decide(seen).outcome == "promoted"
    anchored = replace(seen, anchor=BASE, scores=[*seen.scores, *rows(BASE, base, "guard")])
    decided = guarded().decide(anchored)
    assert failed(decided) == {"guard base"}
    assert "accuracy gain over the base -0.160 on 200 guard tasks" in check(decided, "guard base").reason


@pytest.mark.parametrize("anchor", [CHAMPION, CHALLENGER])
def test_the_anchor_is_looked_at_where_it_is_a_third_model(anchor: str):
    decided = guarded().decide(evidence(*CLEAR, guard=table(6, 2, 64), anchor=anchor))
    assert [c.name for c in decided.checks if c.name.startswith("guard")] == ["guard"]


# Templates ------------------------------------------------------------------------------------------------------------


def templated(*gains: float, each: int = 20, **found) -> Evidence:
    """Gate tasks of as many templates as there are gains, in each of which that share of tasks is gained or lost."""
    champion, challenger, clusters = list[float](), list[float](), dict[str, str]()
    for number, gain in enumerate(gains):
        changed = round(abs(gain) * each)
        before, after = [0.0] * each, [float(i < changed) for i in range(each)]
        if gain < 0:
            before, after = after, before
        clusters |= {f"{len(champion) + i:05}": f"template {number}" for i in range(each)}
        champion, challenger = champion + before, challenger + after
    return evidence(champion, challenger, clusters=clusters, over="templates", **found)


@pytest.mark.parametrize(
    ("gains", "refused"),
    [
        ((0.05, 0.15, 0.20, 0.30, 0.10, 0.20, 0.25, 0.40), set()),
        ((0.5, 0, 0, 0, 0, 0, 0, 0), {"templates"}),
        ((0.3, 0.3, 0.3, -0.05, -0.05, -0.05, -0.05, -0.1), {"templates"}),
    ],
    ids=["all gain", "one gains", "three gain, five lose"],
)
def test_a_gain_that_one_template_made_is_not_one_of_others(gains: Values, refused: set[str]):
    assert failed(gate().decide(templated(*gains))) == refused
    assert failed(gate(over="tasks").decide(templated(*gains))) == set()


def test_under_six_templates_nothing_is_said_of_others():
    decided = gate().decide(templated(0.4, 0.4, 0.4, 0.4, 0.4))
    assert failed(decided) == {"templates"}
    assert "of 5 templates, which is too few to generalise from; it takes 6" in check(decided, "templates").reason
    assert gate().decide(templated(0.4, 0.4, 0.4, 0.3, 0.4, 0.3)).outcome == "promoted"


def test_the_recipe_says_what_a_gain_has_to_hold_for_before_the_source_does():
    few = templated(0.4, 0.4, 0.4)
    assert gate(over="tasks").decide(few).outcome == "promoted"
    assert gate(over="templates").decide(replace(few, over="tasks")).outcome == "refused"


# Answers that nobody could judge --------------------------------------------------------------------------------------


def unjudged(model: str, values: Values, errors: Sequence[int]) -> list[TaskScore]:
    return [score.model_copy(update={"errors": int(i in errors)}) for i, score in enumerate(rows(model, values))]


def test_a_task_with_an_error_of_either_model_leaves_the_pair():
    """The champion would have had eight tasks right of which a verifier failed; else the two are equal."""
    champion, challenger = [0.0] * 8 + [1.0] * 200 + [0.0] * 192, [1.0] * 208 + [0.0] * 192
    scores = unjudged(CHAMPION, champion, range(8)) + rows(CHALLENGER, challenger)
    decided = gate().decide(evidence([], [], scores=scores))
    assert (decided.gain, check(decided, "gain").values["tasks"]) == (0, 392)
    assert check(decided, "judged").passed
    assert "2 % of the champion's answers and 0 % of the challenger's: 8 tasks" in check(decided, "judged").reason


def test_more_than_two_per_cent_of_errors_together_void_the_measurement():
    champion, challenger = CLEAR
    scores = unjudged(CHAMPION, champion, range(100, 103)) + unjudged(CHALLENGER, challenger, range(150, 152))
    decided = gate().decide(evidence([], [], scores=scores))
    assert failed(decided) == {"judged"}
    assert "more than 2 % together, so nothing was measured" in check(decided, "judged").reason


@pytest.mark.parametrize(
    ("champion", "challenger", "passed"), [(8, 0, True), (9, 0, False), (0, 9, False), (12, 1, False), (10, 10, True)]
)
def test_a_model_that_is_judged_less_often_than_the_other_voids_the_measurement(
    champion: int, challenger: int, passed: bool
):
    """Of 1000 tasks 2 % together may go unjudged, but of both alike: two-sided, 9 to none are p = .0039."""
    values = [0.0, 1.0] * 500
    scores = unjudged(CHAMPION, values, range(champion)) + unjudged(CHALLENGER, values, range(500, 500 + challenger))
    judged = check(gate().decide(evidence([], [], scores=scores)), "judged")
    assert judged.passed is passed
    assert ("which is unlikely to be chance" in judged.reason) is not passed


def test_a_task_that_neither_model_was_judged_on_speaks_for_neither():
    values = [0.0, 1.0] * 500
    scores = unjudged(CHAMPION, values, range(10)) + unjudged(CHALLENGER, values, range(10))
    assert check(gate().decide(evidence([], [], scores=scores)), "judged").values["p_value"] == 1


@pytest.mark.parametrize("split", ["guard", "retention"])
def test_unjudged_answers_void_what_is_guarded_as_they_void_the_gate_set(split: Any):
    """The challenger lost what 30 of 200 answers it was not judged on would have shown."""
    same = [1.0] * 200
    lost = [score.model_copy(update={"split": split}) for score in unjudged(CHALLENGER, same, range(30))]
    scores = [*rows(CHAMPION, CLEAR[0]), *rows(CHALLENGER, CLEAR[1]), *rows(CHAMPION, same, split), *lost]
    sets = {} if split == "guard" else {"margins": {split: Margin(("accuracy",), 0.15)}}
    decided = gate(guard=[] if split == "guard" else "none").decide(evidence([], [], scores=scores, **sets))
    assert failed(decided) == {f"{split} judged"}
    assert "30 tasks were left out for both" in check(decided, f"{split} judged").reason


def test_where_no_task_was_judged_there_is_nothing_to_decide():
    scores = unjudged(CHAMPION, right(2, 4), range(4)) + rows(CHALLENGER, right(2, 4))
    with pytest.raises(BadInput, match="no task of the gate set was judged for both models"):
        gate().decide(evidence([], [], scores=scores))


def test_the_report_set_and_other_metrics_change_nothing():
    seen = evidence(*CLEAR)
    unseen = [
        *rows(CHAMPION, [1.0] * 300, "report"), *rows(CHALLENGER, [0.0] * 300, "report"),
        *rows(CHAMPION, [1.0] * 200, metric="pass@8"), *rows(CHALLENGER, [0.0] * 200, metric="pass@8"),
    ]  # fmt: skip
    more = evidence(*CLEAR, scores=[*seen.scores, *unseen])
    assert gate().decide(more) == gate().decide(seen)


# What it cannot decide ------------------------------------------------------------------------------------------------


def test_scores_that_cannot_be_paired_are_bad_input():
    with pytest.raises(BadInput, match="no 'accuracy' scores of model cha11e46 on the gate set"):
        gate().decide(evidence([1.0] * 9, []))
    with pytest.raises(BadInput, match="no 'pass@8' scores of model c4a3910f"):
        gate(metric="pass@8").decide(evidence(*CLEAR))
    for sides in (([1.0] * 9, [1.0] * 7), ([1.0] * 7, [1.0] * 9)):
        with pytest.raises(BadInput, match=r"different tasks of the gate set: 2 .* \(00007 first\)"):
            gate().decide(evidence(*sides))


def test_mcnemar_is_refused_for_values_between_zero_and_one():
    values = [0.5, 0.25] * 10
    with pytest.raises(BadInput, match=r"test is 'mcnemar', but 'accuracy' has the value 0\.5"):
        gate(test="mcnemar").decide(evidence(values, values))
    assert gate().decide(evidence(values, values)).outcome == "refused"


@pytest.mark.parametrize(("gained", "outcome"), [(4, "refused"), (5, "refused"), (6, "promoted")])
def test_a_few_quarters_are_told_as_a_few_whole_tasks_are(gained: int, outcome: str):
    """Of 160 tasks at mean@4: p = 1/16, 1/32, 1/64. Resampling promoted all three."""
    champion = [0.25] * 160
    challenger = [0.5] * gained + [0.25] * (160 - gained)
    assert gate().decide(evidence(champion, challenger)).outcome == outcome


def test_a_late_round_promotes_what_its_error_allows():
    """17 gained and none lost of 160 in round 52: p is 3.8e-6 and may be 9.1e-6; an interval of another rule held 0."""
    decision = gate().decide(evidence(*table(17, 0, 160), fresh=False, round=52))
    assert (decision.outcome, decision.alpha) == ("promoted", pytest.approx(9.07e-6, rel=1e-2))
    assert decision.low > 0


@pytest.mark.parametrize("fresh", [True, False])
def test_values_between_zero_and_one_are_decided_by_sign_flips(fresh: bool):
    rng = np.random.default_rng(0)
    decision = gate().decide(evidence(*(rng.binomial(8, [[0.3], [0.6]], (2, 64)) / 8).tolist(), fresh=fresh, round=5))
    assert decision.outcome == "promoted"
    assert "one-sided sign flip p" in check(decision, "gain").reason


def test_decisions_survive_being_kept():
    decision = guarded().decide(evidence(*CLEAR, guard=table(3, 2, 64), fresh=False, round=2))
    assert decision_from_json(decision_to_json(decision)) == decision
    with pytest.raises(BadInput, match="not a gate's decision: outcome"):
        decision_from_json(decision_to_json(decision).replace('"promoted"', '"perhaps"'))


# How often it errs ----------------------------------------------------------------------------------------------------


def test_noise_on_fresh_tasks_is_promoted_in_no_more_than_one_round_in_forty():
    rng, noise = np.random.default_rng(0), gate()
    rates = rng.beta(1, 2, (1000, 64))
    drawn = [(rng.random((2, 64)) < rate).astype(float).tolist() for rate in rates]
    promoted = [noise.decide(evidence(*values)).outcome == "promoted" for values in drawn]
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
    one, rates, spent = gate(), rng.beta(1, 2, 64), 0.0
    champion = (rng.random(64) < rates).astype(float).tolist()
    for round in range(1, 53):
        challenger = (rng.random(64) < rates).astype(float).tolist()
        decision = one.decide(evidence(champion, challenger, round=round, fresh=not spending, alpha_spent=spent))
        if decision.outcome == "promoted":
            return True
        spent += decision.alpha
    return False


def test_a_used_up_budget_refuses_and_asks_for_other_tasks():
    decision = gate().decide(evidence(*CLEAR, fresh=False, alpha_spent=0.025))
    assert {"error_budget", "gain"} <= failed(decision)
    assert "is used up: give the gate other tasks" in check(decision, "error_budget").reason
    assert check(decision, "error_budget").values["budget_left"] == 0


def test_a_real_gain_is_promoted_as_often_as_the_plan_promised():
    tasks, discordance = 200, 0.2
    gain = smallest_detectable_gain(tasks, discordance)
    shares = [(discordance + gain) / 2, (discordance - gain) / 2, 1 - discordance]
    drawn = np.random.default_rng(0).multinomial(tasks, shares, 500).tolist()
    promoted = [gate().decide(evidence(*table(b, c, tasks))).outcome == "promoted" for b, c, _ in drawn]
    assert np.mean(promoted) == pytest.approx(0.8, abs=0.05)


# What it says before --------------------------------------------------------------------------------------------------


def test_the_plan_says_what_the_gate_tasks_can_show_and_how_likely_it_is_promoted():
    assert guarded().plan(Outlook(200, 48, fresh=True, rounds=52)) == (
        "200 gate tasks can show a gain of 0.09 or more at 80 % power if 20 % of the tasks change sides, "
        "0.12 if 40 % of the tasks change sides (2.5 % one-sided error). A model with that gain is promoted with a "
        "chance of 0.67 or 0.52: one that is not worse on the 48 guard tasks passes them with 0.84 or 0.65."
    )


@pytest.mark.parametrize(("guard", "share", "chance"), [(48, 0.2, 0.67), (48, 0.3, 0.59), (32, 0.3, 0.48)])
def test_the_chance_of_a_promotion_is_that_of_the_gain_and_of_the_guard(guard: int, share: float, chance: float):
    """The share that changed sides is the last round's."""
    sides = [round(n * share / 2) for n in (160, guard)]
    values = [table(sides[0], sides[0], 160), table(sides[1], sides[1], guard)]
    last = evidence(*values[0], guard=values[1]).scores
    said = guarded().plan(Outlook(160, guard, fresh=True, last=last, champion=CHAMPION, challenger=CHALLENGER))
    found = float(said.partition("promoted with a chance of ")[2][:4])
    assert found == pytest.approx(chance, abs=0.03)
    assert f"if {share:.0%} of the tasks change sides, as in the last round".replace("%", " %") in said


def test_the_plan_of_samples_goes_by_how_a_tasks_gain_varies():
    said = guarded(metric="mean@8").plan(Outlook(160, 96, fresh=True, variance=0.052))
    assert said.startswith(
        "160 gate tasks can show a gain of 0.05 or more at 80 % power if a task's gain varies by 0.23"
    )
    champion = (np.arange(96) % 9 / 8).tolist()
    last = [score for model in (CHAMPION, CHALLENGER) for score in rows(model, champion, metric="mean@8")]
    last[-1] = last[-1].model_copy(update={"value": 0.0})
    found = guarded(metric="mean@8").plan(
        Outlook(96, 96, fresh=True, variance=0.052, last=last, champion=CHAMPION, challenger=CHALLENGER)
    )
    assert "varies by 0.06, as in the last round" in found


def test_the_plan_says_what_a_fixed_set_costs_over_the_rounds_that_are_to_come():
    pool = "Every round draws them from one pool, so 2.5 % is spent over all rounds: in round {} it takes a gain of {}."
    assert gate().plan(Outlook(200, 0, fresh=False, rounds=52)).endswith(pool.format(52, "0.15"))
    late = gate().plan(Outlook(160, 0, fresh=False, number=30, rounds=23, spent=0.0242))
    assert "(0.00258 % one-sided error)" in late
    assert late.endswith(pool.format(52, "0.17"))


@pytest.mark.parametrize(("number", "gain"), [(1, 0.11), (30, 0.16)])
def test_the_plan_counts_the_round_that_is_due(number: int, gain: float):
    """160 tasks of which a fifth changes sides: week 30 of a schedule has little left to err with."""
    spent = sum(alpha_spending(n, 0.025) for n in range(1, number))
    said = gate().plan(Outlook(160, 0, fresh=False, number=number, rounds=1, spent=spent))
    assert said.startswith(f"160 gate tasks can show a gain of {gain:.2f} or more")
    alpha = alpha_spending(number, 0.025, spent)
    assert mcnemar_power(160, smallest_detectable_gain(160, 0.2, alpha), 0.2, alpha) == pytest.approx(0.8, abs=1e-3)


def test_of_a_figure_of_which_nothing_is_known_the_plan_promises_nothing():
    found = gate().plan(Outlook(gate=200, guard=0, fresh=True, bounds=(-1.0, 1.0)))
    assert found.startswith("what 200 gate tasks can show is not known before a round was measured")
    last = [*rows(CHAMPION, [-0.5, 0.25] * 100), *rows(CHALLENGER, [0.0, 0.25] * 100)]
    known = Outlook(
        gate=200, guard=0, fresh=True, bounds=(-1.0, 1.0), last=last, champion=CHAMPION, challenger=CHALLENGER
    )
    assert gate().plan(known).startswith("200 gate tasks can show a gain of ")


def test_the_plan_of_too_few_tasks_says_so():
    assert gate().plan(Outlook(4, 0, fresh=True)).startswith("4 gate tasks are too few to show any gain")
    assert "budget is used up" in gate().plan(Outlook(200, 0, fresh=False, spent=0.025))


def test_the_plan_says_what_is_not_looked_at():
    assert "There is no guard" in gate().plan(Outlook(200, 0, fresh=True))
    assert "It has to hold over templates, 6 at least" in gate().plan(Outlook(200, 0, fresh=True, over="templates"))


def test_the_decision_says_what_the_set_could_show():
    values = check(gate().decide(evidence(*CLEAR)), "gain").values
    assert values["detectable_gain"] == pytest.approx(smallest_detectable_gain(200, 77 / 200))
