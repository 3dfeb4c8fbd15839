"""adapt: B-STaR's balance score, its choice among temperatures, and what a stage is made into."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Context, Observed, State
from selftaught.controls.adapt import Adapt, balance
from selftaught.recipe import Recipe, Stage
from selftaught.records import Group, Rollout, Task, Turn, Verdict
from selftaught.sampling.probes import Probes
from selftaught.testing import ScriptedModel, check_block, sums
from tests.rounds import SEARCH

GRID = (0.5, 0.7, 1.0)


@pytest.mark.parametrize(
    ("right", "wrong", "score"), [(8, 0, 1.0), (4, 0, 0.5), (8, 8, 0.5), (0, 3, 0.0), (2, 6, 0.0625)]
)
def test_the_balance_score_is_the_papers(right: int, wrong: int, score: float):
    """min(n' / n*, 1) n' / n with n* = 8."""
    assert balance([True] * right + [False] * wrong, 8) == score


@given(right=st.lists(st.booleans(), max_size=20), target=st.integers(1, 20))
def test_the_balance_score_is_a_share_and_no_wrong_answer_raises_it(right: list[bool], target: int):
    score = balance(right, target)
    assert 0 <= score <= 1
    assert balance([*right, False], target) <= score <= balance([*right, True], target)


def probed(task: Task, answers: Mapping[float, Sequence[tuple[str, bool]]]) -> Group:
    """A group with these answers, and whether they are right, at each temperature."""
    said = [(t, *answer) for t, given in answers.items() for answer in given]
    return Group(
        task=task,
        rollouts=tuple(
            Rollout(task=task.id, index=at, model="m", turns=(Turn(content=text),), temperature=t)
            for at, (t, text, _) in enumerate(said)
        ),
        verdicts=tuple((Verdict.of("gold", right),) for _, _, right in said),
    )


def test_an_answer_counts_once_and_tasks_that_were_not_probed_not_at_all():
    one, other = sums(2)
    groups = [
        probed(one, {0.5: [("3", True), (" 3 ", True)], 1.0: [("3", True), ("2+1", True), ("4", False)]}),
        probed(other, {0.5: [("9", False)] * 8}),
    ]
    block = Adapt(temperatures=(0.5, 1.0), target=2)
    assert block.scores(groups) == {0.5: 0.5, 1.0: pytest.approx(2 / 3)}
    assert block.observe({}, Observed(groups))["temperature"] == 1.0


def test_of_equal_scores_the_present_temperature_stays():
    groups = [probed(sums(1)[0], {t: [("3", True)] for t in GRID})]
    assert Adapt(temperatures=GRID).observe({"temperature": 0.7}, Observed(groups))["temperature"] == 0.7


@pytest.mark.parametrize("sampled_at", GRID)
def test_of_equal_scores_the_first_round_stays_at_the_recipes_temperature(sampled_at: float):
    """The sampler's own is the one that tasks without probes have."""
    probe, other = sums(2)
    groups = [probed(probe, {t: [("9", False)] for t in GRID}), probed(other, {sampled_at: [("9", False)] * 2})]
    assert Adapt(temperatures=GRID).observe({}, Observed(groups))["temperature"] == sampled_at


def test_answers_that_were_given_away_are_not_scored():
    group = probed(sums(1)[0], {t: [("3", False), ("4", True)] for t in GRID})
    hinted = tuple(each.model_copy(update={"hinted": each.index % 2 == 1}) for each in group.rollouts)
    scores = Adapt(temperatures=GRID).scores([group.model_copy(update={"rollouts": hinted})])
    assert scores == dict.fromkeys(GRID, 0.0)


def test_without_a_probe_nothing_changes():
    state: State = {"temperature": 0.7, "scores": {"0.7": 0.1}}
    assert Adapt(temperatures=GRID).observe(state, Observed([probed(sums(1)[0], {0.7: [("3", True)]})])) == state


def test_it_explains_the_temperature_by_the_balance_scores_of_all():
    block = Adapt(temperatures=GRID, target=2)
    answers = {0.5: [("3", False)], 0.7: [("3", True), ("2+1", True)], 1.0: [("3", True), ("4", False)]}
    explained = block.explain(block.observe({}, Observed([probed(sums(1)[0], answers)])))
    assert explained
    assert explained.text == "Temperature 0.7, whose balance score was best."
    assert explained.rows == {"temperature 0.5": (0.0,), "temperature 0.7": (1.0,), "temperature 1": (0.25,)}
    assert block.explain({}) is None


def simulated(task: Task, spread: Mapping[float, float], random: Random) -> Group:
    """Eight answers at each temperature: as hot as it is they differ, as cold as it is they are right."""
    return probed(
        task,
        {
            t: [(str(random.randrange(1 + int(20 * t))), random.random() < right) for _ in range(8)]
            for t, right in spread.items()
        },
    )


def test_the_temperature_rises_as_the_model_becomes_surer():
    """Few answers are right when hot at first; once all are, the hottest has most distinct right ones."""
    block, random = Adapt(temperatures=GRID, target=8), Random(0)
    first = [simulated(task, {0.5: 0.5, 0.7: 0.2, 1.0: 0.02}, random) for task in sums(40)]
    later = [simulated(task, {0.5: 0.9, 0.7: 0.9, 1.0: 0.9}, random) for task in sums(40)]
    state = block.observe({}, Observed(first))
    assert state["temperature"] == 0.5
    assert block.observe(state, Observed(later))["temperature"] == 1.0


def stage(sample: Mapping[str, Any]) -> Stage:
    return Recipe.model_validate(
        {
            "name": "adapted",
            "models": {"policy": "smollm2-135m-instruct"},
            "tasks": {"type": "word_problems", "train": 8, "gate": 8, "report": 8},
            "stages": [
                {
                    "sample": sample,
                    "verify": {"type": "answer_match"},
                    "curate": {"type": "accepted"},
                    "train": {"type": "sft"},
                    "control": {"type": "adapt", "temperatures": GRID},
                }
            ],
        }
    ).stages[0]


@given(chosen=st.none() | st.sampled_from(GRID))
def test_a_stage_samples_at_the_chosen_temperature_and_probes_the_others(chosen: float | None):
    given = stage({"type": "iid", "k": 2, "temperature": 0.9})
    (block,) = given.control
    sampler = block.begin(given, {"temperature": chosen} if chosen else {}).sample
    assert isinstance(sampler, Probes)
    own = sampler.sampler.model_dump()["temperature"]
    assert own == (chosen or 0.9)
    assert set(sampler.temperatures) == set(GRID) - {own}


def test_a_sampler_without_a_temperature_is_refused():
    with pytest.raises(
        ValueError, match=r"stages.main.control.adapt: it sets sample.temperature, which 'search' does not have"
    ):
        stage(SEARCH)


def test_a_sampler_that_writes_tasks_is_refused():
    with pytest.raises(ValueError, match="'self_play' writes tasks, whose answers have no balance score"):
        Adapt(temperatures=GRID).check(stage({"type": "self_play"}))


def test_probes_are_of_a_share_of_the_tasks_and_numbered_through():
    block = Probes.model_validate(
        {"sampler": {"type": "iid", "k": 2, "temperature": 0.5}, "temperatures": (0.7, 1.0), "share": 0.5}
    )
    assert check_block(block, sums()) == []
    context = Context(models={"policy": ScriptedModel("1", "2", "3")})
    groups = [asyncio.run(block.sample(task, context)) for task in sums(200)]
    sampled = [[rollout.temperature for rollout in group.rollouts] for group in groups]
    assert {tuple(each) for each in sampled} == {(0.5, 0.5), (0.5, 0.5, 0.7, 0.7, 1.0, 1.0)}
    assert 70 < sum(len(each) == 6 for each in sampled) < 130
    assert all([rollout.index for rollout in group.rollouts] == list(range(len(group.rollouts))) for group in groups)
