"""Injected errors: one step goes wrong and nothing else, the same one whenever it is asked for."""

import re
from difflib import SequenceMatcher
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Context
from selftaught.core.errors import NoAnswer
from selftaught.records import Message, Task
from selftaught.sampling.dialogue import Dialogue
from selftaught.sampling.dialogue_error import ErrorKind, with_error
from selftaught.tasks.sources.word_templates import TRAINED
from selftaught.testing import ScriptedModel, sums
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import equations

TASK = sums()[0]
KINDS: tuple[ErrorKind, ...] = ("number", "operator", "unit")
ATTEMPT = {"name": "attempt", "temperature": 0.7}
EDITED = {"name": "edited", "view": "fresh", "say": "{attempt}", "inject_error": "number"}


@st.composite
def solutions(draw: st.DrawFn) -> str:
    template = draw(st.sampled_from(TRAINED))
    return template.solution(template.operands(Random(draw(st.integers(0, 10**6)))))


def wrong(text: str) -> list[str]:
    return [f"{each.left} = {each.right}" for each in equations(text) if each.holds() is False]


@given(solutions(), st.sampled_from(["number", "operator"]), st.integers(0, 9))
@settings(max_examples=200)
def test_exactly_one_equation_of_a_right_solution_goes_wrong(solution: str, kind: ErrorKind, branch: int):
    assert not wrong(solution)
    edited = with_error(solution, (kind,), TASK, (branch,), cut=False)
    assert edited is not None
    assert len(wrong(edited)) == 1
    lines = zip(solution.splitlines(), edited.splitlines(), strict=True)
    assert sum(one != other for one, other in lines) == 1


@given(solutions(), st.lists(st.sampled_from(KINDS), min_size=1, unique=True), st.integers(0, 9))
@settings(max_examples=100)
def test_what_ends_at_the_error_ends_with_its_line_and_says_what_the_whole_does(
    solution: str, kinds: list[ErrorKind], branch: int
):
    edited, cut = (with_error(solution, kinds, TASK, (branch,), cut=cut) for cut in (False, True))
    if edited is None:
        assert cut is None
        return
    assert cut is not None and edited.startswith(cut)
    assert edited[len(cut) :] == "" or edited[len(cut)] == "\n"
    assert wrong(cut) == wrong(edited)


@given(st.text(max_size=40) | solutions(), st.permutations(KINDS), st.integers(0, 3))
@settings(max_examples=100)
def test_the_same_task_and_branch_give_the_same_error_and_only_one_place_differs(
    text: str, kinds: list[ErrorKind], branch: int
):
    edited = with_error(text, kinds, TASK, (branch,), cut=False)
    assert edited == with_error(text, kinds, TASK, (branch,), cut=False)
    assert (edited is None) >= (re.search(r"[0-9]", text) is None)
    if edited is not None:
        changes = SequenceMatcher(None, text.split(), edited.split()).get_opcodes()
        assert sum(change != "equal" for change, *_ in changes) == 1


def test_branches_have_errors_of_their_own():
    said = {with_error("2 + 3 = 5\n5 + 4 = 9", ("number",), TASK, (at,), cut=False) for at in range(20)}
    assert len(said) > 3


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("number", "She has 1,204 + 1 = 1,205 in all.", r"She has 1,204 \+ 1 = 1,[12]\d\d in all\."),
        ("number", "3 / 2 = 1.5.", r"3 / 2 = \d+\.5\."),
        ("number", "The answer is 5.", r"The answer is \d+\."),
        ("operator", "3 ÷ 2 = 1.5", r"3 [-+*] 2 = 1\.5"),
        ("operator", "2 + 2 = 4", "2 - 2 = 4"),
        ("unit", "That is 5 hours and 10 minutes.", "That is (5 minutes and 10 minutes|5 hours and 10 hours)\\."),
    ],
)
def test_what_is_swapped_is_written_alike(kind: ErrorKind, text: str, expected: str):
    edited = with_error(text, (kind,), TASK, (), cut=False)
    assert edited != text and re.fullmatch(expected, edited or "")


