"""Equations: what is judged, what is passed over, and that every true calculation passes however it is written."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import Message, Rollout, Task, Turn
from selftaught.verification.equations import Equations, equations

TASK = Task(messages=(Message(role="user", content="?"),), answer="1", source="test")


def verdict(text: str, **fields: int):
    rollout = Rollout(task=TASK.id, index=0, model="", turns=(Turn(content=text),), temperature=0)
    return Equations(**fields).verdict(TASK, rollout)


HOLDS = [
    "a total of 10 + 160 = 170",
    "Each 5-pound bag has 5*16 = 80 ounces",
    "at $3.00/gallon it is 10*3 = $30",
    "12/6 = 2 times a year",
    "210 * 2 = 420kg.",
    "1/2 + 1/4 = 3/4",
    "2 * 3 = 12/2",
    "2 * 3 = 5 + 1",
    "4 * 5 = 10 * 2",
    "- 12 + 7 = 19",
    "* 12 + 7 = 19",
    "• 12 + 7 = 19",
    "1. 12 + 7 = 19",
    "1) 12 + 7 = 19",
    "a) 12 + 7 = 19",
    "Total: 12 + 7 = 19",
    "Step 1: 12 + 7 = 19",
    "Step 2 - 12 + 7 = 19",
    "**12 + 7 = 19**",
    "*12 + 7 = 19*",
    "_12 + 7 = 19_",
    "`12 + 7 = 19`",
    "> 12 + 7 = 19",
    "## 12 + 7 = 19",
    "| 12 + 7 = 19 |",
    "(12 + 7 = 19)",
    "[12 + 7 = 19]",
    "12 + 7 = \\boxed{19}",
    "$12 + 7 = 19$",
    "\\(12 + 7 = 19\\)",
    "\\[12 + 7 = 19\\]",
    "$$12 + 7 = \\boxed{19}$$",
    "12 + 7 = (19)",
    "12 + 7 == 19",
    "12 + 7 =\n19",
    "12 + 7 = **19**",
    "12 + 7 = $19",
    "$12 + $7 = $19",
    "3² + 1 = 10",
    "2^3 = 8",
    "2^{3} + 1 = 9",
    "\\frac{1}{2} + \\frac{1}{4} = \\frac{3}{4}",
    "\\frac12 * 4 = 2",
    "1/2 * 10 = 5",
    "2(3 + 4) = 14",
    "(2 + 3)(4) = 20",
    "5 - 8 = -3",
    "-3 + 5 = 2",
    "- -3 + 5 = 2",
    "12 + 7 = 19 apples",
    "12 apples + 7 apples = 19 apples",
    "10 / 3 = 3.33",
    "10 / 4 = 2.5",
    ".5 + .5 = 1",
    "2 1/2 + 1/2 = 3",
    "12 – 7 = 5",
    "12 − 7 = 5",
    "6 × 7 = 42",
    "6 x 7 = 42",
    "5 apples x $3 = $15",
    "8 ÷ 2 = 4",
    "1,200 * 2 = 2,400",
    "19 = 12 + 7",
    "3 + 4 = 7 = 14 / 2",
    "So 12 + 7 = 19, and 3 + 4 = 7.",
    "12 + 7 = 19 (apples)",
    "5 boxes * 23 cards per box = 115 cards",
    "First, 5 x 7 = 35, then 35 + 3 = 38.",
    "-6+( -6)/2 = -9",
    "12 and 7 + 3 = 10",
    "3 + 4 = 7 apples and 2 pears",
    "Cost per week: 3 * 4 = 12",
    "5 m + 7 m = 12 m",
    "12 + 7 = 19.",
    "12 + 7 = 19!",
    "12 + 7 = 19?",
    "5 + 3 = 8!",
]

FALSE = [
    "a total of 10 + 160 = 171",
    "Each 5-pound bag has 5*16 = 81 ounces",
    "at $3.00/gallon it is 10*3 = $31",
    "Total: 12 + 7 = 20",
    "Step 1: 12 + 7 = 20",
    "Step 2 - 12 + 7 = 20",
    "1) 12 + 7 = 20",
    "1. 12 + 7 = 20",
    "**12 + 7 = 20**",
    "*12 + 7 = 20*",
    "`12 + 7 = 20`",
    "12 + 7 = \\boxed{20}",
    "12 + 7 = (20)",
    "12 + 7 == 20",
    "12 + 7 =\n20",
    "12 + 7 = **20**",
    "- 12 + 7 = 20",
    "* 12 + 7 = 20",
    "• 12 + 7 = 20",
    "> 12 + 7 = 20",
    "| 12 + 7 = 20 |",
    "(12 + 7 = 20)",
    "$12 + 7 = 20$",
    "\\[12 + 7 = 20\\]",
    "$$12 + 7 = \\boxed{20}$$",
    "Total: 12 + 7 = 20. So 5 + 5 = 10",
    "1/2 + 1/4 = 3/5",
    "2 * 3 = 12/3",
    "2 * 3 = 5 + 2",
    "4 * 5 = 10 * 3",
    "3² + 1 = 11",
    "2^3 = 9",
    "\\frac{1}{2} + \\frac{1}{4} = \\frac{2}{4}",
    "10 / 3 = 3.34",
    "20 = 12 + 7",
    "2(3 + 4) = 15",
    "5 - 8 = 3",
    "-3 + 5 = 8",
    "12 apples + 7 apples = 20 apples",
    "$12 + $7 = $20",
    "6 × 7 = 43",
    "12 – 7 = 6",
    "1,200 * 2 = 2,500",
    "3 + 4 = 8 + 2 = 10",
    "12 + 7 = 20 (apples)",
    "1/0 + 1 = 7",
    "12 and 7 + 3 = 11",
    "Answer: 12 + 7 = 20",
    "Therefore: 3 * 4 = 13.",
    "2 1/2 + 1/2 = 4",
    "5 m + 7 m = 13 m",
    "15 + 6 = 11",
    "8 boxes * 15 loose cards = 135 cards",
    "Cost per week - 3 days: 3 * 4 = 13",
    "=> 12 + 7 = 20",
    "→ 12 + 7 = 20",
]

UNJUDGED = [
    "12 apples = 5 + 8",
    "4 gallons = 4 * 8 pints",
    "12 apples = 5 + 7",
    "1/2 of 10 + 5 = 10",
    "7 / 2 = 3 with a remainder of 1",
    "4 / 3 = 1 and 1/3",
    "2000 / 2/3 = 3000",
    "Week 1 + Week 2 = 35 + 35",
    "12 + 7 = 19 - so it is",
    "17 / 5 = 3 remainder 2",
    "17 / 5 = 3 R 2",
    "17 / 5 = 3 R2",
    "17 / 5 = 3 r 2",
    "x + 3 = 7",
    "2x + 3 = 7",
    "3 + 2x = 7",
    "x^2 + 3 = 12",
    "20% of 50 + 1 = 11",
    "50 * 20% = 10",
    "20 - Max = 20",
    "y = 4",
    "12 + 7 = 19 + x",
    "12 + 7 = 20 - x",
    "12 + 7 = ?",
    "12 + 7 = x",
    "5 + 3 >= 7",
    "12 + 7 != 20",
    "12 + 7 ≠ 20",
    "12 + 7 ≈ 20",
    "2 million + 3 = 5",
    "500 thousand + 500 thousand = 1 million",
    "half of 10 + 2 = 7",
    "3 times 4 + 2 = 14",
    "f(2) + 3 = 7",
    "3:30 + 1:15 = 4:45",
    "1:15 + 2 = 3:15",
    "H2O + 3 = 5",
    "5! + 1 = 121",
    "12 + 7 = 3x",
    "12 + 7 = 2^x",
    "12 + 7 = 50%",
    "x = 5 + 3",
    "Day 2 = 10 + 5",
    "12 + 7 = 7 apples - 3",
    "10 mod 3 + 1 = 2",
    "√16 + 3 = 7",
    "3 squared + 1 = 10",
    "9**9**9**9 = 1",
    "12 + 7 = twenty",
    "a_1 + 3 = 4",
]


def judged(text: str) -> str:
    found = [each.holds() for each in equations(text)]
    return "false" if False in found else "holds" if True in found else "unjudged"


@pytest.mark.parametrize(
    ("text", "as_what"),
    [(text, "holds") for text in HOLDS]
    + [(text, "false") for text in FALSE]
    + [(text, "unjudged") for text in UNJUDGED],
)
def test_a_line_is_judged_as_it_is_meant(text: str, as_what: str):
    assert judged(text) == as_what


@pytest.mark.parametrize("text", [text for text in HOLDS if "So" not in text])
def test_right_calculations_count_however_they_are_written(text: str):
    assert verdict(text, at_least=1).passed


def test_a_false_line_beside_a_true_one_is_seen():
    found = verdict("Total: 12 + 7 = 20. So 5 + 5 = 10", at_least=1)
    assert found.reason == "12 + 7 is not 20"


@pytest.mark.parametrize(
    "frame",
    ["{}", "- {}", "3) {}", "Total: {}", "**{}**", "${}$", "So {}.", "| {} |", "({})", "> {}", "Step 2: {}"],
)
@given(a=st.integers(0, 999), b=st.integers(1, 999), c=st.integers(1, 99), off=st.integers(-2, 2))
def test_both_sides_are_calculated_whatever_is_around_them(frame: str, a: int, b: int, c: int, off: int):
    line = frame.format(f"{a} + {b} * {c} = {a + b * c + off} / 1")
    assert judged(line) == ("holds" if off == 0 else "false")


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
        "2^3 = 8 and 20% of 50 = 10",  # a percentage
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
    assert verdict("1 + 1 = 3", at_least=1).reason == "1 + 1 is not 3"  # what is false is the better reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("22 - 2 = 20\nThe answer is 2.", "the last equation comes to 20, the answer is 2"),
        ("The answer is 2.", "the last equation comes to nothing, the answer is 2"),
        ("22 - 2 = 20\n20 - 19 = 2\nThe answer is 2.", "20 - 19 is not 2"),
    ],
)
def test_an_answer_that_no_calculation_comes_to_fails_where_that_is_asked(text: str, reason: str):
    found = verdict(text, last="answer")
    assert not found.passed
    assert found.reason == reason


@pytest.mark.parametrize(
    "text", ["22 - 2 = 20\nThe answer is 20.", "1 / 2 = 0.5\nThe answer is 1/2.", "2 * 3 = 6 and 6 + 1 = 7\nAnswer: 7"]
)
def test_an_answer_that_the_last_calculation_comes_to_passes(text: str):
    assert verdict(text, last="answer").passed


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
