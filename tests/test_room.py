"""A recipe whose requests cannot fit an engine's context is refused before anything is started."""

import pytest

from selftaught.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.round.room import require_room
from selftaught.settings import Settings
from tests.rounds import RECIPE

STAGE = RECIPE["stages"][0] | {"train": {"type": "sft"}}
SEARCH = {"type": "search", "finish": 64, "limits": {"iterations": 3}}


def parsed(**stage):
    return Recipe.model_validate(RECIPE | {"models": {"policy": "m"}, "stages": [STAGE | stage]})


def settings(context):
    return Settings(home="/h", store="/s", tracking_uri="sqlite:///m", engine_context=context)


@pytest.mark.parametrize(
    ("stage", "place", "longest"),
    [
        ({"sample": {"type": "iid", "max_tokens": 200}}, "sample", 200),
        ({"sample": {"type": "rationalise", "max_tokens": 200}}, "sample", 200),
        ({"sample": {"type": "budget", "max_tokens": 200, "tokens": 9999}}, "sample", 200),
        ({"sample": SEARCH | {"expand": {"type": "steps", "max_tokens": 200}}}, "sample", 200),
        ({"sample": SEARCH | {"finish": 200}}, "sample", 200),
        ({"sample": SEARCH | {"hints": {"max_tokens": 200}}}, "sample", 200),
        ({"evaluate": {"type": "accuracy", "max_tokens": 200}}, "evaluate.accuracy", 200),
        (
            {
                "evaluate": [
                    {"type": "accuracy"},
                    {"type": "strategy", "label": "s", "sample": {"type": "iid", "k": 1, "max_tokens": 200}},
                ]
            },
            "evaluate.s",
            200,
        ),
    ],
)
def test_new_tokens_that_leave_no_room_for_a_prompt_are_refused(stage, place, longest):
    recipe = parsed(**stage)
    require_room(recipe, settings(longest + 1))
    told = f"recorded: stages.main.{place}: {longest} new tokens a request .* context of {longest} tokens"
    with pytest.raises(BadRecipe, match=told):
        require_room(recipe, settings(longest))


@pytest.mark.parametrize("sample", [{"type": "iid"}, {"type": "rationalise"}, {"type": "budget"}])
def test_more_stop_strings_than_engines_take_are_refused(sample):
    parsed(sample=sample | {"stop": list("abcd")})
    for wrong in (list("abcde"), [""]):
        with pytest.raises(ValueError, match=r"at most 4 items|at least 1 character"):
            parsed(sample=sample | {"stop": wrong})


def test_a_search_takes_no_more_stop_strings_either():
    with pytest.raises(ValueError, match="at most 4 items"):
        parsed(sample=SEARCH | {"expand": {"type": "steps", "stop": list("abcde")}})


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "add_generation_prompt", "messages"])
def test_how_a_chat_is_rendered_is_no_variable_of_its_template(name):
    with pytest.raises(ValueError, match=f"{name} is no variable of a template"):
        Recipe.model_validate(RECIPE | {"models": {"policy": "m"}, "stages": [STAGE], "chat_template": {name: "x"}})
