"""Answer match against its own gold (1) and against texts that must not pass (0)."""

import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selftaught.records import Message, Rollout, Task, Turn
from selftaught.verification.answer_match import AnswerMatch

QUESTION = "Tom has 31 apples and gives away 8. How many apples does Tom have left?"


def task(answer, question=QUESTION):
    return Task(messages=(Message(role="user", content=question),), answer=answer, source="test")


def verdict(text, of, finish_reason="stop", **fields):
    turn = Turn(content=text)
    rollout = Rollout(task=of.id, index=0, model="m", turns=(turn,), temperature=1.0, finish_reason=finish_reason)
    return AnswerMatch(**fields).verdict(of, rollout)


GOLDS = ["23", "-7", "1/2", "0.25", "1,234", "$5.50", "50%", r"\frac{3}{4}", r"2\sqrt{3}", "x^2+1", "(1, 2]", "Paris"]


@pytest.mark.parametrize("gold", GOLDS)
@pytest.mark.parametrize("form", ["{}", r"So it is \boxed{{{}}}.", "The answer is {}.", "Because 3 > 2.\n#### {}"])
def test_its_own_gold_scores_one(gold, form):
    assert verdict(form.format(gold), task(gold)).score == 1


@pytest.mark.parametrize(
    "text",
    ["", "  ", QUESTION, f"\n{QUESTION}\n", r"\boxed{23} or \boxed{24}", "The answer is 23 or 24.", "22", "I give up."],
)
def test_empty_echoed_hedged_and_wrong_answers_score_zero(text):
    assert verdict(text, task("23")).score == 0


def test_an_echoed_question_fails_where_its_last_number_is_the_answer():
    tricky = task("8", question="Tom has 16 apples and gives half of them away. Half of 16 is how much? Hint: 8")
    assert verdict(tricky.question, tricky).score == 0
    assert verdict(f"{tricky.question}\nHalf of 16 is 8.", tricky).score == 1


@given(gold=st.integers(-9999, 9999), said=st.integers(-9999, 9999))
def test_another_number_never_passes(gold, said):
    assume(gold != said)
    assert not verdict(f"So the answer is {said} apples.", task(str(gold))).passed


def test_a_task_without_an_answer_gives_an_error_and_no_score():
    said = verdict("23", task(None))
    assert said.score is None
    assert "no answer" in said.error


def test_words_that_were_cut_off_are_no_answer():
    """It may have been on the way to Rome, New York."""
    assert not verdict(r"So \boxed{5}. The answer is Rome", task("Rome"), finish_reason="length").passed


@pytest.mark.parametrize("reason", ["length", "abort", "error", "content_filter"])
def test_what_was_broken_off_has_an_answer_only_where_it_is_stated_whole(reason):
    of = task("7")
    assert verdict("The answer is 7", of).passed
    assert verdict("The answer is 7", of, reason).reason == f"no single final answer, ended by {reason}"
    assert not verdict("3 + 4 = 7 and th", of, reason).passed
    assert verdict("The answer is 7.\nNow", of, reason).passed
    assert verdict(r"So \boxed{7} and th", of, reason).passed


def test_an_answer_that_is_too_much_to_compare_is_wrong_and_says_so():
    said = verdict(r"\boxed{((9!)!)!}", task("7"))
    assert (said.score, said.error) == (0, None)
    assert "too much to compare" in said.reason


def test_a_degenerate_answer_is_wrong_and_no_error():
    said = verdict("The answer is " + "7" * 4400, task("7"))
    assert (said.score, said.error) == (0, None)
    assert len(said.reason) < 500


def test_tolerance_is_absolute_and_relative():
    assert not verdict("0.03", task("0.02"), tolerance=0.02).passed
    assert verdict("3.15", task("3.14"), tolerance=0.02).passed
    assert not verdict("3.17", task("3.14"), tolerance=0.02).passed


def test_a_thousand_rollouts_take_less_than_two_seconds():
    of = task("23")
    texts = [f"Tom had 31 apples. He gave 8 away. 31 - 8 = {n}. So he has {n} apples left." for n in range(1000)]
    start = time.thread_time()  # other threads, which earlier tests may have left, are not its affair
    assert sum(verdict(text, of).passed for text in texts) == 1
    assert time.thread_time() - start < 2


def test_plain_numbers_are_compared_without_algebra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)  # what asks it raises ImportError
    assert verdict("31 - 8 = 23. So he has 23 apples left.", task("23")).passed
    assert not verdict("31 - 8 = 24. So he has 24 apples left.", task("23")).passed
