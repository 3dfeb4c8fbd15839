"""The estimate of a round counts what the stage's controls add to it, and what they leave out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from selftaught.campaign.estimate import Estimate, plan
from selftaught.campaign.order import CampaignOrder
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from tests.rounds import REPOSITORY, Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

SAMPLED = 12 * 2 * 32
"""New tokens of the tests' recipe: tasks, answers of each, and tokens of an answer at most."""


def estimated(platform: Platform, asked: dict[str, Any]) -> Estimate:
    parsed = Recipe.parse(json.dumps(asked))
    return plan(platform, CampaignOrder(recipe=parsed, line="line", campaign="campaign"))


@pytest.mark.parametrize(
    ("temperatures", "probed"),
    [([1.0], 0), ([0.5, 1.0], 1), ([0.5, 1.0, 1.5], 2), ([0.5, 1.5], 2)],
    ids=["its own alone", "one other", "two others", "its own is none of them"],
)
def test_a_share_of_the_tasks_is_counted_once_more_for_every_other_temperature(
    platform: Platform, model: Path, temperatures: list[float], probed: int
):
    adapting = {"type": "adapt", "temperatures": temperatures, "share": 0.25}
    asked = recipe(model, control=adapting, sample={"type": "iid", "k": 2, "temperature": 1.0, "max_tokens": 32})
    assert estimated(platform, asked).sampled_tokens == SAMPLED + probed * SAMPLED // 4


@pytest.mark.parametrize("axis", ["sample", "evaluate"])
def test_a_text_that_no_task_has_is_refused(platform: Platform, model: Path, axis: str):
    block = {"type": "dialogue", "turns": [{"name": "attempt", "ask": "{task} As in {text.refrence}", "n": 2}]}
    stage: dict[str, dict[str, Any]] = {
        "sample": {"sample": block},
        "evaluate": {"evaluate": [{"type": "strategy", "label": "x", "sample": block}]},
    }
    wanted = stage[axis] | ({"gate": {"type": "paired_gain", "metric": "x"}} if axis == "evaluate" else {})
    with pytest.raises(BadInput, match=rf"\.{axis}: {{text\.refrence}} is a text that none .*'reference'"):
        estimated(platform, recipe(model, **wanted))


def test_tasks_that_a_curriculum_leaves_out_cost_nothing(platform: Platform, model: Path):
    made = estimated(platform, recipe(model, control={"type": "curriculum", "tasks": 5}))
    assert "\n  control: curriculum: has seen no round yet\n" in made.text()
    assert (made.train_tasks, made.sampled_tokens) == (5, 5 * 2 * 32)


def test_the_recipe_of_b_star_counts_three_probes_of_a_fifth_of_its_tasks(platform: Platform, model: Path):
    asked = Recipe.load(REPOSITORY / "recipes" / "b-star.yaml").model_dump(mode="json") | {
        "models": {"policy": str(model)}
    }
    eight_of_64 = 8 * 64
    assert estimated(platform, asked).sampled_tokens == 160 * (eight_of_64 + round(0.2 * 3 * eight_of_64)) == 131_040


def test_how_long_the_last_round_took_is_told_with_its_training(
    platform: Platform, model: Path, engines: Path, tmp_path: Path
):
    asked = recipe(model)
    assert "the last round" not in estimated(platform, asked).text()
    Round(tmp_path / "round", asked, line="line", campaign="campaign").run()
    took = estimated(platform, asked).last_round
    assert took["sample"] > 0
    assert {"verify", "train", "evaluate gate", "evaluate report", "everything else"} < set(took)


def test_steps_of_half_a_minute_and_more_are_told(platform: Platform, model: Path):
    made = replace(estimated(platform, recipe(model)), last_round={"sample": 130.0, "verify": 2.0, "train": 600.0})
    assert "\n  the last round took 12 min: sample 2, train 10\n" in made.text()
