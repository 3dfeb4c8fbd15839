"""Advantages: the papers' formulas, and which rollouts have one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Context
from selftaught.core.errors import BadRecipe
from selftaught.curation.accepted import Accepted
from selftaught.curation.advantages import Advantages
from selftaught.curation.transcripts import Transcripts
from selftaught.recipe import Recipe
from selftaught.records import Verdict
from selftaught.sampling.dialogue import Dialogue
from selftaught.sampling.iid import IID
from selftaught.testing import ScriptedModel, sums
from tests.curation.test_base import group

rewards = st.lists(st.floats(-4, 4), min_size=2, max_size=12)


def made(curator: Advantages, *groups):
    return list(curator.curate(groups, 0))


def advantages(curator: Advantages, *groups) -> list[float]:
    return [example.sequences[0][1].advantages[0] for example in made(curator, *groups)]


@given(rewards)
def test_the_advantages_of_a_group_add_up_to_nothing(found: list[float]):
    for baseline in ("group", "leave_one_out"):
        assert sum(Advantages(baseline=baseline).advantages(found)) == pytest.approx(0, abs=1e-6)


@given(rewards, st.floats(-3, 3))
def test_a_constant_on_every_reward_changes_nothing(found: list[float], constant: float):
    for baseline in ("group", "leave_one_out"):
        plain, moved = (
            Advantages(baseline=baseline).advantages(each) for each in (found, [r + constant for r in found])
        )
        assert moved == pytest.approx(plain, abs=1e-6)


@given(rewards)
def test_leaving_oneself_out_is_the_mean_as_a_baseline_times_k_over_k_minus_1(found: list[float]):
    k = len(found)
    mean, others = (Advantages(baseline=each).advantages(found) for each in ("group", "leave_one_out"))
    assert others == pytest.approx([each * k / (k - 1) for each in mean], abs=1e-6)


@given(st.integers(1, 7))
def test_of_right_and_wrong_the_scaled_ones_are_those_of_the_pass_rate(right: int):
    """(1 - p) / sqrt(p (1 - p)) and -p / sqrt(p (1 - p)), which is what NFT weighs its losses by."""
    p = right / 8
    found = Advantages(scale="std").advantages([1.0] * right + [0.0] * (8 - right))
    expected = [((1 - p) / p) ** 0.5] * right + [-((p / (1 - p)) ** 0.5)] * (8 - right)
    assert found == pytest.approx(expected, rel=1e-5)  # 1e-6 is added to the deviation, as in GRPO


def test_equal_rewards_say_nothing():
    assert Advantages(scale="std").advantages([1.0, 1.0]) == [0.0, 0.0]
    flat = group("q", ("a", True), ("b", True))
    assert made(Advantages(), flat) == []
    assert advantages(Advantages(drop_flat=False), flat) == [0.0, 0.0]


def test_rewards_that_differ_by_rounding_are_equal():
    found = group("q", ("a", True), ("b", True))
    scores = [((0.1, 0.2), (0.3, 0.0))[at] for at in range(2)]
    verdicts = tuple((Verdict(verifier="v", score=one), Verdict(verifier="w", score=other)) for one, other in scores)
    found = found.model_copy(update={"verdicts": verdicts})
    curator = Advantages(rewards={"v": 1.0, "w": 1.0}, scale="std")
    assert made(curator, found) == []
    assert advantages(curator.model_copy(update={"drop_flat": False}), found) == pytest.approx([0, 0], abs=1e-9)
    assert max(map(abs, Advantages(scale="std").advantages([0.7, 0.7000001]))) < 0.1


@pytest.mark.parametrize("baseline", ["group", "leave_one_out", "batch", 0.5])
def test_a_task_of_equal_rewards_is_scaled_to_nothing(baseline: Any):
    groups = [group("q", ("a", True), ("b", True)), group("p", ("c", False), ("d", True))]
    found = made(Advantages(baseline=baseline, scale="std", drop_flat=False), *groups)
    by_text = {e.completion[0].content: e.sequences[0][1].advantages[0] for e in found}
    assert by_text["a"] == by_text["b"] == 0.0
    assert max(map(abs, by_text.values())) < 3


def test_a_rollout_without_one_of_the_scores_that_the_reward_is_made_of_has_none():
    """A judge that is not required may fail to answer: that is no score of 0."""
    found = group("q", ("a", True), ("b", True), ("c", True))
    judge = [Verdict(verifier="judge", score=each, required=False) for each in (0.9, 0.8)]
    judge.append(Verdict.errored("judge", "timed out").model_copy(update={"required": False}))
    verdicts = tuple((*each, one) for each, one in zip(found.verdicts, judge, strict=True))
    found = found.model_copy(update={"verdicts": verdicts})
    assert advantages(Advantages(rewards={"judge": 1.0}), found) == pytest.approx([0.05, -0.05])
    assert len(Advantages(rewards={"v": 1.0}).rewarded(found)) == 3


def test_a_baseline_of_all_tasks_is_the_mean_over_their_rollouts():
    groups = [group("q", ("a", True), ("b", True)), group("p", ("c", False), ("d", False))]
    found = {e.completion[0].content: e.sequences[0][1].advantages[0] for e in made(FLAT, *groups)}
    assert found == {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}


FLAT = Advantages(baseline="batch")
"""A task whose rewards are equal differs from the others all the same, so that it is kept whatever `drop_flat` says."""


def test_a_baseline_may_be_a_number():
    assert sorted(advantages(Advantages(baseline=0.25), group("q", ("a", True), ("b", False)))) == [-0.25, 0.75]


def test_rewards_are_the_scores_of_the_verifiers_that_are_named():
    found = group("q", ("a", True), ("b", False))
    verdicts = tuple((v, Verdict(verifier="form", score=0.5)) for (v,) in found.verdicts)
    found = found.model_copy(update={"verdicts": verdicts})
    curator = Advantages(rewards={"v": 2.0, "form": 1.0}, baseline=0)
    assert [reward for _, reward in curator.rewarded(found)] == [2.5, 0.5]


def test_a_rollout_that_nobody_could_judge_or_that_was_hinted_has_no_advantage():
    found = group("q", ("a", True), ("b", False), ("c", True), ("d", False))
    hinted = found.rollouts[2].model_copy(update={"hinted": True})
    verdicts = (*found.verdicts[:3], (Verdict.errored("v", "crashed"),))
    found = found.model_copy(
        update={"rollouts": (*found.rollouts[:2], hinted, found.rollouts[3]), "verdicts": verdicts}
    )
    assert {e.completion[0].content for e in made(Advantages(), found)} == {"a", "b"}


@pytest.mark.parametrize("said", [{"system": "Think."}, {"shots": [{"question": "2 + 2?", "answer": "4"}]}])
async def test_an_answer_is_reinforced_behind_what_it_was_asked_with(said: dict[str, Any]):
    model = ScriptedModel("The answer is 7.", "The answer is 6.")
    asked = await IID(k=2, **said).sample(sums()[0], Context(models={"policy": model}))
    judged = asked.model_copy(update={"verdicts": tuple((Verdict.of("v", passed),) for passed in (True, False))})
    assert {example.prompt for example in made(Advantages(), judged)} == {model.asked[0]}
    (imitated,) = Accepted(minimum=0).examples(judged, 0)
    assert imitated.prompt == sums()[0].messages


async def test_what_the_recipe_says_for_the_model_is_not_reinforced():
    """It is an error to recover from: where the model does, it would be taught to make it."""
    turns = [{"name": "first", "say": "It is 9."}, {"name": "second", "kind": "refinement", "ask": "Sure?", "n": 2}]
    model = ScriptedModel("The answer is 7.", "The answer is 6.")
    said = await Dialogue(turns=turns).sample(sums()[0], Context(models={"policy": model}))
    judged = said.model_copy(update={"verdicts": tuple((Verdict.of("v", passed),) for passed in (True, False))})
    learnt = [
        {each.messages[0].content: each.advantages for each in example.sequences[0] if any(each.weights)}
        for example in made(Advantages(), judged)
    ]
    assert learnt == [{"The answer is 7.": (0.5,)}, {"The answer is 6.": (-0.5,)}]


def test_a_rollout_in_which_the_model_said_nothing_has_no_advantage():
    """Its only answer was the recipe's: a dialogue may end before the policy is asked."""
    found = group("q", ("a", True), ("b", False))
    said = found.rollouts[0].turns[0].model_copy(update={"scripted": True})
    first = found.rollouts[0].model_copy(update={"turns": (said,)})
    found = found.model_copy(update={"rollouts": (first, *found.rollouts[1:])})
    assert [rollout.text for rollout, _ in Advantages().rewarded(found)] == ["b"]


