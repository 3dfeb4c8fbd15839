"""A process reward model is asked in words and nothing else is: whatever plays a role otherwise, no round begins."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import BadInput, BadRecipe
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.checks.roles import require_asked_rightly, require_named
from selftaught.round.job import ModelRef
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]

REWARDS, HEAD = "Qwen2ForProcessRewardModel", "LlamaForSequenceClassification"
CLASSIFIER = "MistralForTokenClassification"
ASKED = {"type": "process_reward", "role": "prm"}
BY_IDS = {"type": "value_model", "role": "prm"}


def kept(platform: Platform, folder: Path, kind: str) -> ModelRef:
    """A model of that architecture in the store."""
    (folder / kind).mkdir(parents=True)
    (folder / kind / "config.json").write_text(json.dumps({"architectures": [kind]}))
    platform.store.put("models", "b" * 64, folder / kind)
    return ModelRef(digest="b" * 64)


@pytest.mark.usefixtures("recorded_blocks")
@pytest.mark.parametrize("role", ["prm", "policy"])
@pytest.mark.parametrize(("where", "kind"), [("sample", "process_reward"), ("evaluate", "reply_reward")])
def test_a_role_that_no_such_model_plays_is_told_of_the_recipe(tmp_path: Path, role: str, where: str, kind: str):
    found = {"type": "search", "value": {"type": kind, "role": role}}
    strategy = {"type": "strategy", "label": "found", "sample": found}
    stage: dict[str, Any] = {"sample": found, "evaluate": [{"type": "accuracy"}, strategy]}
    fields = recipe(tmp_path, **{where: stage[where]})
    with pytest.raises(BadRecipe, match=f"stages.main: {kind} uses the {role} model, and models names no such"):
        require_named(Recipe.model_validate(fields))
    named = Recipe.model_validate(fields | {"models": fields["models"] | {"prm": "someone/prm"}})
    if role == "prm":
        require_named(named)


def checked(platform: Platform, folder: Path, kind: str | None, value: object) -> None:
    found = recipe(folder / "policy", sample={"type": "search", "value": value})
    roles = {"prm": kept(platform, folder, kind)} if kind else {}
    require_asked_rightly(platform, Recipe.model_validate(found).stages[0], roles)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (HEAD, ASKED, "the prm model (bbbbbbbb) is not a process reward model that can be served"),
        (
            REWARDS,
            BY_IDS,
            "a process reward model, and value_model asks by the policy's token ids. Ask for its classes",
        ),
        (REWARDS, ASKED | {"type": "reply_reward"}, "a process reward model, and reply_reward asks for a reply."),
        (REWARDS, {"type": "outcome", "role": "prm"}, "and outcome asks by the policy's token ids."),
        (CLASSIFIER, ASKED | {"type": "reply_reward", "tag": "ки"}, "and reply_reward asks for a reply."),
        (CLASSIFIER, BY_IDS, "a process reward model, and value_model asks by the policy's token ids."),
        ("GPT2ForTokenClassification", ASKED, "is not a process reward model that can be served"),
        (
            CLASSIFIER,
            ASKED | {"chat": False, "positive": 2},
            "main: process_reward of the prm model (bbbbbbbb).positive: 2 is no class of the prm model, which has 2",
        ),
        (REWARDS, {"type": "weighted", "parts": [{"value": BY_IDS}]}, "value_model asks by the policy's token ids."),
    ],
)
def test_a_model_is_not_asked_for_what_it_does_not_give(
    platform: Platform, tmp_path: Path, kind: str | None, value: object, text: str
):
    with pytest.raises(BadInput, match=re.escape(text)):
        checked(platform, tmp_path, kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (REWARDS, ASKED),
        (CLASSIFIER, ASKED | {"chat": False, "tag": "\n"}),
        (HEAD, BY_IDS),
        (None, BY_IDS),
        (REWARDS, {"type": "p_true"}),
        ("MistralForCausalLM", ASKED | {"type": "reply_reward", "tag": "ки"}),
    ],
)
def test_what_is_asked_rightly_is_let_through(platform: Platform, tmp_path: Path, kind: str | None, value: object):
    checked(platform, tmp_path, kind, value)


def test_a_round_whose_recipe_names_no_such_model_does_not_begin(
    platform: Platform, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        Round(tmp_path / "round", recipe(model, sample={"type": "search", "value": ASKED})).prepare()
    assert "process_reward uses the prm model, and models names no such" in capsys.readouterr().err
