"""What a recipe may say of the model of a role, and the message where it says something else."""

import json
from typing import Any

import pytest

from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.recipe.models import IterateModel

TASKS = {"type": "word_problems", "train": 12, "gate": 24, "report": 8, "guard": 4}
STAGE = {
    "sample": {"type": "iid"},
    "verify": {"type": "answer_match"},
    "evaluate": {"type": "accuracy"},
}


def parsed(**models: Any) -> Recipe:
    """A recipe with a policy and `models`."""
    found = {"name": "roles", "models": {"policy": "a/policy"} | models, "tasks": TASKS, "stages": [STAGE]}
    return Recipe.parse(json.dumps(found, indent=1), "r.yaml")


def test_iterates_are_read_and_written_as_they_are():
    recipe = parsed(judge={"iterate": "champion"}, teacher={"line": "rft", "iterate": "previous"}, fast="a/model")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert [str(recipe.models[role]) for role in ("judge", "teacher", "fast")] == [
        "the line's champion",
        "the previous of rft",
        "a/model",
    ]
    assert recipe.policy == "a/policy"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"judge": {"iterate": "newest"}}, r"r.yaml:6: models.judge.iterate: 'newest': should be 'base', 'previous', "),
        ({"judge": {"iterat": "head"}}, r"models.judge.iterat: no such field. Did you mean 'iterate'\?"),
        ({"judge": {"line": "rft"}}, "models.judge.iterate: is missing"),
        ({"judge": 7}, "models.judge: 7: should be text"),
        ({"policy": {"iterate": "base"}}, "models: the policy is the line's base, but it is what a line begins with"),
    ],
)
def test_what_is_wrong_is_named_where_it_stands(models: dict[str, Any], message: str):
    with pytest.raises(BadRecipe, match=message):
        parsed(**models)


def test_a_recipe_of_names_alone_has_the_digest_that_it_had():
    assert parsed(judge="a/judge").model_dump(mode="json")["models"] == {"policy": "a/policy", "judge": "a/judge"}


@pytest.mark.parametrize(("line", "own"), [(None, True), ("rft", False)])
def test_a_gate_does_not_go_by_the_opinion_of_its_own_line(line: str | None, own: bool):
    from selftaught.recipe.models import independent

    models = {"policy": "a/policy", "judge": IterateModel(iterate="champion", line=line)}
    assert independent(models) == (set() if own else {"judge"})
