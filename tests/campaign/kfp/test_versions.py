"""Versions of pipelines: how they are called, and which of them retention takes out of Kubeflow Pipelines."""

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selftaught.campaign.kfp.client import TOKEN, TOKEN_FILE
from selftaught.campaign.kfp.versions import MADE, Versions, compiled, with_model_keys, with_pull_secrets
from selftaught.cli.main import app
from selftaught.cli.outcomes import ERROR
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.retention.inventory import Folder, PipelineVersion, State
from selftaught.retention.planning import DAY, Scope, plan
from selftaught.retention.policy import RetentionPolicy
from selftaught.state.round_key import RoundKey
from tests.kfp_api import Kfp, serving
from tests.rounds import REPOSITORY, database, model, platform, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures

COMPILED = REPOSITORY / "pipelines" / "compiled"
NOW = 2_000_000_000.0


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    for name in (TOKEN_FILE, TOKEN):
        monkeypatch.delenv(name, raising=False)
    with serving(Kfp()) as api:
        monkeypatch.setenv("SELFTAUGHT_KFP", api.url)
        api.pipelines = [{"pipeline_id": p, "name": p, "display_name": p} for p in ("ours", "theirs")]
        for age, (name, pipeline, description) in enumerate(
            [
                ("newest", "ours", f"{MADE}."),
                ("unused", "ours", f"{MADE}."),
                ("run", "ours", f"{MADE}."),
                ("champions", "ours", f"{MADE}."),
                ("applied", "ours", "from git"),
                ("others", "theirs", ""),
                ("only", "theirs", f"{MADE}."),
            ]
        ):
            made = {"pipeline_version_id": f"id-{name}", "pipeline_id": pipeline, "name": name, "display_name": name}
            written = (datetime.now(UTC) - timedelta(days=40 + age)).isoformat()
            api.versions.append(made | {"description": description, "created_at": written})
        reference = {"pipeline_id": "ours", "pipeline_version_id": "id-run"}
        api.runs = [{"run_id": "r1", "state": "FAILED", "pipeline_version_reference": reference}, {"run_id": "r2"}]
        yield api


def test_every_name_is_one_that_an_object_of_a_cluster_can_have():
    names = {compiled(path, {}).version for path in COMPILED.glob("*.yaml")}
    assert len(names) == len(list(COMPILED.glob("*.yaml")))
    for name in names:
        assert re.fullmatch(r"selftaught-(one-shard-)?(search-|online-)?round-[0-9.]+-[0-9a-f]{8}", name)


def test_an_image_is_put_in_the_place_of_its_tag_alone():
    steps = {"steps": "registry.example.com/steps@sha256:1"}
    with_one = compiled(COMPILED / "round.yaml", steps)
    assert with_one.images == ["localhost/selftaught/trainer:0.1.0", steps["steps"]]
    assert with_one.version != compiled(COMPILED / "round.yaml", {}).version
    assert with_one.version == compiled(COMPILED / "round.yaml", steps).version


def test_in_an_online_round_the_training_asks_models():
    keyed = with_model_keys(compiled(COMPILED / "online-round.yaml", {}), ["JUDGE_KEY"])
    executors = keyed.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    given = {task for task, each in executors.items() if "JUDGE_KEY" in str(each.get("secretAsEnv"))}
    assert given == {"exec-prepare", "exec-train", "exec-evaluate", "exec-evaluate-2"}


@pytest.mark.parametrize("name", ["round.yaml", "one-shard-search-round.yaml"])
def test_keys_of_models_are_given_to_the_tasks_that_ask_them_alone(name: str):
    plain = compiled(COMPILED / name, {})
    keyed = with_model_keys(plain, ["JUDGE_KEY"])
    executors = keyed.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    given = {task for task, each in executors.items() if "JUDGE_KEY" in str(each["secretAsEnv"])}
    assert given == {f"exec-{task}" for task in ("prepare", "verify", "evaluate", "evaluate-2")} | (
        {"exec-mcts"} if "search" in name else {"exec-sample"}
    )
    assert keyed.version != plain.version
    assert with_model_keys(plain, []) == plain


def test_every_task_pulls_its_image_with_the_secrets_that_are_named():
    plain = compiled(COMPILED / "round.yaml", {})
    pulled = with_pull_secrets(plain, ["mine"])
    executors = pulled.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == plain.documents[0]["deploymentSpec"]["executors"].keys()
    assert {each["imagePullSecret"][0]["secretName"] for each in executors.values()} == {"mine"}
    assert with_pull_secrets(plain, []) == plain


