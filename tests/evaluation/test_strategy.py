"""Strategy: the answer that counts is the search's own, the vote's, or any; the budget is in tokens."""

import pytest

from selftaught.blocks import Context
from selftaught.evaluation.strategy import Strategy
from selftaught.recipe import Recipe
from selftaught.records import Group, Rollout, Turn, Verdict
from selftaught.sampling.budget import Budget
from tests.curation.trees import TASK, grown
from tests.search.scripted import Scripted

IID = {"type": "iid", "k": 4}


def strategy(pick, sample=IID):
    return Strategy.model_validate({"type": "strategy", "label": "it", "pick": pick, "sample": sample})


def sampled(*answers):
    """A verified group of these answers; those that end with `!` are right."""
    rollouts = tuple(
        Rollout(task=TASK.id, index=i, model="m", turns=(Turn(content=text),), temperature=1.0)
        for i, text in enumerate(answers)
    )
    verdicts = tuple((Verdict.of("v", text.endswith("!")),) for text in answers)
    return Group(task=TASK, rollouts=rollouts, verdicts=verdicts)


@pytest.mark.parametrize(
    ("answers", "first", "vote", "found", "each"),
    [(("4!", "5", "5"), 1, 0, 1, 1 / 3), (("5", "4!", "4!"), 0, 1, 1, 2 / 3), (("5", "6", "7"), 0, 0, 0, 0)],
)
def test_what_counts_is_what_is_picked(answers, first, vote, found, each):
    group = sampled(*answers)
    assert [strategy(pick).value(group) for pick in ("answer", "vote", "any", "each")] == [first, vote, found, each]


def test_a_search_is_measured_by_the_answer_that_it_stands_by():
    group = grown({"right": True, "wrong": False})
    for answer, value in ((1, 1.0), (2, 0.0), (-1, 0.0)):
        stood_by = group.model_copy(update={"tree": group.tree.model_copy(update={"answer": answer})})
        assert strategy("answer").value(stood_by) == value


def test_scores_carry_the_label_and_the_sampler_is_the_strategy():
    metric = strategy("any", {"type": "search", "limits": {"tokens": 64}})
    assert metric.name == "it"
    assert metric.sampler().limits.tokens == 64
    assert metric.roles() == {"policy"}


class Saying(Scripted):
    async def chat(self, messages, *, n=1, **_):
        return await self.complete(messages, n=n)


@pytest.mark.parametrize(("tokens", "k", "rollouts"), [(1, 2, 2), (4, 2, 4), (5, 2, 6), (5, 5, 5)])
async def test_a_budget_is_spent_in_requests_of_k(tokens, k, rollouts):
    group = await Budget(k=k, tokens=tokens).sample(TASK, Context(models={"policy": Saying()}))
    assert [rollout.index for rollout in group.rollouts] == list(range(rollouts))
    assert group.new_tokens == rollouts


async def test_an_engine_that_says_nothing_is_not_asked_for_ever():
    class Silent(Scripted):
        async def chat(self, messages, *, n=1, **_):
            return [c.__class__("", (), (), "stop", 1) for c in await self.complete(messages, n=n)]

    group = await Budget(k=2, tokens=10).sample(TASK, Context(models={"policy": Silent()}))
    assert len(group.rollouts) == 2


def test_the_baseline_of_strategies_trains_nothing_and_has_equal_budgets():
    from pathlib import Path

    recipe = Recipe.load(Path(__file__).parents[2] / "recipes" / "tot-baseline.yaml")
    (stage,) = recipe.stages
    assert not stage.train
    assert {getattr(m.sampler(), "tokens", None) for m in stage.evaluate if m.name in ("vote", "any-right")} == {256}