@pytest.mark.parametrize(
    ("kind", "text"),
    [("operator", "It is 5."), ("operator", "0 + 0 = 0"), ("unit", "5 apples"), ("number", "Five.")],
)
def test_where_nothing_can_be_swapped_there_is_no_error(kind: ErrorKind, text: str):
    task = Task(messages=(Message(role="user", content="?"),), answer="5", source="test")
    assert with_error(text, (kind,), task, (), cut=False) is None


# In a dialogue --------------------------------------------------------------------------------------------------------


async def sampled(*turns: dict[str, Any], answers: tuple[str, ...], task: Task = TASK, **context: Any):
    model = ScriptedModel(*answers)
    group = await Dialogue.model_validate({"turns": turns}).sample(task, Context({"policy": model}, **context))
    return group, model


async def test_a_right_answer_is_edited_aside_and_resumed_from_its_error():
    edited = EDITED | {"when": "passed", "end_at_error": True}
    again = {"name": "again", "view": "fresh", "ask": "{task}", "prefill": "{edited}\nWait."}
    right, failed = "2 + 3 = 5\nThe answer is 5.", "The answer is 6."
    answers = (right, failed, "\nThe answer is 5.")
    group, model = await sampled(ATTEMPT | {"n": 2}, edited, again, answers=answers, verifiers=(AnswerMatch(),))
    (first, begun), (untouched,) = (model.asked[0], model.asked[1]), group.rollouts[1].turns
    assert untouched.content == failed
    assert begun[:-1] == first
    attempt, drift, corrected = group.rollouts[0].turns
    assert drift.aside and wrong(drift.content) and "answer" not in drift.content
    assert begun[-1].content == corrected.prefill == f"{drift.content}\nWait."
    assert corrected.own == "\nThe answer is 5."
    assert attempt.content == right


async def test_what_cannot_go_wrong_is_left_out_with_what_quotes_it():
    quoting = {"name": "again", "ask": "{edited}?"}
    group, model = await sampled(ATTEMPT, EDITED, quoting, answers=("Five.",))
    assert [turn.name for turn in group.rollouts[0].turns] == ["attempt"]
    assert len(model.asked) == 1
    with pytest.raises(NoAnswer, match="can be made wrong"):
        await sampled(EDITED | {"say": "Five."}, quoting | {"view": "fresh"}, answers=("Five.",))


async def test_a_model_is_measured_behind_the_wrong_step_of_a_reference():
    task = TASK.model_copy(update={"texts": {"reference": "2 + 3 = 5\nThe answer is 5."}})
    drift = EDITED | {"say": "{text.reference}", "end_at_error": True}
    block = Dialogue.model_validate({"turns": [drift, {"name": "resumed", "prefill": "{edited}\n"}]})
    model = ScriptedModel("No: the answer is 5.")
    group = await block.sample(task, Context({"policy": model}))
    assert tuple(model.asked[0][:-1]) == task.messages == tuple(block.asked(task)[:-1])
    assert wrong(model.asked[0][-1].content)
    assert not group.rollouts[0].hinted
    assert group.rollouts[0].text.endswith("No: the answer is 5.")


@pytest.mark.parametrize(
    ("turn", "match"),
    [
        ({"name": "edited", "inject_error": "number"}, "`say` is missing"),
        ({"name": "edited", "say": "{task}", "end_at_error": True}, "nothing goes wrong without"),
        ({"name": "edited", "say": "{task}", "inject_error": "numbr"}, "number"),
        ({"name": "edited", "say": "{task}", "n": 2}, "leave out n"),
    ],
)
def test_an_error_that_has_nowhere_to_go_is_refused(turn: dict[str, Any], match: str):
    with pytest.raises(ValidationError, match=match):
        Dialogue.model_validate({"turns": [turn]})
