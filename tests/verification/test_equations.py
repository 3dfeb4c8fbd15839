"""Equations: what is judged, what is passed over, and that every true calculation passes however it is written."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import Message, Rollout, Task, Turn
from selftaught.verification.equations import Equations

TASK = Task(messages=(Message(role="user", content="?"),), answer="1", source="test")


def verdict(text: str, **fields: int):
    rollout = Rollout(task=TASK.id, index=0, model="", turns=(Turn(content=text),), temperature=0)
    return Equations(**fields).verdict(TASK, rollout)


@pytest.mark.parametrize(
    "text",
    [
        "12 + 7 = 19\nThe answer is 19.",
        "5 boxes * 23 cards per box = 115 cards",
        "First, 5 x 7 = 35, then 35 + 3 = 38.",
        "Tom has 3 + 4 = 7 apples. Then 7 - 2 = 5 = 10 / 2.",
        "$1,200 * 2 = $2,400",
        "10 / 3 = 3.33",
        "4 \\times 6 = 24 and 24 \\div 5 = 4.8",
        "(2 + 3) * 4 = 20",
        "-3 + 5 = 2",
        "There is nothing to calculate.",
        "x + 3 = 7",  # an unknown
        "2^3 = 8 and 20% of 50 = 10",  # not plain arithmetic
        "20 - Max = 20",
        "y = 4",
    ],
)
def test_what_holds_or_is_no_plain_arithmetic_passes(text: str):
    assert verdict(text).passed, verdict(text).reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("15 + 6 = 11\n19 + 2 = 21", "15 + 6 is not 11"),
        ("8 boxes * 15 loose cards = 135 cards", "8 * 15 is not 135"),
        ("3 + 4 = 8 + 2 = 10", "3 + 4 is not 8"),
        ("10 / 3 = 3.34", "10 / 3 is not 3.34"),
        ("10 / 3 = 3", "10 / 3 is not 3"),
        ("1 / 0 = 7", "1 / 0 is not 7"),
    ],
)
def test_a_false_equation_fails_and_is_shown(text: str, reason: str):
    found = verdict(text)
    assert not found.passed
    assert reason in " ".join(found.reason.split())


def test_a_number_of_equations_can_be_asked_for():
    assert verdict("1 + 1 = 2", at_least=1).passed
    assert verdict("2", at_least=1).reason == "0 equations, fewer than at_least: 1"


@given(
    st.integers(0, 9999), st.sampled_from("+-*/"), st.integers(1, 9999), st.sampled_from(["", " apples", " of them"])
)
def test_true_calculations_pass_and_false_ones_fail(a: int, op: str, b: int, unit: str):
    value = {"+": a + b, "-": a - b, "*": a * b, "/": Fraction(a, b)}[op]
    right, wrong = (str(x) if op != "/" else f"{float(x):.4f}" for x in (value, value + 1))
    assert verdict(f"So {a:,}{unit} {op} {b}{unit} = {right}{unit}.").passed
    assert not verdict(f"So {a:,}{unit} {op} {b}{unit} = {wrong}{unit}.").passed


@given(st.text(max_size=300))
def test_any_text_is_judged(text: str):
    verdict(text)


def test_long_and_deep_calculations_are_no_danger():
    assert verdict("(" * 5000 + "1" + ")" * 5000 + " + 1 = 3").passed
    assert verdict("9**9**9**9 = 1").passed
