"""Steps with labels in three formats: what is written is read back the same, and rows as they are published are read.

The rows are written by hand in the shape of the data sets' own, their slips included.
"""

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selftaught.stepwise import math_shepherd, prm800k, trl
from selftaught.stepwise.formats import FORMATS, reader, written
from selftaught.stepwise.solution import BadRow, Solution

TEXTS = st.text(min_size=1, max_size=30).map(str.strip).filter(bool)
MARKED = st.sampled_from(["Step 1:", "step 2: x", "ки", "+", "-", "a\nb", "?", "Step 1: Step 1: y"])


@st.composite
def solutions(draw: st.DrawFn) -> Solution:
    steps = draw(st.lists(TEXTS | MARKED, min_size=1, max_size=5))
    labels = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    worth = st.lists(st.floats(0, 1), min_size=len(steps), max_size=len(steps))
    return Solution(draw(TEXTS | MARKED), tuple(steps), tuple(labels), tuple(draw(worth | st.just([]))))


@pytest.mark.parametrize("name", FORMATS)
@given(solution=solutions())
def test_what_is_written_is_read_back_through_json(name, solution):
    try:
        row = written(name, solution)
    except BadRow:
        assume(False)
    (back,) = reader(name, "wrong")(json.loads(json.dumps(row)))
    assert (back.prompt, back.steps, back.labels) == (solution.prompt, solution.steps, solution.labels)
    assert [back.worth(at) for at in range(len(back.steps))] == [solution.worth(at) for at in range(len(back.steps))]


@given(solution=solutions())
def test_every_solution_can_be_written_as_a_format_that_marks_nothing_in_texts(solution):
    assert written("trl", solution)
    assert written("prm800k", solution)


@pytest.mark.parametrize("text", ["one ки two", "as in Step 1: above"])
def test_a_text_that_holds_the_marks_of_math_shepherd_is_refused_and_not_garbled(text):
    with pytest.raises(BadRow, match="could not be read back"):
        written("math-shepherd", Solution(text, ("a",), (True,)))


# As they are published ----------------------------------------------------------------------------------------------

SHEPHERD = {
    "input": (
        "Ann has 3 bags of 4 nuts. How many nuts has she? Step 1: There are 3 bags. ки\n"
        "Step 2: 3 * 4 = <<3*4=12>>12 nuts. ки\nStep 3: The answer is: 13 ки"
    ),
    "label": (
        "Ann has 3 bags of 4 nuts. How many nuts has she? Step 1: There are 3 bags. +\n"
        "Step 2: 3 * 4 = <<3*4=12>>12 nuts. +\nStep 3: The answer is: 13 -"
    ),
    "task": "GSM8K",
}


def test_math_shepherd_as_published():
    steps = ("There are 3 bags.", "3 * 4 = <<3*4=12>>12 nuts.", "The answer is: 13")
    wanted = Solution("Ann has 3 bags of 4 nuts. How many nuts has she?", steps, (True, True, False))
    assert math_shepherd.read(SHEPHERD) == [wanted]
    again = math_shepherd.write(wanted)
    assert (again["input"], again["label"]) == (SHEPHERD["input"], SHEPHERD["label"])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"input": "How many? Step 1: one"}, "no ки"),
        ({"input": "How many? ки Step 1: one ки", "label": "How many? + Step 1: one +"}, "'Step 1:' stands 0 times"),
        ({"input": "Step 1: of what? Step 1: one ки", "label": "Step 1: of what? Step 1: one +"}, "stands 2 times"),
        ({"input": "How? Step 1: one ки and on", "label": "How? Step 1: one + and on"}, "text after the last"),
        ({"input": "How? Step 1: one ки", "label": "How? Step 1: two +"}, "another text than input before tag 1"),
        ({"input": "How? Step 1: one ки", "label": "How? Step 1: one ?"}, "neither \\+ nor - where input has tag 1"),
        ({"input": "How? Step 1: one ки", "label": "How? Step 1: one "}, "neither \\+ nor -"),
        ({"input": "How? Step 1: one ки", "label": "How? Step 1: one + +"}, "longer than input"),
        ({"input": "Step 1: one ки", "label": "Step 1: one +"}, "the question is empty"),
        ({"input": 7}, "input: Input should be a valid string"),
    ],
)
def test_math_shepherd_rows_that_cannot_be_used(changed, why):
    with pytest.raises(BadRow, match=why):
        math_shepherd.read(SHEPHERD | changed)