def test_a_rollout_that_was_cut_off_has_one_too():
    assert len(made(Advantages(), group("q", ("a", True), ("b", False, "length")))) == 2


def test_equal_rollouts_are_one_example_that_counts_as_often_as_it_was_sampled():
    found = made(Advantages(), group("q", ("a", True), ("b", False), ("a", True), ("b", False), ("b", False)))
    assert {e.completion[0].content: e.weight for e in found} == {"a": 2.0, "b": 3.0}
    assert {e.target.mean_reward for e in found} == {0.4}


def test_the_engines_log_probabilities_stay_with_its_tokens():
    found = group("q", ("a", True), ("b", False))
    first = found.rollouts[0]
    turn = first.turns[0].model_copy(update={"token_ids": (5, 6), "logprobs": (-1.0, -2.0)})
    found = found.model_copy(update={"rollouts": (first.model_copy(update={"turns": (turn,)}), found.rollouts[1])})
    assert made(Advantages(), found)[0].sequences[0][1].logprobs == (-1.0, -2.0)


async def test_turns_are_reinforced_and_learnt_as_sampled_behind_what_the_model_was_asked_with():
    """Also where the first turn was not asked with the task; each turn's prompt is all that stands before it."""
    turns = [
        {"name": "plan", "kind": "action", "ask": "{task} Plan only.", "n": 2},
        {"name": "solution", "ask": "Now solve it."},
    ]
    model = ScriptedModel("Add.", "Guess.", "5", "6")
    found = await Dialogue.model_validate({"turns": turns}).sample(sums()[0], Context(models={"policy": model}))
    judged = found.model_copy(update={"verdicts": tuple((Verdict.of("v", right),) for right in (True, False))})
    for curator in (Advantages(), Transcripts(keep="all", train="all", prompt="as_sampled", wrong="train")):
        made = [[segment.messages for segment in each.sequences[0]] for each in curator.curate([judged], 0)]
        assert {begin for begin, *_ in made} == {model.asked[0]}
        assert {(*begin, *plan, *question) for begin, plan, question, _ in made} == set(model.asked[1:])


