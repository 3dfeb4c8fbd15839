"""Rounds on a schedule: the CronJob that a line is given, and what it replaces."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from selftaught.campaign.kfp.client import TOKEN, TOKEN_FILE
from selftaught.campaign.kfp.schedules import RECIPE, WEEK, Clock, cron_job, schedule
from selftaught.campaign.order import CampaignOrder
from selftaught.cli.main import app
from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.settings import Settings
from tests.kfp_api import Kfp, serving
from tests.rounds import REPOSITORY, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]  # fixtures

STEPS = "registry.example.com/selftaught/steps:0.1.0"
CLOCK = Clock("0 3 * * 1")


def order(line: str = "line") -> CampaignOrder:
    return CampaignOrder(Recipe.load(REPOSITORY / "recipes" / "rft.yaml"), line, "weekly")


def settings(home: Path, **more: Any) -> Settings:
    places = {"home": home, "store": str(home / "store"), "tracking_uri": "http://mlflow"}
    return Settings(**(places | {"image_steps": STEPS, "namespace": "selftaught"} | more))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The CronJobs of a stand-in for the API server, by name."""
    jobs: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            name = body["metadata"]["name"] if body else self.path.rpartition("/")[2]
            if body:
                jobs[name] = body
            self.send_response(200 if name in jobs else 404)
            answer = json.dumps(jobs.get(name, {"message": "not found"})).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    named = {"clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]}
    named |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}
    named |= {"users": [{"name": "u", "user": {}}], "apiVersion": "v1", "kind": "Config"}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(named))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield jobs
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    for name in (TOKEN_FILE, TOKEN):
        monkeypatch.delenv(name, raising=False)
    with serving(Kfp()) as api:
        monkeypatch.setenv("SELFTAUGHT_KFP", api.url)
        monkeypatch.setenv("SELFTAUGHT_IMAGE_STEPS", STEPS)
        yield api


