"""Answers that only look like the right one, and right ones that look otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.records import Message, Rollout, Task, Turn
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.answers import compared


def passes(text: str, gold: str) -> bool:
    """Whether an answer in these words is right where `gold` is."""
    task = Task(messages=(Message(role="user", content="Which?"),), answer=gold, source="test")
    rollout = Rollout(task=task.id, index=0, model="m", turns=(Turn(content=text),), temperature=1.0)
    return AnswerMatch().verdict(task, rollout).passed


OTHERS = [
    ("8", "3 5"),
    ("3 5 9", "3 5"),
    ("E. faecalis", "E. coli"),
    ("S. Korea", "S. Africa"),
    ("J", "J. K. Rowling"),
    ("J. R. R. Tolkien", "J. K. Rowling"),
    ("x: 5", "x: 3"),
    ("P: 0.5", "P: 0.7"),
    ("(a) 5, (b) 6", "(a) 5, (b) 7"),
    ("a: 1, b: 2", "a: 5, b: 3"),
    ("3, 5", "3, 5, 5"),
    ("2<3", "1<2"),
    ("1=2", "3=4"),
    ("212_5", "212_3"),
    (r"5 \text{ and a half}", "5"),
    (r"5\text{ squared}", "5"),
    *(
        (text, "7")
        for text in (
            r"5 \to 7",
            r"5 \Rightarrow 7",
            "5 => 7",
            "3 ? 7",
            "3 | 7",
            "[2, 7",
            "5 - 6 - ? = 7",
            "5, 6, 7, ...",
            r"\neq 7",
            r"\geq 7",
            "> 7",
            r"7\text{ halves}",
            r"7\text{ tenths}",
            r"7 \text{ factorial}",
        )
    ),
]
SAME = [
    ("3  5 9", "3 5 9"),
    ("3, 5, 9", "3 5 9"),
    ("[3, 5, 9]", "3 5 9"),
    ("12 500", "12500"),
    ("1 000 000", "1,000,000"),
    ("2 1/2", "2.5"),
    ("3, 5", "5, 3"),
    ("B", "(B) Paris"),
    ("Paris", "(B) Paris"),
    ("(B) Paris is the capital", "(B) Paris"),
    ("C", "C: 12"),
    ("12", "C: 12"),
    ("(C)", "C) 12 apples"),
    ("3+4", "7"),
    ("sqrt(2)", r"\sqrt{2}"),
    (r"x \geq 7", r"7 \leq x"),
    (r"\geq 7", "≥ 7"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("x<3", r"(-\infty,3)"),
    (r"(-\infty,3)", "x<3"),
    (r"\varnothing", r"\emptyset"),
    ("212_5", "212"),
    ("1/6", "0.166667"),
    ("1/3", "0.333333"),
    ("10^5", "100000"),
]


@pytest.mark.parametrize(("answer", "gold"), OTHERS)
def test_what_only_looks_the_same_is_not(answer: str, gold: str):
    assert compared(answer, gold) == "unequal"


@pytest.mark.parametrize(("answer", "gold"), SAME)
def test_what_is_written_otherwise_is_the_same(answer: str, gold: str):
    assert compared(answer, gold) == "equal"


rows = st.lists(st.integers(-99, 99), min_size=2, max_size=6)


@given(rows, st.randoms())
def test_numbers_in_a_row_are_in_their_order(row: list[int], random):
    other = random.sample(row, len(row))
    gold, answer = (" ".join(map(str, each)) for each in (row, other))
    assert (compared(answer, gold) == "equal") == (other == row)
    assert compared(str(sum(row)), gold) == "unequal"


@given(rows, st.randoms())
def test_numbers_with_commas_between_are_in_any_and_as_often(row: list[int], random):
    gold, answer = (", ".join(map(str, each)) for each in (row, random.sample(row, len(row))))
    assert compared(answer, gold) == "equal"
    assert compared(f"{answer}, {row[0]}", gold) == "unequal"


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=4))
def test_a_grid_is_read_whole_and_no_other_passes(grid: list[list[int]]):
    gold, mirrored = ("\n".join(" ".join(map(str, row)) for row in each) for each in (grid, grid[::-1]))
    for text in (gold, f"The answer is\n{gold}", f"Turned, it is:\n{gold}\n"):
        assert passes(text, gold)
    assert passes(f"The answer is\n{mirrored}", gold) == (grid == grid[::-1])


SAID = [
    ("The answer is J. R. R. Tolkien.", "J. K. Rowling", False),
    ("The answer is J. K. Rowling.", "J. K. Rowling", True),
    ("The answer is > 7", "7", False),
    ("Answer:\n> 7", "7", True),
    ("The answer is x > 7.", "x > 7", True),
    ("The answer is ±2.", "2", False),
    ("The answer is ±2.", r"\pm 2", True),
    ("So x = ±2.", "2", False),
    ("The answer is negative 5.", "5", False),
    ("The answer is negative 5.", "-5", True),
    ("The answer is minus 5.", "-5", True),
    ("minus 5", "5", False),
    ("10 minus 5 is 5. The answer is 5.", "5", True),
    ("The answer is 5 and a half.", "5", False),
    ("The answer is not 5.", "5", False),
    ("The answer is 3 5 9.", "3 5 9", True),
    ("The answer is 3 3 3", "3 3 3", True),
    ("The answer is 3 3 3", "3", False),
    (r"\boxed{6}", "1 2 3", False),
    ("The answer is B. Because it is so.", "B", True),
    ("The answer is (B) Paris.", "B", True),
    ("The answer is 5 apples.", "5", True),
]


@pytest.mark.parametrize(("text", "gold", "right"), SAID)
def test_an_answer_is_read_with_what_changes_it(text: str, gold: str, right: bool):
    assert passes(text, gold) == right
