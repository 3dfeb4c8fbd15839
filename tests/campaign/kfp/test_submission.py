"""Submitting: what Kubeflow Pipelines is asked for, over HTTP, as its own client sends it."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from selftaught.campaign import runs as of_lines
from selftaught.campaign.kfp.client import TOKEN, TOKEN_FILE
from selftaught.campaign.kfp.runner import KfpRunner
from selftaught.campaign.local import Campaign
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import RunRef, RunStatus
from selftaught.campaign.runs import runs
from selftaught.cli.main import app
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, Busy, Unavailable
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.controls import CampaignState
from selftaught.state.ledger import StateEntry
from selftaught.state.round_key import RoundKey
from tests.kfp_api import Kfp, serving
from tests.plans import end_round
from tests.report.sample_report import sample
from tests.rounds import REPOSITORY, Round, database, model, platform, recipe, recorded_blocks, written

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures

STEPS = "registry.example.com/steps@sha256:" + "a" * 64


@pytest.fixture
def api() -> Iterator[Kfp]:
    with serving(Kfp()) as api:
        yield api


@pytest.fixture
def there(platform: Platform, api: Kfp, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The platform, whose line has a champion, beside the API."""
    for name in (TOKEN_FILE, TOKEN, "SELFTAUGHT_KFP_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SELFTAUGHT_KFP", api.url)
    monkeypatch.setenv("SELFTAUGHT_IMAGE_STEPS", STEPS)
    return Platform.open()


def order(model: Path, line: str = "line") -> CampaignOrder:
    parsed = Recipe.parse(canonical(recipe(model)).decode())
    return CampaignOrder(parsed, line, "campaign", shards=3, pipelines=REPOSITORY / "pipelines" / "compiled")


def submit(platform: Platform, order: CampaignOrder) -> RunRef:
    return of_lines.submit(platform, KfpRunner(platform), order).run


def images(version: dict) -> dict[str, str]:
    executors = version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]
    return {name: executor["container"]["image"] for name, executor in executors.items()}


def test_a_run_gets_the_recipe_and_the_round_that_it_is_called_by(there: Platform, api: Kfp, model: Path):
    made = submit(there, order(model))
    (run,) = api.runs
    found = run["runtime_config"]["parameters"]
    assert Recipe.parse(found["recipe"]) == order(model).recipe
    assert (found["line"], found["campaign"], found["shards"]) == ("line", "campaign", [0, 1, 2])
    assert (found["number"], found["attempt"]) == (1, 0)
    assert run["display_name"] == made.name == "line campaign round 1"
    assert api.experiments[0]["display_name"] == "selftaught/line"


def sampled(api: Kfp, run: str) -> tuple[str, list[int]]:
    """The pipeline that a run is of, and the shards that it was given."""
    (asked,) = [each for each in api.runs if each["run_id"] == run]
    reference = asked["pipeline_version_reference"]
    (pipeline,) = [each for each in api.pipelines if each["pipeline_id"] == reference["pipeline_id"]]
    return pipeline["name"], asked["runtime_config"]["parameters"]["shards"]


def test_where_no_shards_are_named_there_is_one_and_no_loop(there: Platform, api: Kfp, model: Path):
    path = written(there.settings.home / "recipe.yaml", recipe(model))
    done = CliRunner().invoke(app, ["submit", str(path), "--line", "line", "--json"])
    assert sampled(api, json.loads(done.stdout)["id"]) == ("selftaught-one-shard-round", [0])


def test_a_campaigns_file_is_submitted_as_it_says_and_options_override_it(
    there: Platform, api: Kfp, model: Path, tmp_path: Path
):
    written(tmp_path / "recipe.yaml", recipe(model))
    file = tmp_path / "campaign.yaml"
    metadata = {"apiVersion": "selftaught.io/v1alpha1", "kind": "Campaign", "metadata": {"name": "weekly"}}
    file.write_text(json.dumps(metadata | {"spec": {"line": "line", "recipe": {"path": "recipe.yaml"}, "shards": 3}}))
    one, other = [
        json.loads(CliRunner().invoke(app, ["submit", "-f", str(file), "--json", *options]).stdout)
        for options in ([], ["--shards", "1", "--campaign", "by-hand"])
        if not api.runs or api.end(api.runs[0]["run_id"]) is None
    ]
    assert (one["name"], other["name"]) == ("line weekly round 1", "line by-hand round 1")
    assert sampled(api, one["id"]) == ("selftaught-round", [0, 1, 2])
    assert sampled(api, other["id"]) == ("selftaught-one-shard-round", [0])


