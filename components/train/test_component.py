"""train: the first completed training wins, and what it made is registered with its lineage."""

import json
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.round.distributed.request import TrainRequest
from selftaught.state.weights import check_model, model_digest
from tests.rounds import Round, recipe


@pytest.fixture
def verified(round: Round) -> Round:
    round.prepare()
    round.sample()
    round.verify()
    return round


def test_the_challenger_is_stored_and_registered_with_its_lineage(verified: Round, platform: Platform):
    verified.train()
    folder = platform.model(verified.challenger)
    check_model(folder)
    assert model_digest(folder) == verified.challenger
    version = platform.tracker.resolve("line", "challenger")
    assert version is not None
    assert (version.digest, version.version, version.run) == (verified.challenger, "2", verified.job.run)
    tags = platform.tracker.version_tags(version)
    lineage = {key: tags[f"selftaught.{key}"] for key in ("parent", "examples", "tasks", "recipe", "round")}
    assert lineage == {
        "parent": verified.job.trainee.digest,
        "examples": verified.made["examples"].metadata["digest"],
        "tasks": verified.job.tasks,
        "recipe": "recorded",
        "round": "1",
    }
    assert platform.tracker.tags(verified.job.run)["selftaught.model_version"] == "line/2"
    client = platform.tracker.client
    run = client.get_run(verified.job.run)
    description = client.get_model_version("line", "2").description
    assert f"[campaign round 1](#/experiments/{run.info.experiment_id}/runs/{run.info.run_id})" in description
    assert "[version 1](#/models/line/versions/1) of line" in description
    assert f"examples `{tags['selftaught.examples'][:8]}`" in description
    inputs = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
    assert inputs["examples"] == tags["selftaught.examples"][:36]
    first = client.get_run(client.get_model_version("line", "1").run_id)
    assert first.data.params == {
        "source": str(verified.job.recipe.policy),
        "digest": verified.job.trainee.digest,
    }
    assert client.get_run(platform.tracker.campaign_run("line", "campaign")).info.status == "FINISHED"


def test_a_second_training_is_the_first_one(verified: Round, platform: Platform):
    """`nudge` is as little reproducible as training is."""
    verified.train()
    first = verified.challenger
    verified.train()
    assert verified.challenger == first
    assert [version.digest for version in platform.tracker.versions("line")][1:] == [first]


def test_nothing_is_left_in_the_scratch_folder(verified: Round, home: Path):
    verified.train()
    assert list((home / "scratch").iterdir()) == []


def test_objectives_work_one_after_another_on_what_the_one_before_made(verified: Round, model: Path, tmp_path: Path):
    twice = [{"type": "nudge", "gain": 0.1}, {"type": "nudge", "gain": 0.2}]
    round = Round(tmp_path / "twice", recipe(model, train=twice), campaign="twice")
    round.until_trained()
    config = json.loads((Platform.open().model(round.challenger) / "config.json").read_text())
    assert config["skill"] == pytest.approx(0.6)
    record = json.loads(Path(round.made["model"].path).read_text())
    assert record["losses"] == [[1, 0.5], [2, 0.5]]
    assert round.made["train-metrics"].metadata["steps"] == 2
    curve = Platform.open().tracker.client.get_metric_history(round.job.run, "train.loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.5)]  # shown live, and logged after


def test_a_training_without_its_tracking_server_is_kept(
    verified: Round, platform: Platform, monkeypatch: pytest.MonkeyPatch
):
    """The step ends when it cannot register what was trained; run again, it trains nothing again."""
    with monkeypatch.context() as gone:
        gone.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(SystemExit):
            verified.train()
    monkeypatch.setattr(TrainRequest, "run", lambda *_: pytest.fail("trained again"))
    verified.train()
    version = platform.tracker.resolve("line", "challenger")
    assert version is not None
    assert version.digest == verified.challenger


def test_the_head_stays_until_the_round_has_ended(verified: Round, platform: Platform):
    """A round that fails leaves no iterate to resume from."""
    before = platform.tracker.resolve("line", "head")
    verified.train()
    assert platform.tracker.resolve("line", "head") == before