def test_a_pipeline_that_was_not_compiled_is_told(tmp_path: Path):
    with pytest.raises(BadInput, match="no compiled pipeline"):
        compiled(tmp_path / "round.yaml", {})


def test_ours_are_those_that_submissions_made_but_for_the_newest_of_each_pipeline(platform: Platform, api: Kfp):
    made = Versions(Platform.open().settings).made()
    assert {each.name: each.runs for each in made} == {"unused": 0, "run": 1, "champions": 0}


def test_gc_removes_versions_that_no_run_and_no_champion_is_of(platform: Platform, api: Kfp):
    there = Platform.open()
    run = there.tracker.round_run(RoundKey("line", "campaign"), "main")
    there.tracker.tag(run, {"selftaught.pipeline_version": "champions"})
    there.tracker.finish(run, "promoted")
    made = there.tracker.register("line", "1" * 64, "file:///made", run, {"selftaught.outcome": "promoted"})
    there.tracker.point("champion", made)
    lines = CliRunner().invoke(app, ["gc", "--dry-run", "--json"]).stdout.splitlines()
    fields = {
        each["key"]: (each["action"], each["why"]) for each in map(json.loads, lines) if each["kind"] == "pipeline"
    }
    assert fields["unused"] == ("remove", "no run and no champion is of it, 41 days old")
    assert fields["run"] == ("keep", "a run is of it")
    assert fields["champions"] == ("keep", "made line version 2")
    assert len(fields) == 3
    assert CliRunner().invoke(app, ["gc", "--keep-pipelines", "90"]).exit_code == 0
    assert len(api.versions) == 7
    assert CliRunner().invoke(app, ["gc"]).exit_code == 0
    assert {each["name"] for each in api.versions} == {"newest", "run", "champions", "applied", "others", "only"}


def test_versions_are_listed_once_however_many_go(platform: Platform, api: Kfp):
    made = Versions(Platform.open().settings)
    names = [each.name for each in made.made()]
    api.asked.clear()
    for name in names:
        made.remove(name)
    assert not api.sent("GET", "runs")
    assert not api.sent("GET", "pipelines")
    assert len(api.sent("DELETE", "pipelines")) == 3


def test_a_version_that_somebody_else_has_removed_is_no_error(platform: Platform, api: Kfp):
    made = Versions(Platform.open().settings)
    (name, *_) = [each.name for each in made.made()]
    api.versions = []
    made.remove(name)


@pytest.mark.parametrize("fault", ["silent", "refused"])
def test_a_kubeflow_that_does_not_say_keeps_nothing_else_from_going(
    platform: Platform, api: Kfp, monkeypatch: pytest.MonkeyPatch, fault: str
):
    """It is reported, and the command ends with 1 once everything else is done."""
    if fault == "silent":
        monkeypatch.setenv("SELFTAUGHT_KFP", "http://127.0.0.1:9")
    api.refuses = 403
    torn = platform.settings.home / "store" / "datasets" / ("f" * 64)
    torn.mkdir(parents=True)
    (torn / "data.parquet").write_text("torn")
    week_ago = time.time() - 8 * DAY
    os.utime(torn / "data.parquet", (week_ago, week_ago))
    os.utime(torn, (week_ago, week_ago))
    dry = CliRunner().invoke(app, ["gc", "--dry-run", "--json"])
    assert dry.exit_code == ERROR
    assert all(json.loads(line)["kind"] != "pipeline" for line in dry.stdout.splitlines())
    done = CliRunner().invoke(app, ["gc"])
    assert done.exit_code == ERROR
    assert "not known: versions of pipelines, which stay. http" in done.stderr
    assert not torn.exists()
    assert len(api.versions) == 7


def test_a_kubeflow_that_falls_silent_in_the_middle_keeps_nothing_else_from_going():
    """Versions of pipelines are the last to go, so that an error there leaves nothing undone."""
    old = Folder("datasets", "f" * 64, 1, NOW - 100 * DAY, complete=False)
    state = State(pipelines=(PipelineVersion("old", NOW - 100 * DAY),), folders=(old,))
    assert [fate.kind for fate in plan(state, RetentionPolicy(), NOW).go] == ["datasets", "pipeline"]


def test_a_collection_on_one_line_leaves_versions_alone():
    state = State(pipelines=(PipelineVersion("old", NOW - 100 * DAY),))
    assert [fate.key for fate in plan(state, RetentionPolicy(), NOW).go] == ["old"]
    assert not plan(state, RetentionPolicy(), NOW, Scope(only=frozenset(["line"]))).go