def completion(text, rating):
    return {"text": text, "rating": rating, "flagged": None}


def step(*completions, chosen=0, human=None):
    return {"completions": list(completions), "human_completion": human, "chosen_completion": chosen}


def annotated(*steps, ended="found_error"):
    question = {"problem": "What is 2 + 3?", "ground_truth_answer": "5", "pre_generated_steps": []}
    label = {"steps": list(steps), "total_time": 278270, "finish_reason": ended}
    return {"labeler": "340d89bc", "timestamp": "2023-01-22T04:34:27", "question": question, "label": label}


def solutions(row, **how):
    return [(each.steps, each.labels, each.values) for each in prm800k.read(row, **how)]


def test_prm800k_alternatives_are_solutions_of_their_own_and_nothing_is_said_twice():
    row = annotated(
        step(completion("We add.", 0)),
        step(completion("2 + 3 = 6", -1), completion("2 + 3 = 5", 1), completion("Hm.", None), chosen=None),
    )
    assert solutions(row) == [
        (("We add.", "2 + 3 = 6"), (True, False), (0.5, 0.0)),
        (("We add.", "2 + 3 = 5"), (True, True), (0.5, 1.0)),
    ]
    assert [labels for _, labels, _ in solutions(row, neutral=False)] == [(False, False), (False, True)]


def test_prm800k_a_human_step_is_right_and_resumed():
    row = annotated(
        step(completion("6", -1), chosen=None, human={"text": "Add.", "rating": None}), step(completion("5", 1))
    )
    assert solutions(row) == [(("6",), (False,), (0.0,)), (("Add.", "5"), (True, True), (1.0, 1.0))]


def test_prm800k_nothing_is_said_after_a_chosen_step_that_nobody_rated():
    row = annotated(step(completion("a", 1)), step(completion("b", None)), step(completion("c", 1)))
    assert solutions(row) == [(("a",), (True,), (1.0,))]
    ended = annotated(step(completion("a", 1)), {"completions": None, "human_completion": None})
    assert solutions(ended) == [(("a",), (True,), (1.0,))]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (annotated(step(completion("a", 1)), ended="bad_problem"), "bad_problem"),
        (annotated(step(completion("a", 1), chosen=1)), "chosen_completion 1 is none"),
        (annotated(step(completion("a", 2))), "label.steps.0.completions.0.rating"),
        (annotated(step(completion(" ", 1))), "step 1 is empty"),
        (annotated(), "no step is rated"),
        ({"question": {"problem": "?"}}, "label: Field required"),
        ("a text", "should be a valid dictionary"),
    ],
)
def test_prm800k_rows_that_cannot_be_used(row, why):
    with pytest.raises(BadRow, match=why):
        prm800k.read(row)


TRL = {"prompt": "2 + 3?", "completions": ["We add.", "5"], "labels": [True, False]}


def test_trl_as_published():
    (read,) = trl.read(TRL)
    assert (read.steps, read.labels, read.values) == (("We add.", "5"), (True, False), ())
    assert trl.write(read) == TRL


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"labels": [True]}, "2 steps and 1 labels"),
        ({"labels": [True, "no"]}, "labels.1"),
        ({"labels": [True, 2]}, "labels.1"),
        ({"values": [0.5]}, "2 steps and 1 values"),
        ({"values": [0.5, 1.5]}, "not in \\[0, 1\\]"),
        ({"values": [0.5, float("nan")]}, "values.1"),
        ({"completions": [], "labels": []}, "no steps"),
        ({"completions": ["a", " \n"]}, "step 2 is empty"),
        ({"completions": ["a", "\ud800"]}, "half a character"),
        ({"prompt": None}, "prompt: Input should be a valid string"),
    ],
)
def test_trl_rows_that_cannot_be_used(changed, why):
    with pytest.raises(BadRow, match=why):
        trl.read(TRL | changed)