@pytest.mark.parametrize(("begun", "named"), [(2, 1), (1, 3), (2, 2)])
def test_a_round_that_was_begun_keeps_its_shards(
    there: Platform, api: Kfp, model: Path, tmp_path: Path, begun: int, named: int
):
    """Whatever is named, or is the default, when it is resumed; the attempt after it is given what is named."""
    Round(tmp_path / "begun", recipe(model), shards=begun).prepare()
    pipelines = {1: "selftaught-one-shard-round", 2: "selftaught-round", 3: "selftaught-round"}
    first = submit(there, replace(order(model), shards=named))
    assert sampled(api, first.id) == (pipelines[begun], list(range(begun)))
    api.end(first.id, "FAILED")
    (round,) = there.tracker.rounds("line", "campaign")
    there.tracker.finish(round.run, "failed")
    again = submit(there, replace(order(model), shards=named))
    assert sampled(api, again.id) == (pipelines[named], list(range(named)))


def test_a_round_that_was_begun_with_another_recipe_is_redrawn(there: Platform, api: Kfp, model: Path, tmp_path: Path):
    """As `run` does it: what was begun has failed. With the same recipe it is resumed."""
    Round(tmp_path / "begun", recipe(model), shards=1).prepare()
    same = submit(there, order(model))
    api.end(same.id, "FAILED")
    changed = Recipe.parse(canonical(recipe(model, tasks={"train": 13})).decode())
    anew = submit(there, replace(order(model), recipe=changed))
    assert [same.name, anew.name] == ["line campaign round 1", "line campaign round 1 attempt 1"]
    assert [round.outcome for round in there.tracker.rounds("line", "campaign")] == ["failed", ""]
    (items,) = [run["runtime_config"]["parameters"] for run in api.runs if run["run_id"] == anew.id]
    assert (Recipe.parse(items["recipe"]), items["attempt"], items["shards"]) == (changed, 1, [0, 1, 2])


@pytest.mark.parametrize(
    ("outcomes", "name"),
    [
        (["promoted"], "line campaign round 2"),
        (["failed"], "line campaign round 1 attempt 1"),
        (["promoted", "abandoned"], "line campaign round 2 attempt 1"),
    ],
)
def test_runs_are_called_by_line_campaign_round_and_attempt(
    there: Platform, model: Path, outcomes: list[str], name: str
):
    for number, outcome in enumerate(outcomes, 1):
        key = RoundKey("line", "campaign", number)
        there.tracker.finish(there.tracker.round_run(key, "main"), outcome)
        if outcome == "promoted":
            end_round(there.store, key, sample(1))
    assert submit(there, order(model)).name == name


def test_runs_that_go_on_with_a_round_can_be_distinguished(there: Platform, api: Kfp, model: Path):
    names = []
    for _ in range(3):
        made = submit(there, order(model))
        names.append(made.name)
        api.end(made.id, "FAILED")
    assert names == ["line campaign round 1", "line campaign round 1 (2)", "line campaign round 1 (3)"]


# Versions of the pipeline -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kubernetes", [False, True])
def test_a_version_is_made_once_and_every_run_is_of_it(there: Platform, api: Kfp, model: Path, kubernetes: bool):
    api.kubernetes = kubernetes
    for _ in range(2):
        api.end(submit(there, order(model)).id)
    (pipeline,), (version,) = api.pipelines, api.versions
    assert pipeline["name"] == "selftaught-round"
    assert version["name"].startswith("selftaught-round-0.1.0-")
    for run in api.runs:
        assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
        assert not run.get("pipeline_spec")


def test_a_version_is_named_by_what_it_holds_and_not_by_the_recipe(
    there: Platform, api: Kfp, model: Path, monkeypatch: pytest.MonkeyPatch
):
    one = submit(there, order(model))
    api.end(one.id)
    other = replace(order(model), recipe=Recipe.parse(canonical(recipe(model, tasks={"train": 13})).decode()))
    same = submit(there, replace(other, campaign="other"))
    api.end(same.id)
    assert one.version == same.version
    monkeypatch.setenv("SELFTAUGHT_IMAGE_STEPS", STEPS.replace("a" * 64, "b" * 64))
    assert submit(Platform.open(), order(model)).version != one.version
    assert len(api.pipelines) == 1
    assert len(api.versions) == 2


