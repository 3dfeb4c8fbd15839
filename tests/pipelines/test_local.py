"""The pipeline of a round of one shard runs complete on one machine, as the one with a loop does
(tests/campaign/test_kill.py).
"""

import os
import shutil
from pathlib import Path

import pytest

from pipelines.round import COMPILED
from selftaught.campaign.local import Campaign
from selftaught.campaign.order import CampaignOrder
from selftaught.core.canonical import canonical
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from tests.rounds import BLOCKS, ENGINE, REPOSITORY, Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures


def test_a_round_of_one_shard_runs_without_a_loop(
    platform: Platform, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """One that was begun with one shard, whatever the order that resumes it says."""
    Round(tmp_path / "begun", recipe(model), shards=1).prepare()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, BLOCKS, REPOSITORY))))
    monkeypatch.chdir(REPOSITORY)
    pipelines = tmp_path / "pipelines"
    pipelines.mkdir()
    shutil.copy(COMPILED / "one-shard-round.yaml", pipelines)
    (pipelines / "round.yaml").write_text("not to be run")
    order = CampaignOrder(
        Recipe.parse(canonical(recipe(model)).decode()), "line", "campaign", shards=2, pipelines=pipelines
    )
    assert order.pipeline(1).name == "round.yaml"
    (ended,) = Campaign(platform, order, lambda event: None).run()
    assert ended.report.last.outcome == "promoted"
    assert ended.report.last.funnel.tasks == 12
    assert ended.report.command.endswith("--shards 1")
