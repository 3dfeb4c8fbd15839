"""What a recipe may say of the model of a role, and the message where it says something else."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.recipe.models import ExternalModel, IterateModel

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
        ({"judge": {"url": "https://h/v1"}}, "models.judge.model: is missing"),
        (
            {"judge": {"url": "h/v1", "model": "m"}},
            "models.judge.url: is not the address of an Open",
        ),
        ({"judge": {"url": "https://h/v1?key=k", "model": "m"}}, "models.judge.url: has a name, a password or param"),
        (
            {"policy": {"url": "https://h/v1", "model": "m"}},
            "models: the policy is m at https://h/v1",
        ),
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


EXTERNAL = {"url": "https://host/v1/", "model": "gpt-x"}


def test_a_model_behind_a_url_is_known_by_its_server_and_name():
    external = parsed(judge=EXTERNAL).models["judge"]
    assert isinstance(external, ExternalModel)
    assert external.digest == "unproven:gpt-x@https://host/v1"


@given(st.text(min_size=1))
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_shown(key: str):
    """Whatever is no name of a variable; a recipe is stored, and messages are logged."""
    if re.fullmatch("[A-Z_][A-Z0-9_]*", key):
        return
    said = set[str]()
    for each in (key, "sk-x"):
        with pytest.raises(ValidationError) as refused:
            ExternalModel.model_validate(EXTERNAL | {"api_key_env": each})
        said |= {detail["msg"] for detail in refused.value.errors()}
    assert len(said) == 1


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "SELFTAUGHT_STORE"])
def test_the_platforms_own_credentials_are_sent_to_nobody(variable: str):
    with pytest.raises(BadRecipe, match=f"models.judge.api_key_env: {variable} is the platform's own"):
        parsed(judge=EXTERNAL | {"api_key_env": variable})