def test_a_version_holds_the_compiled_pipeline_with_the_images_of_the_settings(there: Platform, api: Kfp, model: Path):
    submit(there, order(model))
    (version,) = api.versions
    compiled, platform = yaml.safe_load_all((REPOSITORY / "pipelines" / "compiled" / "round.yaml").read_text())
    assert version["pipeline_spec"]["platform_spec"] == platform
    assert version["pipeline_spec"]["pipeline_spec"]["root"] == compiled["root"]
    assert images(version)["exec-verify"] == STEPS
    assert images(version)["exec-train"] == "localhost/selftaught/trainer:0.1.0"
    assert STEPS in version["description"]


def test_two_lines_that_are_first_at_once_have_one_pipeline_and_one_version(
    there: Platform, api: Kfp, model: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both have looked, and found none, before either makes it."""
    both = threading.Barrier(2)

    def meet() -> None:
        if [kind for _, kind, _ in api.asked].count("pipelines") <= 2 and api.asked[-1][1] == "pipelines":
            both.wait(timeout=20)

    champion = there.tracker.resolve("line", "champion")
    assert champion
    there.tracker.point("champion", there.tracker.register("second", champion.digest, champion.uri, "", {}))
    api.after = meet
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda line: submit(Platform.open(), order(model, line)), ["line", "second"]))
    assert len(api.pipelines) == len(api.versions) == 1
    assert made[0].version == made[1].version
    assert len(api.runs) == 2


def test_mlflow_and_status_name_version_and_run(there: Platform, api: Kfp, model: Path):
    made = submit(there, order(model))
    (round,) = there.tracker.rounds("line", "campaign")
    tags = there.tracker.tags(round.run)
    assert (tags["selftaught.pipeline_version"], tags["selftaught.kfp_run"]) == (made.version, made.id)
    data = json.loads(CliRunner().invoke(app, ["status", "line", "--json"]).stdout)
    assert [(run["name"], run["version"]) for run in data["runs"]] == [(made.name, made.version)]
    assert f"{made.name}, {made.version} ({made.id})" in CliRunner().invoke(app, ["status", "line"]).stdout


# One run a line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_line_has_one_active_run(there: Platform, api: Kfp, model: Path, state: str):
    first = submit(there, order(model))
    api.end(first.id, state)
    with pytest.raises(BadInput, match=f"run {first.id} is"):
        submit(there, order(model))
    api.end(first.id, "FAILED")
    submit(there, order(model))


def test_a_schedule_that_fires_during_a_round_is_skipped_and_has_not_failed(there: Platform, api: Kfp, model: Path):
    path = written(there.settings.home / "recipe.yaml", recipe(model))
    first = submit(there, order(model))
    done = CliRunner().invoke(app, ["submit", str(path), "--line", "line", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["outcome"] == "under way"
    assert [run["run_id"] for run in api.runs] == [first.id]


def test_this_machine_runs_no_round_beside_one_on_kfp(there: Platform, api: Kfp, model: Path):
    first = submit(there, order(model))
    (round,) = there.tracker.rounds("line", "campaign")
    with pytest.raises(BadInput, match=f"run {first.id} is pending"):
        next(Campaign(there, order(model), print).run())
    assert there.tracker.outcome(round.run) == ""


def test_two_submits_at_the_very_same_moment_make_one_run(there: Platform, api: Kfp, model: Path):
    """Each has a platform of its own, as processes have; whoever loses gets the reason."""
    at_once = threading.Barrier(4)

    def one(_: int) -> str:
        mine = Platform.open()
        mine.tracker.lines()
        at_once.wait(timeout=60)
        try:
            return submit(mine, order(model)).id
        except (Busy, BadInput) as refused:
            return str(refused)

    with ThreadPoolExecutor(4) as pool:
        items = list(pool.map(one, range(4)))
    assert len(api.runs) == 1
    assert items.count(api.runs[0]["run_id"]) == 1
    assert sum("another process" in words or "is pending" in words for words in items) == 3


# How it is, and its end --------------------------------------------------------------------------------------------


def test_a_run_is_followed_until_its_end(there: Platform, api: Kfp, model: Path):
    run, runner = submit(there, order(model)), KfpRunner(there)
    assert [runner.status(run)] == runs(there, "line")
    assert (runner.status(run).state, runner.status(run).active) == ("PENDING", True)
    api.end(run.id, "FAILED")
    api.runs[0]["error"] = {"message": "exec-train failed"}
    failed = runner.status(run)
    assert failed == RunStatus(run, "FAILED", failed.created, "exec-train failed")
    assert not failed.active


def test_stopping_a_line_terminates_its_active_run_and_the_round_is_resumed(there: Platform, api: Kfp, model: Path):
    """Those that have ended are left as they are, and what was stopped is the same round in the next run."""
    first = submit(there, order(model))
    api.end(first.id, "FAILED")
    second = submit(there, order(model))
    done = CliRunner().invoke(app, ["stop", "line"])
    assert done.stdout == f"{second.name}: run {second.id} is stopped\n"
    assert [run["state"] for run in api.runs] == ["FAILED", "CANCELING"]
    with pytest.raises(BadInput, match=f"run {second.id} is canceling. Wait for it, or stop it: selftaught stop line"):
        submit(there, order(model))
    api.end(second.id, "CANCELED")
    assert CliRunner().invoke(app, ["stop", "line"]).stdout == "line: nothing is running\n"
    assert submit(there, order(model)).name == "line campaign round 1 (3)"


# Who asks -----------------------------------------------------------------------------------------------------------


def test_a_line_without_a_champion_is_told_what_to_do(there: Platform, api: Kfp, model: Path):
    with pytest.raises(BadInput, match="selftaught adopt"):
        submit(there, order(model, "new"))
    assert not api.asked


def test_a_dead_api_is_told(there: Platform, model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match="SELFTAUGHT_KFP"):
        submit(Platform.open(), order(model))


def test_asking_for_runs_makes_nothing(there: Platform, api: Kfp):
    assert runs(there, "line") == []
    assert api.experiments == []


def test_a_kubeflow_with_one_user_is_sent_no_token(there: Platform, api: Kfp, model: Path):
    submit(there, order(model))
    assert api.tokens
    assert set(api.tokens) == {None}


def test_the_mounted_token_is_sent_and_followed_when_it_is_renewed(
    there: Platform, api: Kfp, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setenv(TOKEN_FILE, str(token))
    api.after = lambda: token.write_text("renewed")  # as the kubelet does, at any time
    submit(there, order(model))
    assert api.tokens[0] == "Bearer first"
    assert len(api.tokens) > 1
    assert set(api.tokens[1:]) == {"Bearer renewed"}


@pytest.mark.parametrize("ask", ["submit", "runs"])
def test_a_token_from_elsewhere_is_sent(
    there: Platform, api: Kfp, model: Path, monkeypatch: pytest.MonkeyPatch, ask: str
):
    monkeypatch.setenv(TOKEN, "of-a-person")
    {"submit": lambda: submit(there, order(model)), "runs": lambda: runs(there, "line")}[ask]()
    assert set(api.tokens) == {"Bearer of-a-person"}


def test_pipelines_and_experiments_are_looked_for_and_made_in_the_profile(
    there: Platform, api: Kfp, model: Path, monkeypatch: pytest.MonkeyPatch
):
    """Runs follow their experiment into its namespace, versions their pipeline."""
    monkeypatch.setenv("SELFTAUGHT_KFP_NAMESPACE", "team-a")
    submit(Platform.open(), order(model))
    for kind in ("experiments", "pipelines"):
        asked, *_ = api.sent("GET", kind)
        assert "namespace=team-a" in asked
        assert getattr(api, kind)[0]["namespace"] == "team-a"


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_known_is_told_how_to_be(there: Platform, api: Kfp, status: int):
    api.refuses = status
    with pytest.raises(BadInput, match=f"refuses it.*{TOKEN_FILE} or {TOKEN}.*SELFTAUGHT_KFP_NAMESPACE"):
        runs(there, "line")


def test_a_token_file_that_is_not_there_is_named(
    there: Platform, api: Kfp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(TOKEN_FILE, str(tmp_path / "nowhere"))
    with pytest.raises(BadInput, match=f"{TOKEN_FILE}: .*nowhere: no such file"):
        runs(there, "line")
    assert not api.asked


def test_a_campaign_that_a_control_has_ended_submits_nothing_and_a_schedule_takes_that_for_no_failure(
    there: Platform, api: Kfp, model: Path
):
    flat = {"type": "until", "metric": "accuracy", "rounds": 2, "min_gain": 1.0}
    path = written(there.settings.home / "recipe.yaml", recipe(model, control=flat))
    key = RoundKey("line", "campaign")
    end_round(there.store, key, sample(1))
    points = CampaignState(controls={"main/until": {"points": [[0.5, 0.01], [0.5, 0.01]]}})
    there.ledger.write(StateEntry(key), points)
    asked = ["submit", str(path), "--line", "line", "--campaign", "campaign", "--json"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outcome"] == "stopped early"
    assert api.runs == []
