"""A recipe whose requests cannot fit an engine's context is refused before anything is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe
from selftaught.records import Message, Task, dataset
from selftaught.round.checks.context_length import require_room, too_long
from selftaught.round.intake import drawn
from selftaught.settings import Settings
from tests.rounds import RECIPE, Round, database, model, platform, recipe, recorded_blocks, tiny_model

pytest_plugins = ["tests.s3_fixtures"]
__all__ = ["database", "model", "platform", "recorded_blocks"]

STAGE = RECIPE["stages"][0] | {"train": {"type": "sft"}}
SEARCH = {"type": "search", "finish": 64, "limits": {"iterations": 3}}


def parsed(**stage):
    return Recipe.model_validate(RECIPE | {"models": {"policy": "m"}, "stages": [STAGE | stage]})


def settings(context):
    return Settings(home="/h", store="/s", tracking_uri="sqlite:///m", engine_context=context)


@pytest.mark.parametrize(
    ("stage", "field", "longest"),
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
def test_new_tokens_that_leave_no_room_for_a_prompt_are_refused(stage, field, longest):
    recipe = parsed(**stage)
    require_room(recipe, settings(longest + 1))
    text = f"recorded: stages.main.{field}: {longest} new tokens a request .* context of {longest} tokens"
    with pytest.raises(BadRecipe, match=text):
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
    with pytest.raises(ValueError, match=f"{name} is not a template variable"):
        Recipe.model_validate(RECIPE | {"models": {"policy": "m"}, "stages": [STAGE], "chat_template": {name: "x"}})


def task(text):
    return Task(messages=(Message(role="user", content=text),), source="test")


def test_tasks_that_no_engine_can_be_asked_are_found_by_the_models_tokens(tmp_path):
    """A token a letter: the text alone has to be shorter than the context, for the template adds to it."""
    tokenizer = (tiny_model(tmp_path) / "tokenizer.json").read_bytes()
    tasks = [task("a" * length) for length in (10, 99, 100, 101, 10**6)]
    assert too_long(tasks, 100, tokenizer) == tasks[2:]
    assert too_long(tasks, 100, None) == tasks[4:], "by characters, what cannot fit whatever the tokens"


def test_a_round_leaves_out_what_cannot_fit_and_counts_it(platform, model, tmp_path, capfd, monkeypatch):
    long = task("a" * 2000)
    monkeypatch.setattr("selftaught.round.steps.prepare.drawn", drawn_with(long))
    round = Round(tmp_path / "round", recipe(model))
    round.prepare()
    folder = Path(round.made["tasks"].path)
    assert len(dataset.read(folder, Task)) == 12 + 24 + 8 + 4
    assert dataset.manifest(folder).counts["too long"] == 1
    assert f"left out, too long for an engine: task {long.id} (" in capfd.readouterr().err


def test_where_the_store_is_s3_they_are_found_by_the_models_tokens_too(
    in_s3, platform, model, tmp_path, capfd, monkeypatch
):
    """Of the model its tokenizer alone is fetched."""
    long = [task(letter * 300) for letter in "abcde"]
    monkeypatch.setattr("selftaught.round.steps.prepare.drawn", drawn_with(*long))
    monkeypatch.setenv("SELFTAUGHT_ENGINE_CONTEXT", "256")
    round = Round(tmp_path / "round", recipe(model))
    round.prepare()
    assert dataset.manifest(Path(round.made["tasks"].path)).counts["too long"] == 5
    stderr = capfd.readouterr().err
    assert [each.id for each in long if f"too long for an engine: task {each.id} (" not in stderr] == []
    assert not (platform.settings.home / "cache" / "models").exists()


@pytest.fixture
def in_s3(s3_prefix, monkeypatch):
    monkeypatch.setenv("SELFTAUGHT_STORE", f"s3://selftaught/{s3_prefix}")


def test_a_round_of_which_a_set_has_nothing_that_fits_fails_and_stops_no_line(
    platform, model, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("SELFTAUGHT_ENGINE_CONTEXT", "97")
    with pytest.raises(SystemExit):
        Round(tmp_path / "round", recipe(model)).prepare()
    assert "task of the " in capfd.readouterr().err
    assert [each.outcome for each in platform.tracker.rounds("line", "campaign")] == ["failed"]


def drawn_with(*more):
    def drawn_too(*asked):
        taken = drawn(*asked)
        return replace(taken, tasks=[*taken.tasks, *more])

    return drawn_too
