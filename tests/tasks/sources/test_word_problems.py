"""Word problems: right answers, disjoint sets, and the same tasks for the same seeds."""

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput
from selftaught.records import Rollout, Split, Task, Turn
from selftaught.records.dataset import digest_of
from selftaught.tasks.contamination import PAIRS, overlaps
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.tasks.sources.word_templates import HELD_OUT, TRAINED
from selftaught.tasks.splits import structure
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations

# What each story comes to, worked out from its text by hand: the generator's own formulas are not used here.
BY_HAND = {
    "buy": lambda a, b: a + b,
    "give": lambda a, b: a - b,
    "boxes": lambda a, b: a * b,
    "together": lambda a, b: a + b,
    "table": lambda a, b: a - b,
    "shelves": lambda a, b: a * b,
    "finds": lambda a, b: a + b,
    "lost": lambda a, b: a - b,
    "sells": lambda a, b: a - b,
    "joins": lambda a, b: a + b,
    "days": lambda a, b: a * b,
    "buy_give": lambda a, b, c: a + b - c,
    "three_friends": lambda a, b, c: a + b + c,
    "boxes_loose": lambda a, b, c: a * b + c,
    "boxes_give": lambda a, b, c: a * b - c,
    "lost_give": lambda a, b, c: a - b - c,
    "more_than": lambda a, b: a + (a + b),
    "bus": lambda a, b, c: a + b - c,
    "days_sells": lambda a, b, c: a * b - c,
    "boxes_buy_give": lambda a, b, c, d: a * b + c - d,
    "two_boxes": lambda a, b, c, d: a * b + c * d,
    "three_give": lambda a, b, c, d: a + b + c - d,
    "boxes_lost_give": lambda a, b, c, d: a * b - c - d,
    "garden": lambda a, b, c, d: a * b + c * d,
    "library": lambda a, b, c, d: a + b + c - d,
    "parking": lambda a, b: a - b,
    "pages": lambda a, b: a + b,
    "tickets": lambda a, b: a * b,
    "candles": lambda a, b: a - b,
    "chairs": lambda a, b: a * b,
    "tank": lambda a, b, c: a + b + c,
    "cinema": lambda a, b, c: a * b - c,
    "flock": lambda a, b, c: a + b - c,
    "savings": lambda a, b, c: b * a + c,
    "watering": lambda a, b, c: a - b - c,
    "towers": lambda a, b: a + (a + b),
    "rolls": lambda a, b, c, d: a * b + c - d,
    "hotel": lambda a, b, c, d: a * b - c - d,
    "trip": lambda a, b, c, d: a * b + c * d,
    "ferry": lambda a, b, c, d: a + b + c - d,
    "wages": lambda a, b, c, d: a * b + c + d,
    "bottles": lambda a, b, c, d: a * b - c * d,
}

SEEDS = st.integers(0, 2**63 - 1)
SOURCE = WordProblems(train=40, gate=40, report=40, guard=48, levels=(1, 2, 3))


def of(tasks: list[Task], split: Split) -> list[Task]:
    return [task for task in tasks if task.split == split]


def test_every_template_is_worked_out_by_hand():
    assert {template.name for template in (*TRAINED, *HELD_OUT)} == set(BY_HAND)


@settings(max_examples=25)
@given(SEEDS)
def test_answers_follow_from_template_and_operands(seed: int):
    for task in SOURCE.draw(Draw(campaign=seed, round=seed)):
        assert task.answer == str(BY_HAND[str(task.template)](*map(int, task.operands)))
        assert int(task.answer) > 0


@settings(max_examples=25)
@given(SEEDS)
def test_the_question_names_every_operand(seed: int):
    for task in SOURCE.draw(Draw(campaign=seed, round=seed)):
        assert all(f"{operand} " in task.question or f"{operand}." in task.question for operand in task.operands)


@settings(max_examples=25)
@given(SEEDS, SEEDS, SEEDS)
def test_sets_share_no_problem_even_across_rounds(campaign: int, one: int, other: int):
    first, second = SOURCE.draw(Draw(campaign, one)), SOURCE.draw(Draw(campaign, other))
    for left, right in PAIRS:
        assert not {structure(t) for t in of(first, left)} & {structure(t) for t in of(second, right)}
        assert overlaps(of(first, left), of(second, right)) == []


@settings(max_examples=25)
@given(SEEDS, SEEDS, SEEDS)
def test_the_report_set_stays_and_the_others_change_with_the_round(campaign: int, one: int, other: int):
    first, second = SOURCE.draw(Draw(campaign, one)), SOURCE.draw(Draw(campaign, other))
    assert of(first, "report") == of(second, "report")
    if one != other:
        for split in ("train", "gate", "guard"):
            assert of(first, split) != of(second, split)


