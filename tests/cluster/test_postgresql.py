"""MLflow as it is for real: two replicas on PostgreSQL, restarted one after the other under rounds.

A round is the components' own steps in this process on simulated engines, because one in Pods takes longer than a
roll-out does. What it logs goes to the Service, its files to the cluster's S3. PostgreSQL is Debian's
(images/postgresql; SELFTAUGHT_TEST_POSTGRESQL_IMAGE).
"""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.adopt import adopt
from selftaught.state.tracking import Tracker
from tests.cluster.installation import Installation, install
from tests.cluster.kube import IMAGES, Kube
from tests.rounds import Round, model, owned_engines, recipe, recorded_blocks, requests

__all__ = ["model", "recorded_blocks", "requests"]

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

IMAGE = os.environ.get("SELFTAUGHT_TEST_POSTGRESQL_IMAGE", "localhost/postgresql:test")
PASSWORD = "p@ss%word/for:tests"
SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
NAME = {"metadata": {"name": "postgresql", "labels": {"app": "postgresql"}}}
MLFLOW = "deployment/selftaught-mlflow"


def database() -> list[dict[str, Any]]:
    """PostgreSQL, its address, and the Secret that the chart's values name."""
    container = {
        "name": "postgresql",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "POSTGRES_PASSWORD", "value": PASSWORD}],
        "ports": [{"containerPort": 5432}],
        "readinessProbe": {"tcpSocket": {"port": 5432}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "securityContext": SECURITY,
        "volumeMounts": [{"name": each, "mountPath": f"/{each}"} for each in ("data", "tmp")],
    }
    volumes = [{"name": each, "emptyDir": {}} for each in ("data", "tmp")]
    ports = [{"port": 5432}]
    url = f"postgresql+psycopg2://mlflow:{quote(PASSWORD, safe='')}@postgresql:5432/postgres"
    secret = {"metadata": {"name": "mlflow-database"}, "stringData": {"uri": url}}
    return [
        {"apiVersion": "v1", "kind": "Pod", **NAME, "spec": {"containers": [container], "volumes": volumes}},
        {"apiVersion": "v1", "kind": "Service", **NAME, "spec": {"selector": {"app": "postgresql"}, "ports": ports}},
        {"apiVersion": "v1", "kind": "Secret", **secret},
    ]


@pytest.fixture(scope="module")
def replicas(
    kube: Kube, namespaces: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """The chart with two replicas of MLflow, which come up at once before an empty PostgreSQL."""
    namespace, folder = namespaces("mlflow"), tmp_path_factory.mktemp("platform")
    for item in database():
        kube.run("-n", namespace, "create", "-f", "-", given=json.dumps(item))
    kube.run("-n", namespace, "wait", "pod/postgresql", "--for=condition=Ready", "--timeout=3m")
    mlflow = {"replicas": 2, "database": {"existingSecret": "mlflow-database"}, "allowedHosts": ["10.*:5000"]}
    values = folder / "values.yaml"
    values.write_text(
        yaml.safe_dump(
            {**IMAGES, "mlflow": mlflow, "upkeep": {"reconcile": {"enabled": False}}, "admission": {"enabled": False}}
        )
    )
    installed = install(kube, namespace, values, folder / "home")
    found = ("AWS_", "MLFLOW_", "SELFTAUGHT_STORE")
    with pytest.MonkeyPatch.context() as patch:
        # Steps and engines are here, whatever the platform of the tests before has configured in this process.
        for name in [name for name in os.environ if name.startswith("SELFTAUGHT_") and "_TEST_" not in name]:
            patch.delenv(name)
        for name, value in installed.environment.items():
            if name.startswith(found):
                patch.setenv(name, value)
        yield installed
    kube.helm("uninstall", "selftaught", "-n", namespace)


def test_one_replica_makes_the_tables_and_the_other_waits(replicas: Installation) -> None:
    """Neither has had to start again."""
    selector = "app.kubernetes.io/component=mlflow"
    pods = replicas.get("pods", "-l", selector)["items"]
    assert len(pods) == 2
    for pod in pods:
        status = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
        assert [each["restartCount"] for each in status] == [0] * len(status)


@dataclass
class Probe:
    """Asks MLflow over new connections from the beginning of the `with` block to its end."""

    url: str
    answered: list[str] = field(default_factory=list[str])
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Probe":
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.2):
            try:
                answer = httpx.get(f"{self.url}/health", timeout=60, trust_env=False)
                self.answered.append(str(answer.status_code))
            except httpx.HTTPError as error:
                self.answered.append(repr(error))


def logged(tracker: Tracker, line: str) -> dict[str, Any]:
    """What a line has in MLflow: its runs by name, each with its parameters and every point of its metrics."""
    client, runs = tracker.client, dict[str, Any]()
    for run in client.search_runs([tracker.experiment(line)]):
        metrics = {
            name: [p.step for p in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics
        }
        assert run.info.run_name not in runs
        runs[run.info.run_name] = (run.info.status, sorted(run.data.params), metrics)
    return runs | {"versions": len(tracker.versions(line)), "aliases": sorted(tracker.aliases(line))}


def round_of(line: str, model: Path, folder: Path) -> Tracker:
    """A round of the steps on `line`, to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", str(folder / "home"))
        platform = Platform.open()
        adopt(platform, Recipe.parse(json.dumps(recipe(model))), line)
        with owned_engines(platform.settings.home):
            outcome = Round(folder / "artifacts", recipe(model), line=line, shards=1).run()
    assert outcome == "promoted"
    return platform.tracker


def roll_out(installation: Installation) -> None:
    """Have a new Pod instead of every replica, one after the other."""
    space = ("-n", installation.namespace, "rollout")
    installation.kube.run(*space, "restart", MLFLOW)
    installation.kube.run(*space, "status", MLFLOW, "--timeout=10m")


@pytest.mark.usefixtures("requests", "recorded_blocks")
def test_rounds_during_a_roll_out_log_what_they_log_without(
    replicas: Installation, model: Path, tmp_path: Path
) -> None:
    """One round after the other from its beginning to its end, so that every Pod is lost to one of them."""
    quiet = logged(round_of("quiet", model, tmp_path / "quiet"), "quiet")
    rounds: list[dict[str, Any]] = []
    with Probe(replicas.environment["MLFLOW_TRACKING_URI"]) as probe, ThreadPoolExecutor(1) as pool:
        rolled = pool.submit(roll_out, replicas)
        while not rolled.done():
            line = f"rolled-{len(rounds)}"
            rounds.append(logged(round_of(line, model, tmp_path / line), line))
        rolled.result()
    print(f"{len(rounds)} rounds during a roll-out, {len(probe.answered)} requests of a probe beside them")
    assert len(rounds) > 1
    assert rounds == [quiet] * len(rounds)
    assert set(probe.answered) == {"200"}
