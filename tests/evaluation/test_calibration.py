"""Calibration: what is said of answers is held against the truth, and its figures of all tasks come through scores."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Context, Sampler, Verifier
from selftaught.core.pooled import Opinions, figures
from selftaught.core.runner import Forgetful
from selftaught.evaluation.calibration import Calibration
from selftaught.evaluation.runner import evaluate, paired, summarise
from selftaught.records import Group, Message, Task, TaskScore
from selftaught.sampling.runner import sample
from selftaught.testing import ScriptedModel
from selftaught.verification.runner import verify

RIGHT, WRONG = "The answer is 5.", "The answer is 6."
YES, NO, SILENT = "That is right.", "That is wrong.", "Well."
TURNS: tuple[dict[str, Any], ...] = (
    {"name": "attempt"},
    {"name": "check", "kind": "verification", "ask": "Is that right?"},
)
AGAIN = {"name": "second", "kind": "refinement", "ask": "Answer again."}


def metric(*more: dict[str, Any], **of: Any) -> Calibration:
    said = {"type": "stated", "turn": "check", **of}
    return Calibration.model_validate({"sample": {"type": "dialogue", "turns": [*TURNS, *more]}, "of": said})


def quiet(*_: object, **__: object) -> None:
    pass


async def scores(block: Calibration, *said: tuple[str, ...]) -> list[TaskScore]:
    """Those of a model that says `said`, a task each, of tasks whose answer is 5."""
    asked = [(Message(role="user", content=f"What is {at} + {5 - at}?"),) for at in range(len(said))]
    tasks = [Task(messages=each, answer="5", source="sums", split="report", template="t") for each in asked]
    by_task = dict(zip((task.id for task in tasks), said, strict=True))

    async def sampled(wanted: Sequence[Task], sampler: Sampler) -> list[Group]:
        groups: list[Group] = []
        for task in wanted:
            context = Context(models={"policy": ScriptedModel(*by_task[task.id])})
            groups += await sample([task], sampler, context, Forgetful[Group](), quiet)
        return groups

    async def verified(groups: Sequence[Group], by: Sequence[Verifier]) -> list[Group]:
        return await verify(groups, by, Context(), quiet)

    return await evaluate(tasks, [block], Context(models={"policy": ScriptedModel("")}), sampled, verified)


async def test_the_truth_is_said_of_two_answers_and_nothing_of_one():
    found = {s.metric: s.mean for s in summarise(await scores(metric(), (RIGHT, YES), (WRONG, NO), (RIGHT, SILENT)))}
    assert found["calibration"] == pytest.approx(2 / 3)
    assert found["calibration.said"] == pytest.approx(2 / 3)
    assert {found[f"calibration.{name}"] for name in ("accuracy", "f1", "auroc")} == {1.0}


async def test_a_model_that_never_says_anything_is_measured():
    found = {s.metric: s.mean for s in summarise(await scores(metric(), (RIGHT, SILENT), (WRONG, SILENT)))}
    assert found == {"calibration": 0, "calibration.said": 0}


@given(st.lists(st.tuples(st.sampled_from([RIGHT, WRONG]), st.integers(0, 10)), min_size=2, max_size=8))
@settings(max_examples=15, deadline=None)
async def test_scores_of_a_set_have_the_pooled_figures_as_their_means(said: list[tuple[str, int]]):
    block = metric(what="confidence")
    measured = await scores(block, *((answer, f"Confidence: {sure}") for answer, sure in said))
    found = {s.metric: s.mean for s in summarise(measured)}
    direct = figures(Opinions.of([[(sure / 10, answer == RIGHT)] for answer, sure in said]))
    for name, values in direct.items():
        assert found[f"calibration.{name}"] == pytest.approx(values.mean())
    assert found.keys() <= set(block.scored)


async def test_a_figure_that_one_model_has_not_is_not_compared():
    """All answers of the second are right, so its AUROC is not defined."""
    one = await scores(metric(), (RIGHT, YES), (WRONG, YES))
    other = [each.model_copy(update={"model": "other"}) for each in await scores(metric(), (RIGHT, YES), (RIGHT, NO))]
    gains = {gain.metric: gain.gain for gain in paired([*one, *other], one[0].model, "other")}
    assert "calibration.auroc" not in gains
    assert gains["calibration.brier"] == pytest.approx(0)


async def test_what_is_said_is_of_the_answer_before_it_and_not_of_a_later_one():
    measured = await scores(metric(AGAIN), (WRONG, NO, RIGHT), (WRONG, NO, WRONG))
    assert {s.metric: s.mean for s in summarise(measured)}["calibration"] == 1


async def test_the_score_of_any_verifier_is_an_opinion():
    """Of every answer: here both of a dialogue."""
    block = Calibration.model_validate(
        {"sample": {"type": "dialogue", "turns": [TURNS[0], AGAIN]}, "of": {"type": "rules", "max_chars": 18}}
    )
    found = {s.metric: s.mean for s in summarise(await scores(block, (RIGHT, WRONG), (RIGHT, "I do not know at all.")))}
    assert found["calibration"] == pytest.approx((0.5 + 1) / 2)


def test_a_turn_that_is_not_there_is_named():
    with pytest.raises(ValidationError, match="has no turn 'chekc'"):
        metric(turn="chekc")
