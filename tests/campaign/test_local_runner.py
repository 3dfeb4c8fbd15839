"""Runs on this machine: real compiled pipelines in processes of their own, seen from the process that started them and
from others."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import compiler, dsl
from typer.testing import CliRunner

from selftaught.campaign.local_runner import LocalRunner, emptied, round_folder
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import Runner, RunRef, RunStatus
from selftaught.campaign.runs import runs
from selftaught.cli.main import app
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.state.round_key import RoundKey
from tests.rounds import database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures

KEY = RoundKey("line", "campaign", 3, 1)


@dsl.component(base_image="python:3.12", install_kfp_package=False)
def work(line: str, number: int, attempt: int, shards: list, seconds: int):
    """Say which round this is, as a step does, and take its time."""
    import json
    import os
    import time
    from pathlib import Path

    with Path(os.environ["SELFTAUGHT_EVENTS"]).open("a") as events:
        events.write(json.dumps({"line": line, "number": number, "attempt": attempt, "shards": shards}) + "\n")
    time.sleep(seconds)


def compiled(folder: Path, seconds: int) -> Path:
    @dsl.pipeline(name="one-round")
    def pipeline(recipe: str, line: str, campaign: str, number: int, attempt: int, shards: list):
        work(line=line, number=number, attempt=attempt, shards=shards, seconds=seconds)

    compiler.Compiler().compile(pipeline, str(folder / "round.yaml"))
    return folder


def order(model: Path, pipelines: Path) -> CampaignOrder:
    return CampaignOrder(Recipe.parse(json.dumps(recipe(model))), "line", "campaign", shards=2, pipelines=pipelines)


def ended(runner: Runner, run: RunRef) -> RunStatus:
    while (found := runner.status(run)).active:
        time.sleep(0.1)
    return found


@pytest.fixture
def running(platform: Platform, model: Path, tmp_path: Path) -> Iterator[tuple[LocalRunner, RunRef]]:
    """A run that takes longer than any test, once its step has begun."""
    runner = LocalRunner(platform)
    run = runner.start(KEY, order(model, compiled(tmp_path, 600)))
    events = Path(run.experiment) / "run" / "events.jsonl"
    while not events.read_text():
        assert runner.status(run).active, (Path(run.experiment) / "log.txt").read_text()
        time.sleep(0.1)
    yield runner, run
    runner.stop(run)


def test_a_run_gets_its_round_and_succeeds(platform: Platform, model: Path, tmp_path: Path):
    runner = LocalRunner(platform)
    run = runner.start(KEY, order(model, compiled(tmp_path, 0)))
    assert (run.name, run.version) == ("line campaign round 3 attempt 1", "round")
    found = ended(runner, run)
    assert (found.state, found.reason) == ("SUCCEEDED", ""), (Path(run.experiment) / "log.txt").read_text()
    (event,) = (Path(run.experiment) / "run" / "events.jsonl").read_text().splitlines()
    assert json.loads(event) == {"line": "line", "number": 3, "attempt": 1, "shards": [0, 1]}


def test_another_process_sees_the_run_and_stops_it(platform: Platform, running: tuple[LocalRunner, RunRef]):
    runner, run = running
    (seen,) = runs(platform, "line")
    assert (seen.run, seen.state) == (run, "RUNNING")
    (row,) = json.loads(CliRunner().invoke(app, ["status", "line", "--json"]).stdout)["runs"]
    assert row == seen.row()
    abandoning = CliRunner().invoke(app, ["rounds", "abandon", "line", "campaign"])
    assert f"run {run.id} is running. Wait for it, or stop it: selftaught stop line." in abandoning.stderr
    assert CliRunner().invoke(app, ["stop", "line"]).stdout == f"{run.name}: run {run.id} is stopped\n"
    assert (ended(runner, run).state, ended(runner, run).reason) == ("FAILED", "was stopped")
    assert [each.state for each in runs(platform, "line")] == ["FAILED"]
    assert CliRunner().invoke(app, ["stop", "line"]).stdout == "line: nothing is running\n"


def test_a_process_that_has_the_number_of_a_dead_run_is_not_stopped(platform: Platform):
    file = emptied(round_folder(platform.settings.home, KEY)) / "run.json"
    file.write_text(json.dumps({"pid": os.getpid(), "version": "round"}))
    (found,) = runs(platform, "line")
    assert found.state == "FAILED"
    LocalRunner(platform).stop(found.run)
