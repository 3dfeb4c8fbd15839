"""Retention beside real steps: rounds continue after it as if nothing had been, and steps make again what went."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.records import Group, dataset
from selftaught.retention.collecting import Collector
from selftaught.retention.planning import DAY, Fate
from selftaught.retention.policy import RetentionPolicy
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

EAGER = RetentionPolicy(**dict.fromkeys(RetentionPolicy.model_fields, 1))
GATE = {"type": "paired_gain", "metric": "accuracy", "min_gain": 0.99}
"""A gate that refuses."""


def collected(platform: Platform) -> list[Fate]:
    """Collect as if it were years later."""
    moves: list[Fate] = []
    Collector(platform, EAGER, now=time.time() + 1000 * DAY).collect(lambda _: None, moves.append)
    return moves


@pytest.fixture
def round(platform: Platform, engines: Path, model: Path, tmp_path: Path) -> Callable[..., Round]:
    def make(number: int, again: str = "", **stage: object) -> Round:
        return Round(tmp_path / f"round-{number}{again}", recipe(model, gate=GATE, **stage), number=number)

    return make


def asked(requests: Path) -> int:
    return len(requests.read_text().splitlines())


def test_a_round_that_is_stopped_anywhere_goes_on_after_it(
    platform: Platform, round: Callable[..., Round], engines: Path
) -> None:
    """Nothing that an unfinished round has made goes, so nothing is sampled a second time."""
    stopped = round(1)
    stopped.until_trained()
    stopped.evaluate("gate")
    before = asked(engines)
    assert collected(platform) == []
    goes_on = round(1, "-again")
    goes_on.until_trained()
    goes_on.evaluate("gate")
    assert asked(engines) == before
    assert goes_on.challenger == stopped.challenger
    assert goes_on.gate() == "refused"


def test_a_step_that_runs_again_makes_again_what_went(
    platform: Platform, round: Callable[..., Round], engines: Path
) -> None:
    """Somebody runs an old round's pipeline again, long after its rollouts, scores and weights went."""
    first, second = round(1), round(2)
    assert (first.run(), second.run()) == ("refused", "refused")
    kinds = {fate.kind for fate in collected(platform)}
    assert kinds == {"journal", "mark", "claim", "models", "datasets"}
    assert not platform.store.has("models", first.challenger)
    assert platform.store.has("models", second.challenger)  # the head, from which a recipe may resume
    before, again = asked(engines), round(1, "-again")
    assert again.run() == "refused"
    assert asked(engines) > before
    groups = dataset.read(Path(again.artifact("groups-0").path), Group)
    assert platform.store.has("datasets", dataset.manifest(Path(again.artifact("groups-0").path)).digest)
    assert [g.id for g in groups] == [g.id for g in dataset.read(Path(first.artifact("groups-0").path), Group)]
    assert platform.store.has("models", again.challenger)
    assert not [v for v in platform.tracker.versions("line") if v.digest == again.challenger and v.removed]


def test_a_failed_rounds_draw_can_be_repeated(platform: Platform, round: Callable[..., Round]) -> None:
    """Its plan goes with its tasks: prepare draws them again instead of asking for what is gone."""
    failed = round(1)
    failed.prepare()
    platform.tracker.finish(failed.job.run, "failed")
    assert {fate.kind for fate in collected(platform)} == {"claim", "datasets"}
    again = round(1, "-again")
    again.prepare()
    assert again.job.tasks == failed.job.tasks
    assert platform.store.has("datasets", again.job.tasks)


def test_the_next_round_replays_what_it_needs(platform: Platform, round: Callable[..., Round]) -> None:
    first = round(1, replay=2)
    first.run()
    collected(platform)
    second = round(2, replay=2)
    assert second.run() == "refused"
    examples = dataset.manifest(Path(second.artifact("examples").path))
    assert dataset.manifest(Path(first.artifact("examples").path)).digest in examples.parents.values()
