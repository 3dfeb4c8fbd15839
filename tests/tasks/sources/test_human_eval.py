"""HumanEval: its solutions pass its tests, it is for reports alone, and a recipe that would train on it is refused."""

import asyncio

import pytest
from pydantic import ValidationError

from selftaught.blocks import Context, Draw
from selftaught.recipe import BadRecipe, Recipe
from selftaught.records import Task, Verdict
from selftaught.sandbox.process import refusal
from selftaught.tasks.sources.human_eval import PROBLEMS, HumanEval
from selftaught.testing.checks import group_of
from selftaught.verification.unit_tests import UnitTests
from tests.rounds import REPOSITORY


@pytest.fixture(scope="module")
def tasks() -> list[Task]:
    return HumanEval().draw(Draw(0, 0))


def test_all_problems_with_cases_are_there_once_and_stay(tasks: list[Task]):
    assert len({task.template for task in tasks}) == len(tasks) == PROBLEMS
    assert {task.split for task in tasks} == {"report"}
    assert HumanEval().draw(Draw(0, 7)) == tasks


def test_a_smaller_set_is_a_sample_of_all(tasks: list[Task]):
    one, other = ({task.id for task in HumanEval(report=40).draw(Draw(campaign, 0))} for campaign in (1, 2))
    assert len(one) == 40
    assert one != other
    assert one | other < {task.id for task in tasks}


@pytest.fixture
def _sandbox() -> None:
    if said := refusal():
        pytest.skip(said)


@pytest.mark.usefixtures("_sandbox")
async def test_every_solution_passes_and_a_constant_does_not(tasks: list[Task]):
    async def judged(task: Task) -> list[Verdict]:
        constant = f"def {task.check['entry']}(*_):\n    return None\n"
        return await UnitTests().judge(group_of(task, [f"```python\n{task.answer}```", constant]), Context())

    verdicts = await asyncio.gather(*map(judged, tasks))
    assert [task.template for task, (right, _) in zip(tasks, verdicts, strict=True) if not right.passed] == []
    assert [task.template for task, (_, none) in zip(tasks, verdicts, strict=True) if none.passed] == []


def test_there_is_nothing_to_train_on():
    with pytest.raises(ValidationError, match="train"):
        HumanEval(train=10)
    with pytest.raises(BadRecipe, match=r"human_eval has no problems to train on.*under sets: \{human-eval:"):
        Recipe.load(REPOSITORY / "recipes" / "rft.yaml", ["tasks={type: human_eval}"])


def test_a_recipe_may_report_on_it():
    recipe = Recipe.load(REPOSITORY / "recipes" / "cycle.yaml", ["sets={human-eval: {tasks: {type: human_eval}}}"])
    assert isinstance(recipe.sources["human-eval"], HumanEval)
