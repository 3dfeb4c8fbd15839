"""Stages without a gate: the head moves, no version is promoted, and nothing is measured that was not asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import TaskScore, dataset
from selftaught.round.history import detail, due, recorded
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

KEY = RoundKey("line", "campaign")


def warm(model: Path, **stage: Any) -> dict[str, Any]:
    """The recipe without gate and metrics, but for `stage`."""
    found = recipe(model)
    bare = {name: value for name, value in found["stages"][0].items() if name not in ("gate", "evaluate")}
    return found | {"stages": [bare | stage]}


def of_head(platform: Platform) -> str:
    head = platform.tracker.resolve("line", "head")
    assert head
    return head.digest


def test_a_warm_up_moves_the_head_and_promotes_and_measures_nobody(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    champion, warmed = platform.tracker.resolve("line", "champion"), Round(tmp_path / "round", warm(model))
    assert warmed.run() == "trained"
    assert platform.tracker.resolve("line", "champion") == champion
    assert of_head(platform) == warmed.challenger != champion.digest
    asked = [json.loads(line) for line in engines.read_text().splitlines()]
    assert {each["temperature"] for each in asked} == {1.0}  # none but the samples that were trained on
    record = recorded(platform, KEY)
    assert record and record.round.outcome == "trained" and record.round.gate is None
    assert not detail(platform, KEY).scores
    assert "is available to later stages" in Path(warmed.made["page"].path).read_text()
    assert due(platform, "line", "campaign") == KEY.next()


def test_a_warm_up_that_names_metrics_is_measured_on_the_report_set(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    warmed = Round(tmp_path / "round", warm(model, evaluate={"type": "accuracy"}))
    assert warmed.run() == "trained"
    assert dataset.read(Path(warmed.made["gate-scores"].path), TaskScore) == []
    scores = dataset.read(Path(warmed.made["report-scores"].path), TaskScore)
    assert {score.model for score in scores} == {warmed.job.champion.digest, warmed.challenger}


def test_a_stage_may_train_a_value_model_alone(platform: Platform, engines: Path, model: Path, tmp_path: Path):
    """The policy is what it was, on every alias, and the next round has the value model."""
    before = {alias: platform.tracker.resolve("line", alias) for alias in ("head", "champion", "challenger")}
    found = warm(model, train={"type": "nudge", "role": "value"})
    valued = Round(tmp_path / "round", found)
    assert valued.run() == "trained"
    assert {alias: platform.tracker.resolve("line", alias) for alias in before} == before
    trained = platform.tracker.resolve("line-value", "head")
    assert trained and trained.digest != valued.job.champion.digest
    record = recorded(platform, KEY)
    assert record and record.round.challenger is None
    assert [(other.role, other.trained) for other in record.round.others] == [("value", trained.digest)]
    later = Round(tmp_path / "next", found, number=2)
    later.prepare()
    assert later.job.roles["value"].digest == trained.digest


@pytest.mark.usefixtures("recorded_blocks")
@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ({"gate": {"type": "paired_gain", "guard": "none"}}, "evaluate is missing: a gate decides by metrics"),
        ({"train": [], "curate": []}, "evaluate is missing: what trains nothing is there to be measured"),
        ({"curate": []}, "curate is missing"),
        (
            {"train": {"type": "nudge", "role": "value"}, "evaluate": {"type": "accuracy"}},
            "evaluate is about the policy",
        ),
    ],
)
def test_what_makes_no_sense_without_the_other_is_refused(model: Path, stage: dict[str, Any], text: str):
    with pytest.raises(ValueError, match=text):
        Recipe.model_validate(warm(model, **stage))
