"""The CronJobs of schedules: one that was made by hand as the API server takes it, the chart's as they submit.

What they submit to is the stand-in of Kubeflow Pipelines' API (tests/kfp_api.py), here in a Pod.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from selftaught.campaign.kfp.schedules import Clock, cron_job
from selftaught.campaign.order import CampaignOrder
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.settings import Settings
from tests import kfp_api
from tests.cluster.installation import Installation
from tests.cluster.kube import CHART, REPOSITORY, Kube, run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LINE, CAMPAIGN, SCHEDULE = "scheduled", "weekly", "often"
SERVED = """
import time
import kfp_api

with kfp_api.serving(kfp_api.Kfp(), "0.0.0.0", 8888):
    time.sleep(1e6)
"""


@pytest.mark.parametrize("profile", ["", "team-a"])
def test_it_is_admitted_under_restricted_and_set_again(
    kube: Kube, namespaces: Callable[[str], str], tmp_path: Path, profile: str
) -> None:
    space = namespaces("schedule")
    found = Settings(
        home=tmp_path,
        store="s3://bucket",
        tracking_uri="http://mlflow",
        namespace=space,
        image_steps="steps:1",
        kfp_namespace=profile,
    )
    order = CampaignOrder(Recipe.load(REPOSITORY / "recipes" / "rft.yaml"), "support", "weekly")
    for cron in ("0 3 * * 1", "@daily"):
        job = cron_job(found, order, Clock(cron, "Europe/Berlin"))
        done = kube.run("apply", "--validate=strict", "-f", "-", given=yaml.safe_dump(job))
        assert "Warning" not in done.stderr
    (kept,) = kube.get("cronjobs", "-n", space)["items"]
    assert (kept["spec"]["schedule"], kept["spec"]["timeZone"]) == ("@daily", "Europe/Berlin")


@pytest.fixture(scope="module")
def kfp(installation: Installation) -> Iterator[str]:
    """The URL of the API; the release has it, and a schedule that never fires by itself here."""
    space = ("-n", installation.namespace)
    for item in pipelines(installation):
        installation.kube.run(*space, "create", "-f", "-", given=json.dumps(item))
    installation.kube.run(*space, "wait", "pod/ml-pipeline", "--for=condition=Ready", "--timeout=3m")

    def upgraded(kfp: dict[str, Any], schedules: list[dict[str, Any]]) -> None:
        found = yaml.safe_dump({"kfp": kfp, "schedules": schedules})
        words = ("helm", "--kubeconfig", installation.kube.config, "upgrade", "selftaught", str(CHART), *space)
        run(*words, "--reuse-values", "-f", "-", given=found)

    url = f"http://ml-pipeline.{installation.namespace}.svc.cluster.local:8888"
    runner = {"namespace": installation.namespace, "name": "pipeline-runner"}
    recipe = (REPOSITORY / "recipes" / "rft.yaml").read_text()
    often = {"name": SCHEDULE, "cron": "@yearly", "line": LINE, "campaign": CAMPAIGN, "recipe": recipe, "shards": 2}
    upgraded({"enabled": True, "url": url, "runner": runner}, [often])
    service: Any = installation.get("service", "ml-pipeline")
    yield f"http://{service['spec']['clusterIP']}:8888/apis/v2beta1"
    upgraded({"enabled": False}, [])


def pipelines(installation: Installation) -> list[dict[str, Any]]:
    """The API's Pod, its code and its address."""
    name = {"metadata": {"name": "ml-pipeline", "labels": {"app": "ml-pipeline"}}}
    container = {
        "name": "api",
        "image": installation.image("selftaught/steps:0.1.0"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SERVED],
        "env": [{"name": "PYTHONPATH", "value": "/kfp"}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "readinessProbe": {"tcpSocket": {"port": 8888}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "code", "mountPath": "/kfp"}],
    }
    code = {"kfp_api.py": Path(kfp_api.__file__).read_text()}
    volumes = [{"name": "code", "configMap": {"name": "ml-pipeline"}}]
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", **name, "data": code},
        {"apiVersion": "v1", "kind": "Pod", **name, "spec": {"containers": [container], "volumes": volumes}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            **name,
            "spec": {"selector": {"app": "ml-pipeline"}, "ports": [{"port": 8888}]},
        },
    ]


def test_a_schedule_of_the_chart_submits_a_run_of_a_version(
    installation: Installation, platform: Platform, kfp: str
) -> None:
    """By its CronJob's own Pod: as the scheduler's account, with the steps' in MLflow, of the release's images."""
    champion = platform.tracker.register(LINE, "e0" * 32, platform.store.uri("models", "e0" * 32), "", {})
    platform.tracker.point("champion", champion)
    space = ("-n", installation.namespace)
    installation.kube.run(*space, "create", "job", "once", f"--from=cronjob/selftaught-{SCHEDULE}")
    installation.kube.run(*space, "wait", "job/once", "--for=condition=complete", "--timeout=5m")

    def there(path: str, name: str) -> list[dict[str, Any]]:
        return httpx.get(f"{kfp}/{path}", timeout=60, trust_env=False).json()[name]

    (made,), (experiment,) = there("runs", "runs"), there("experiments", "experiments")
    assert experiment["display_name"] == f"selftaught/{LINE}"
    assert made["display_name"] == f"{LINE} {CAMPAIGN} round 1"
    found = made["runtime_config"]["parameters"]
    assert Recipe.parse(found["recipe"]).digest == Recipe.load(REPOSITORY / "recipes" / "rft.yaml").digest
    assert (found["number"], found["attempt"], found["shards"]) == (1, 0, [0, 1])
    reference = made["pipeline_version_reference"]
    (version,) = there(f"pipelines/{reference['pipeline_id']}/versions", "pipeline_versions")
    assert version["pipeline_version_id"] == reference["pipeline_version_id"]
    executors = version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    assert installation.image("selftaught/steps:0.1.0") in {each["container"]["image"] for each in executors}
    (round,) = platform.tracker.rounds(LINE, CAMPAIGN)
    tags = platform.tracker.tags(round.run)
    assert (tags["selftaught.pipeline_version"], tags["selftaught.kfp_run"]) == (version["name"], made["run_id"])
