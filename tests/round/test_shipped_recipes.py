"""Every recipe in recipes/, each stage for one round of a few tasks: sampled, verified, trained, measured, decided.

The steps run in this process on simulated engines; what is trained is a real model of ten thousand weights, by the
recipe's own objectives. What the figures come to says nothing here: that every block fits the next is what is tested.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.lines.evaluation import evaluate_model
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.adopt import adopt, adopt_roles
from selftaught.testing.shortening import shortened
from tests.round.test_intake import put, word_problems
from tests.rounds import REPOSITORY, Round, database, engines, platform, recorded_blocks, requests, tiny_model

__all__ = ["database", "engines", "platform", "recorded_blocks", "requests"]

SHIPPED = sorted((REPOSITORY / "recipes").glob("*.yaml"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is right in six of ten answers, with room for worked examples and a token to mask with."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", skill=0.6, context=1024, reserved=("<|mask|>",))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the other roles: what it says differs from what the policy says."""
    return tiny_model(tmp_path_factory.mktemp("other") / "tiny", skill=0.2, context=1024)


def short(path: Path, model: Path, other: Path, inbox: Path) -> dict[str, Any]:
    """The recipe at `path` on a few tasks, each stage for one round."""
    recipe = shortened(Recipe.load(path)).model_dump(mode="json")
    for stage in recipe["stages"]:
        if "online" in stage:  # the real model samples there, whose weights are random: such a letter is right
            stage["verify"] = {"type": "rules", "pattern": "[a-m]", "finished": False}
    if "path" in recipe["tasks"]:
        put(inbox, word_problems(1))
        recipe["tasks"]["path"] = str(inbox)
    return recipe | {"models": {role: str(model if role == "policy" else other) for role in recipe["models"]}}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_runs_a_round_of_each_stage(
    path: Path,
    model: Path,
    other: Path,
    platform: Platform,
    engines: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECORDED_CALCULATIONS", "1")
    recipe = short(path, model, other, tmp_path / "inbox")
    parsed = Recipe.parse(json.dumps(recipe))
    if not parsed.stages[0].train:
        assert {summary.n for summary in evaluate_model(platform, parsed, "line", str(model), "report")} == {6}
        return
    adopt(platform, parsed, "shipped")
    adopt_roles(platform, parsed, "shipped")
    for number, stage in enumerate(parsed.stages, 1):
        round = Round(tmp_path / str(number), recipe, line="shipped", campaign=path.stem, number=number, shards=1)
        assert round.run() in (("promoted", "refused") if stage.gate else ("trained",)), stage.name