def test_another_campaign_has_another_report_set():
    assert of(SOURCE.draw(Draw(1, 5)), "report") != of(SOURCE.draw(Draw(2, 5)), "report")


def test_each_set_has_the_size_asked_for_and_no_problem_twice():
    tasks = SOURCE.draw(Draw(1, 2))
    for split, size in SOURCE.sizes().items():
        assert len({structure(task) for task in of(tasks, split)}) == len(of(tasks, split)) == size


def test_operands_the_other_way_round_are_the_same_problem():
    task = of(SOURCE.draw(Draw(1, 2)), "train")[0]
    assert structure(task) == structure(task.model_copy(update={"operands": task.operands[::-1]}))


def test_guard_problems_are_told_by_templates_that_are_never_trained_on():
    tasks = SOURCE.draw(Draw(3, 4))
    trained = {task.template for task in tasks if task.split != "guard"}
    assert trained.isdisjoint(task.template for task in of(tasks, "guard"))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_gives_problems_of_that_many_steps_only(level: int):
    tasks = WordProblems(train=9, gate=9, report=9, guard=3, levels=(level,)).draw(Draw(1, 2))
    assert {task.level for task in tasks} == {level}


def test_the_draw_is_the_same_on_every_machine():
    """And the trained pools are those of every version: measurements that are quoted were made on them."""
    drawn = SOURCE.draw(Draw(campaign=1, round=2))
    tasks = [task.model_copy(update={"texts": {}}) for task in drawn]  # they had no solutions then
    trained = digest_of([task for task in tasks if task.split != "guard"])
    assert trained == "477047caf635f25edb57107ad5ab4585f8faecfaeecce3f5419708b36f32f5c9"
    assert digest_of(of(tasks, "guard")) == "173e634a7cec1e532b250d3535ed5be122abab2744f189f96c65724a42deaf06"
    assert [task.id for task in tasks] == [task.id for task in drawn]


@settings(max_examples=25)
@given(SEEDS)
def test_every_reference_is_passed_by_the_verifiers_and_has_a_calculation_for_each_step(seed: int):
    for task in SOURCE.draw(Draw(campaign=seed, round=seed)):
        *lines, last = task.texts["reference"].splitlines()
        said = Rollout(task=task.id, index=0, model="", turns=(Turn(content=task.texts["reference"]),), temperature=1.0)
        assert AnswerMatch().verdict(task, said).passed
        assert Equations(at_least=task.level).verdict(task, said).passed
        assert len(lines) == task.level
        assert last == f"The answer is {task.answer}."


@given(SEEDS)
@settings(max_examples=25)
def test_every_program_prints_the_answer(seed: int):
    for task in SOURCE.draw(Draw(campaign=seed, round=seed)):
        printed = list[object]()
        exec(task.texts["program"], {"print": printed.append})
        assert printed == [int(task.answer or "")]


def test_a_reference_works_out_the_problems_own_operands():
    lines = ["3 * 4 = 12", "5 * 2 = 10", "12 + 10 = 22", "The answer is 22."]
    [template] = [each for each in TRAINED if each.name == "two_boxes"]
    assert template.solution({"a": 3, "b": 4, "c": 5, "d": 2}).splitlines() == lines
    assert template.program({"a": 3, "b": 4, "c": 5, "d": 2}) == "print(3 * 4 + 5 * 2)"


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_guard_has_eight_templates_a_level_in_equal_parts(level: int):
    tasks = of(WordProblems(train=1, gate=1, report=1, guard=96, levels=(level,)).draw(Draw(1, 2)), "guard")
    found = Counter(task.template for task in tasks)
    assert (len(found), set(found.values())) == (8, {12})


def test_no_two_templates_tell_the_same_story():
    items = [re.sub(r"\{.*?\}", "#", template.text) for template in (*TRAINED, *HELD_OUT)]
    assert len(set(items)) == len({template.name for template in (*TRAINED, *HELD_OUT)}) == len(TRAINED) + len(HELD_OUT)


def test_too_many_tasks_are_refused_with_the_number_that_there_is():
    with pytest.raises(BadInput, match=r"tasks\.gate: 1000 different problems asked of template 'buy' .* only about"):
        WordProblems(train=8, gate=8000, report=8).draw(Draw(1, 2))


def test_the_prompt_is_question_and_instruction_under_the_system_message():
    source = WordProblems(train=1, gate=1, report=1, system="Be brief.", instruction="One number.")
    system, user = source.draw(Draw(1, 2))[0].messages
    assert (system.role, system.content) == ("system", "Be brief.")
    assert user.role == "user"
    assert user.content.endswith("? One number.")
