"""The pipeline of a round of one shard runs whole on one machine, as the one with a loop does (tests/test_kill.py)."""

import os
from pathlib import Path

import pytest

from selftaught.campaign import Campaign, Order
from selftaught.recipe import Recipe
from selftaught.records import canonical
from selftaught.round.job import Workplace
from tests.rounds import BLOCKS, ENGINE, REPOSITORY, database, model, place, recipe, recorded_blocks

__all__ = ["database", "model", "place", "recorded_blocks"]  # fixtures


def test_a_round_of_one_shard_runs_without_a_loop(place: Workplace, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, BLOCKS, REPOSITORY))))
    monkeypatch.chdir(REPOSITORY)
    order = Order(Recipe.parse(canonical(recipe(model)).decode()), "line", "campaign", shards=1)
    assert order.pipeline(1).name == "one-shard-round.yaml"
    (ended,) = Campaign(place, order, lambda event: None).run()
    assert ended.told.last.outcome == "promoted"
    assert ended.told.last.funnel.tasks == 12
    assert not list(ended.page.parent.rglob("for-loop*"))