def test_it_is_the_charts_schedule(home: Path):
    """One way: what the chart renders in its production overlay, but for names, labels and where the recipe is."""
    rendered = list(yaml.safe_load_all((REPOSITORY / "manifests/overlays/prod/platform.yaml").read_text()))
    (charts,) = [
        each
        for each in rendered
        if each["kind"] == "CronJob" and each["metadata"]["name"] == "selftaught-support-weekly"
    ]
    (container,) = charts["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    ours = cron_job(settings(home, image_steps=container["image"]), order("support"), CLOCK)
    one, other = plain(charts), plain(ours)
    assert other.pop("suspend") is False
    assert one.pop("suspend") is True  # the overlay's own
    assert other == one


def plain(job: dict[str, Any]) -> dict[str, Any]:
    """A CronJob's spec without what the two may differ in."""
    spec = json.loads(json.dumps(job["spec"]))
    pod = spec["jobTemplate"]["spec"]["template"]
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "scheduler"
    del pod["metadata"]
    (container,) = pod["spec"]["containers"]
    container.pop("imagePullPolicy", None)
    for source in container["envFrom"]:
        for kind in source.values():
            kind.pop("optional", None)
    pod["spec"]["volumes"] = [volume["name"] for volume in pod["spec"]["volumes"]]
    return spec


def test_the_recipe_travels_whole(home: Path):
    job = cron_job(settings(home), order(), CLOCK)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    assert Recipe.parse(pod["metadata"]["annotations"][RECIPE]).digest == order().recipe.digest
    (recipe, _) = pod["spec"]["volumes"]
    assert recipe["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == f"metadata.annotations['{RECIPE}']"
    mounted = pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    assert pod["spec"]["containers"][0]["args"][1] == f"{mounted}/{recipe['downwardAPI']['items'][0]['path']}"


def test_what_it_runs_is_a_command_of_ours(home: Path):
    """With the hours after which a round is given up, a week unless configured otherwise."""
    container = cron_job(settings(home), order(), CLOCK)["spec"]["jobTemplate"]["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert f"--abandon-after={WEEK}" in container["args"]
    done = CliRunner().invoke(app, [*container["args"], "--help"])
    assert done.exit_code == 0


def test_a_campaigns_file_says_when_and_what_and_whether_it_is_suspended(
    platform: Platform, api: Kfp, cluster: dict[str, Any], model: Path, tmp_path: Path
):
    campaign = {
        "line": "line",
        "recipe": {"inline": json.dumps(recipe(model)), "set": ["tasks.train=13"]},
        "schedule": {"cron": "0 3 * * 1", "timeZone": "Europe/Berlin"},
        "suspend": True,
        "shards": 3,
    }
    (tmp_path / "campaign.yaml").write_text(json.dumps(campaign))
    done = CliRunner().invoke(app, ["schedule", "-f", str(tmp_path / "campaign.yaml"), "--time-zone", "Etc/GMT"])
    assert done.exit_code == 0, done.stderr
    spec = cluster["selftaught-line-line"]["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["suspend"]) == ("0 3 * * 1", "Etc/GMT", True)
    pod = spec["jobTemplate"]["spec"]["template"]
    assert "--shards=3" in pod["spec"]["containers"][0]["args"]
    assert Recipe.parse(pod["metadata"]["annotations"][RECIPE]).tasks.train == 13


def test_where_kubeflow_has_many_users_it_says_who_it_is(home: Path):
    pod = cron_job(settings(home, kfp_namespace="team-a"), order(), CLOCK)["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    (token,) = [volume for volume in pod["volumes"] if volume["name"] == "kfp-token"]
    assert token["projected"]["sources"][0]["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"


@pytest.mark.parametrize("cron", ["", "daily", "@often", "0 3 * *", "0 0 3 * * 1", "0 3 * * $x"])
def test_a_wrong_cron_is_told_before_anything_is_asked(cron: str):
    with pytest.raises(BadInput, match="five fields"):
        Clock(cron)


@pytest.mark.parametrize("line", ["Support", "a_b", "l" * 40])
def test_a_line_that_no_cronjob_can_be_called_like_is_told(home: Path, line: str):
    with pytest.raises(BadInput, match=f"line '{line}': a CronJob is called like it"):
        cron_job(settings(home), order(line), CLOCK)


def test_without_the_clusters_image_there_is_no_schedule(home: Path):
    with pytest.raises(BadInput, match="SELFTAUGHT_IMAGE_STEPS: not set"):
        cron_job(settings(home, image_steps=""), order(), CLOCK)


def test_a_schedule_takes_the_place_of_the_lines_own_and_of_recurring_runs(
    platform: Platform, cluster: dict[str, Any], api: Kfp, model: Path
):
    api.experiments = [{"experiment_id": "e1", "display_name": "selftaught/line"}]
    api.experiments += [{"experiment_id": "e2", "display_name": "selftaught/other"}]
    api.recurringruns = [
        {"recurring_run_id": f"s{n}", "display_name": f"line weekly {n}", "experiment_id": "e1"} for n in (1, 2)
    ]
    others = {"recurring_run_id": "s3", "display_name": "other weekly", "experiment_id": "e2"}
    api.recurringruns.append(others)
    asked = CampaignOrder(Recipe.parse(json.dumps(recipe(model))), "line", "weekly")
    first = schedule(Platform.open(), asked, CLOCK)
    assert (first.name, first.replaced) == ("selftaught-line-line", ("line weekly 1", "line weekly 2"))
    assert api.recurringruns == [others]
    second = schedule(Platform.open(), replace(asked, campaign="daily"), Clock("@daily"))
    assert second.replaced == ()
    assert [job["spec"]["schedule"] for job in cluster.values()] == ["@daily"]


def test_a_kubeflow_that_is_silent_leaves_no_schedule_behind(
    platform: Platform, cluster: dict[str, Any], api: Kfp, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_KFP", "http://127.0.0.1:9")
    done = CliRunner().invoke(app, ["schedule", _written(platform, model), "--line", "line", "--cron", "0 3 * * 1"])
    assert done.exit_code == 1
    assert "does not answer" in done.stderr
    assert cluster == {}


def _written(platform: Platform, model: Path) -> str:
    path = platform.settings.home / "recipe.yaml"
    path.write_text(json.dumps(recipe(model)))
    return str(path)
