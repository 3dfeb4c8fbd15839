"""Stated: what a turn says of an answer is held against the truth, and what cannot be read is no guess."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Context
from selftaught.recipe import Stage
from selftaught.records import Group, Rollout, Task, Turn, Verdict
from selftaught.testing import sums
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.runner import verify
from selftaught.verification.stated import Stated

TASK = sums()[0]
RIGHT, WRONG = "The answer is 5.", "The answer is 6."


async def judged(*rollouts: tuple[str, ...], task: Task = TASK, **fields: Any) -> list[Verdict]:
    """Verdicts on rollouts of an attempt and what is said of it, and perhaps another answer."""
    kinds: list[dict[str, Any]] = [
        {"name": "attempt"},
        {"name": "check", "kind": "verification"},
        {"name": "second", "kind": "refinement"},
    ]
    made = [
        Rollout(
            task=task.id,
            index=at,
            model="m",
            turns=tuple(Turn(content=text, **kind) for text, kind in zip(texts, kinds, strict=False)),
            temperature=1.0,
        )
        for at, texts in enumerate(rollouts)
    ]
    group = Group(task=task, rollouts=tuple(made))
    return await Stated.model_validate({"turn": "check"} | fields).judge(group, Context())


@pytest.mark.parametrize(
    ("answer", "said", "passes"),
    [
        (RIGHT, "That is right.", True),
        (RIGHT, "That is wrong.", False),
        (WRONG, "Incorrect: 2 + 3 is 5.", True),
        (WRONG, "Correct.", False),
        (WRONG, "It looks right, but it is wrong.", True),
    ],
)
async def test_a_verdict_passes_if_it_is_the_truth(answer: str, said: str, passes: bool):
    (verdict,) = await judged((answer, said))
    assert (verdict.passed, verdict.score) == (passes, float(passes))


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_score_of_a_confidence_is_highest_in_expectation_where_it_is_the_probability(p: float, other: float):
    stated = Stated(turn="check", what="confidence", score="brier")

    def expected(sure: float) -> float:
        right, wrong = (stated._scored(sure, each).score for each in (True, False))  # pyright: ignore[reportPrivateUsage]
        assert right is not None and wrong is not None
        return p * right + (1 - p) * wrong

    assert expected(p) >= expected(other) - 1e-9


async def test_a_confidence_is_a_part_of_the_scale():
    said = (RIGHT, "Confidence: 9"), (WRONG, "confidence is 9.0"), (WRONG, "Confidence 2")
    found = await judged(*said, what="confidence", score="brier")
    assert [each.score for each in found] == pytest.approx([0.99, 0.19, 0.96])
    assert [each.passed for each in found] == [True, False, True]


@pytest.mark.parametrize("said", ["", "Well.", "Confidence: 11", "Confidence: high"])
async def test_what_cannot_be_read_is_an_error_and_no_guess(said: str):
    (verdict,) = await judged((RIGHT, said), what="confidence")
    assert verdict.error is not None and "no confidence can be read in turn 'check'" in verdict.error
    (failed,) = await judged((RIGHT, said), what="confidence", missing="fail")
    assert (failed.passed, failed.error) == (False, None)


async def test_it_is_about_the_answer_before_it_or_the_one_named():
    """A later answer is not what was checked."""
    (verdict,) = await judged((WRONG, "That is wrong.", RIGHT))
    assert verdict.passed
    (named,) = await judged((WRONG, "That is wrong.", RIGHT), about="attempt")
    assert named.passed


async def test_a_rollout_without_the_turn_costs_no_other_its_verdict():
    missing, found = await judged((RIGHT,), (RIGHT, "Right."))
    assert missing.error is not None and "turn 'check' was not said" in missing.error
    assert found.passed


async def test_where_the_truth_is_not_known_nothing_is_scored():
    (verdict,) = await judged((RIGHT, "Right."), task=TASK.model_copy(update={"answer": None}))
    assert verdict.error is not None and "could not be judged" in verdict.error


async def test_a_truth_that_is_not_required_decides_what_is_true_all_the_same():
    (verdict,) = await judged((WRONG, "That is right."), truth={"type": "answer_match", "required": False})
    assert not verdict.passed


async def test_a_pattern_of_ones_own_reads_the_group():
    (verdict,) = await judged((RIGHT, "<v>Yes</v>, not wrong"), pattern="<v>(.*?)</v>")
    assert verdict.passed


@pytest.mark.parametrize(("pattern", "words"), [("(", "no regular expression"), ("right", "has no group")])
def test_a_pattern_that_reads_nothing_is_refused(pattern: str, words: str):
    with pytest.raises(ValidationError, match=words):
        Stated(turn="check", pattern=pattern)


def test_a_turn_that_is_never_said_is_refused():
    stage = {
        "name": "main",
        "sample": {"type": "dialogue", "turns": [{"name": "attempt"}]},
        "verify": {"type": "stated", "turn": "chekc"},
        "curate": {"type": "accepted"},
        "train": {"type": "sft"},
        "evaluate": {"type": "accuracy"},
        "gate": None,
    }
    with pytest.raises(ValidationError, match="verify names the turn 'chekc', but sample has attempt"):
        Stage.model_validate(stage)


async def test_taken_at_its_word_it_passes_what_it_calls_right_whatever_the_truth():
    task = TASK.model_copy(update={"answer": None})
    said = await judged((WRONG, "That is right."), (RIGHT, "That is wrong."), (RIGHT, "Well."), task=task, score="said")
    assert [(each.passed, each.score) for each in said] == [(True, 1.0), (False, 0.0), (False, None)]


async def test_taken_at_its_word_it_is_a_verdict_on_the_answer_that_it_is_about():
    last, earlier = await judged((RIGHT, "Right."), (RIGHT, "Right.", WRONG), score="said")
    assert (last.turn, earlier.turn) == ("", "attempt")


async def test_an_earlier_answer_is_not_judged_by_what_is_said_of_a_later_one():
    """Attempt, second answer, check of the second: the attempt has its own verdict, and none of the check's."""
    names: tuple[tuple[str, dict[str, Any]], ...]
    names = ("attempt", {}), ("second", {"kind": "refinement"}), ("check", {"kind": "verification"})
    texts = (WRONG, RIGHT, "That is right.")
    turns = tuple(Turn(content=text, name=name, **kind) for text, (name, kind) in zip(texts, names, strict=True))
    rollout = Rollout(task=TASK.id, index=0, model="m", turns=turns, temperature=1.0, path=(0, 0, 0))
    verifiers = (AnswerMatch(), Stated(turn="check"))
    (done,) = await verify([Group(task=TASK, rollouts=(rollout,))], verifiers, Context(), lambda *_, **__: None)
    assert [(each.verifier, each.passed) for each in done.verdicts_on(0)] == [("answer_match", True), ("stated", True)]
    assert [(each.verifier, each.passed) for each in done.verdicts_on(0, "attempt")] == [("answer_match", False)]
