"""Self-correction: the shares that make up the accuracy of the last answer."""

from statistics import mean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Context
from selftaught.evaluation.self_correction import SelfCorrection
from selftaught.records import Group
from selftaught.testing import ScriptedModel, sums
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.runner import verify

RIGHT, WRONG = "The answer is 5.", "The answer is 6."


def metric(**second: Any) -> SelfCorrection:
    turns = [{"name": "attempt", "n": 2}, {"name": "second", "kind": "refinement", "ask": "Sure?", **second}]
    return SelfCorrection.model_validate({"sample": {"type": "dialogue", "turns": turns}})


async def measured(*answers: str) -> tuple[SelfCorrection, Group]:
    block = metric()
    context = Context(models={"policy": ScriptedModel(*answers)})
    group = await block.sampler().sample(sums()[0], context)
    (done,) = await verify([group], (AnswerMatch(),), context, lambda *_, **__: None)
    return block, done


@given(st.lists(st.sampled_from([RIGHT, WRONG]), min_size=4, max_size=4))
@settings(max_examples=16)
async def test_the_last_is_the_first_with_what_was_fixed_and_without_what_was_spoilt(answers: list[str]):
    block, group = await measured(*answers)
    parts = block.parts(group)
    assert block.value(group) == pytest.approx(parts["first"] + parts["fixed"] - parts["spoilt"])
    assert parts["first"] == answers[:2].count(RIGHT) / 2
    assert all(0 <= part <= 1 for part in parts.values())
    pooled = block.pooled([group])
    assert {*block.scored} >= {"self_correction", *(f"self_correction.{part}" for part in (*parts, *pooled))}


@given(st.lists(st.tuples(*[st.sampled_from([RIGHT, WRONG])] * 4), min_size=1, max_size=5))
@settings(max_examples=10, deadline=None)
async def test_the_last_are_the_right_ones_that_stay_and_the_wrong_ones_that_are_put_right(said: list[tuple[str, ...]]):
    """Acc2 = Acc1 CL + (1 - Acc1) CS, and RSS is its place from Acc1^2 to 2 Acc1 - Acc1^2 (arXiv 2412.19513)."""
    found = [await measured(*answers) for answers in said]
    block, groups = found[0][0], [group for _, group in found]
    first = mean([block.parts(group)["first"] for group in groups])
    last = mean([block.value(group) for group in groups])
    pooled = {name: mean(values) for name, values in block.pooled(groups).items()}
    kept, fixed = pooled.get("confidence", 0.0), pooled.get("critique", 0.0)
    assert last == pytest.approx(first * kept + (1 - first) * fixed)
    if 0 < first < 1:
        assert last == pytest.approx(first**2 + pooled["rss"] * 2 * first * (1 - first))


async def test_each_share_counts_what_it_says():
    block, group = await measured(RIGHT, WRONG, WRONG, RIGHT)
    assert block.value(group) == 0.5
    assert block.parts(group) == {"first": 0.5, "fixed": 0.5, "spoilt": 0.5, "changed": 1.0}


def test_a_dialogue_that_is_told_what_is_wrong_is_refused():
    with pytest.raises(ValidationError, match="no self-correction"):
        metric(when="failed")


def test_turns_that_are_not_there_are_named():
    with pytest.raises(ValidationError, match="has no turn 'third'"):
        SelfCorrection.model_validate(metric().model_dump() | {"last": "third"})


def test_a_turn_that_nobody_verifies_is_no_answer():
    with pytest.raises(ValidationError, match=r"turn 'second' is no answer.*\(it has attempt\)"):
        metric(kind="critique")