FIRST: list[dict[str, Any]] = [
    {"name": "draft", "by": "critic", "ask": "{task} Draft."},
    {"name": "request", "by": "user", "kind": "question", "say": "Be brief."},
    {"name": "draft", "view": "fresh", "kind": "action", "ask": "Draft."},
    {"name": "draft", "kind": "action", "ask": "{task} Draft.", "say": "Add."},
]


@pytest.mark.parametrize("first", FIRST)
async def test_what_stands_before_the_policys_first_turn_is_what_it_was_asked_with(first: dict[str, Any]):
    solve = "Use {draft}." if first.get("view") == "fresh" else "Solve it."
    block = Dialogue.model_validate({"turns": [first, {"name": "solution", "ask": solve, "n": 2}]})
    model = (
        ScriptedModel("5", "6") if "say" in first or first.get("by") == "critic" else ScriptedModel("Add.", "5", "6")
    )
    models = {"policy": model, "critic": ScriptedModel("A draft.")}
    found = await block.sample(sums()[0], Context(models=models))
    judged = found.model_copy(update={"verdicts": tuple((Verdict.of("v", right),) for right in (True, False))})
    for example in Advantages().curate([judged], 0):
        *before, said = (segment.messages for segment in example.sequences[0])
        assert tuple(message for each in before for message in each) == model.asked[-1] and said[0].content in "56"


@pytest.mark.parametrize("first", [{"system": "Be terse."}, {"view": "fresh", "ask": "{task}", "kind": "attempt"}])
def test_turns_that_were_asked_for_in_several_conversations_are_not_trained_as_one(first: dict[str, Any]):
    """The second by its own prompt, or the first by a system message that the second does not see."""
    turns = [{"name": "attempt"}, {"name": "second", "ask": "Sure?"}]
    turns = [turns[0] | first, turns[1]] if "system" in first else [turns[0], turns[1] | first | {"ask": "{attempt}"}]
    assert not Dialogue.model_validate({"turns": turns}).is_one_conversation
    assert Dialogue.model_validate({"turns": [{"name": "only", "system": "Be terse."}]}).is_one_conversation
    recipe = Recipe.load("grpo").model_dump(mode="json")
    recipe["stages"][0]["sample"] = {"type": "dialogue", "turns": turns}
    with pytest.raises(BadRecipe, match="'advantages' trains what the policy said as one conversation"):
        Recipe.parse(json.dumps(recipe))


def test_rollouts_that_would_be_too_long_to_train_are_refused():
    """Long failures would never be learnt, while the others' advantages count them."""
    recipe = Recipe.load("grpo").model_dump(mode="json")
    recipe["stages"][0]["sample"]["max_tokens"] = 1024
    with pytest.raises(BadRecipe, match="max_length: 1024 leaves out rollouts of which sample allows 1024 new tokens"):
        Recipe.parse(json.dumps(recipe))


TWO: dict[str, Any] = {
    "curate": [{"type": "advantages"}, {"type": "references"}],
    "train": [{"type": "sft"}, {"type": "policy_gradient"}],
}


@pytest.mark.parametrize("other", [{"replay": 8}, {"sample_from": "base"}, {"train_from": "head"}, TWO])
def test_the_old_policy_is_not_computed_by_one_that_did_not_sample(other: dict[str, Any]):
    recipe = Recipe.load("grpo").model_dump(mode="json")
    del recipe["stages"][0]["online"]
    recipe["stages"][0] |= other
    with pytest.raises(BadRecipe, match=r"old: recomputed takes the policy that training starts from .* old: sampled"):
        Recipe.parse(json.dumps(recipe))
    recipe["stages"][0]["train"][-1]["old"] = "sampled"
    assert Recipe.parse(json.dumps(recipe))


def test_online_the_engines_log_probabilities_are_not_asked_for():
    recipe = Recipe.load("grpo").model_dump(mode="json")
    recipe["stages"][0]["train"][0]["old"] = "sampled"
    with pytest.raises(BadRecipe, match=r"online: train\.old: sampled has no effect there"):
        Recipe.parse(json.dumps(recipe))
