"""References: the tasks' own worked solutions, and nothing that was sampled."""

import pytest

from selftaught.blocks import Draw
from selftaught.core.errors import RoundFailed
from selftaught.curation.accepted import Accepted
from selftaught.curation.references import References
from selftaught.curation.runner import curate
from selftaught.records import Group, Task
from selftaught.tasks.contamination import check_examples
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.testing import check_block, sums
from selftaught.testing.checks import group_of

TASKS = WordProblems(train=20, gate=8, report=8, guard=0, levels=(1, 2)).draw(Draw(1, 2))
TRAIN = [task for task in TASKS if task.split == "train"]
HELD_OUT = [task for task in TASKS if task.split != "train"]


def groups(tasks: list[Task] = TRAIN) -> list[Group]:
    return [group_of(task, ["The answer is 0."]) for task in tasks]


def test_each_task_is_answered_by_its_solution():
    made = list(References().curate(groups(), 0))
    assert {each.task: each.completion[0].content for each in made} == {t.id: t.texts["reference"] for t in TRAIN}
    assert all(each.prompt == task.messages for each in made for task in TRAIN if task.id == each.task)


def test_another_text_may_be_the_field_and_a_task_without_it_gives_nothing():
    verbose = TRAIN[0].model_copy(update={"texts": {"verbose": "First I add. The answer is 3."}})
    made = list(References(field="verbose").curate(groups([verbose, *TRAIN[1:]]), 0))
    assert [each.completion[0].content for each in made] == ["First I add. The answer is 3."]


def test_the_cap_spreads_over_the_tasks():
    made = list(References(max_examples=7, minimum=0).curate(groups(), 0))
    assert len({each.task for each in made}) == len(made) == 7


def test_tasks_without_solutions_fail_the_round_by_the_name_of_the_text():
    with pytest.raises(RoundFailed, match=r"none of the tasks has a text 'reference'\. Take tasks that come with"):
        list(curate(groups([task.model_copy(update={"texts": {}}) for task in sums()]), [References()], 0))
    with pytest.raises(RoundFailed, match=r"'references' gave 2 examples, fewer than minimum: 16"):
        list(curate(groups(TRAIN[:2]), [References()], 0))


def test_the_solution_of_a_held_out_task_is_found_in_training_data():
    train = {task.id: task for task in TRAIN}
    assert check_examples(References().curate(groups(), 0), train, HELD_OUT) == []
    leaked = References(minimum=0).curate(groups([*TRAIN, HELD_OUT[0]]), 0)
    assert "1 examples were made from no training task" in check_examples(leaked, train, HELD_OUT)[0]


def test_it_says_that_it_learns_from_solutions_and_others_do_not():
    assert References().uses_references and not Accepted().uses_references


def test_it_holds_to_what_every_curator_does():
    assert check_block(References(minimum=0), TRAIN) == []
