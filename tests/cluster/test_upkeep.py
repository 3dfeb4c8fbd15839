"""A promotion that dies in the middle is ended by the Job that it has started: all of it in Pods, as the promoter.

The engines are simulators that load nothing and name what they serve, which is all that a promotion asks of them.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from selftaught.inference.endpoint import served_name
from selftaught.platform import Platform
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.promotion import move
from selftaught.serving.upkeep import CRON_JOB
from selftaught.state.tracking import Version
from tests.cluster.installation import Installation, pointed, serving
from tests.cluster.kube import CHART

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.timeout(1200)]

LINE, RUNTIME = "killed", "stand-in"
ENGINE = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

names = sys.argv[sys.argv.index("--served-model-name") + 1 :]


class Engine(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"object": "list", "data": [{"id": name, "object": "model"} for name in names]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("", 8080), Engine).serve_forever()
"""
DYING = """
import os, sys
from functools import partial
from selftaught.platform import Platform
from selftaught.serving.promotion import move
from selftaught.serving.routes.service import ServiceRoute
from selftaught.serving.upkeep import attend

ServiceRoute.point = lambda *_: os._exit(137)
platform, (line, digest) = Platform.open(), sys.argv[1:]
(new,) = [version for version in platform.tracker.versions(line) if version.digest == digest]
move(platform.tracker, platform.serving(), new, begun=partial(attend, platform.settings, line))
"""
"""A promotion as the step makes it, gone without a word between the alias and the address, with the line's lease."""
SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.fixture(scope="module")
def upkeep(installation: Installation) -> Iterator[Installation]:
    """The platform with the CronJob that promotions take their Job from; it does not fire by itself meanwhile."""

    def upgraded(*text: str) -> None:
        words = [word for each in text for word in ("--set", f"upkeep.reconcile.{each}")]
        installation.kube.helm(
            "upgrade", "selftaught", str(CHART), "-n", installation.namespace, "--reuse-values", *words
        )

    upgraded("enabled=true", "cron=@yearly")
    yield installation
    upgraded("enabled=false")


@pytest.fixture(scope="module")
def backend(upkeep: Installation, platform: Platform) -> KServe:
    """Serves versions by stand-ins."""
    container = {
        "name": "kserve-container",
        "image": upkeep.image("selftaught/steps:0.1.0"),
        "command": ["python", "-c", ENGINE],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": SECURITY,
    }
    formats = [{"name": "selftaught", "version": "1"}]
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": RUNTIME},
        "spec": {"supportedModelFormats": formats, "containers": [container]},
    }
    upkeep.kube.run("-n", upkeep.namespace, "create", "-f", "-", given=json.dumps(runtime))
    found = platform.settings.model_copy(update={"runtime": RUNTIME})
    return serving(Platform(found, platform.store, platform.tracker))


@pytest.fixture(scope="module")
def versions(platform: Platform, backend: KServe, tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    """Two versions of a line that are served; the first is its champion."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    made: list[Version] = []
    for digest in ("d0" * 32, "d1" * 32):
        platform.store.put("models", digest, folder)
        made.append(platform.tracker.register(LINE, digest, platform.store.uri("models", digest), "", {}))
        backend.ready(LINE, digest)
    move(platform.tracker, backend, made[0])
    return made


def test_what_a_killed_promotion_began_is_ended_by_its_job(
    upkeep: Installation, platform: Platform, backend: KServe, versions: list[Version]
) -> None:
    space = ("-n", upkeep.namespace)
    upkeep.kube.run(*space, "create", "-f", "-", given=json.dumps(promotion(upkeep, versions[1].digest)))
    upkeep.kube.run(*space, "wait", "pod/promotion", "--for=jsonpath={.status.phase}=Failed", "--timeout=3m")
    begin = time.monotonic()
    assert platform.tracker.resolve(LINE, "champion") == versions[1]
    assert pointed(backend, LINE) == served_name(LINE, versions[0].digest), "users are where they were"
    (job,) = jobs(upkeep)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["reconcile", "--when-free", LINE]
    upkeep.kube.run(*space, "wait", f"job/{job['metadata']['name']}", "--for=condition=complete", "--timeout=6m")
    print(f"the Job was done {time.monotonic() - begin:.0f} s after the promotion had died")
    assert pointed(backend, LINE) == served_name(LINE, versions[1].digest)
    assert len(jobs(upkeep)) == 1


def jobs(installation: Installation) -> list[Any]:
    """The Jobs that were made of the CronJob."""
    listed: Any = installation.get("jobs")
    owners = [(job, job["metadata"].get("ownerReferences", ())) for job in listed["items"]]
    return [job for job, owned in owners if any(owner["name"] == CRON_JOB for owner in owned)]


def promotion(installation: Installation, digest: str) -> dict[str, Any]:
    """The Pod of a promotion that dies."""
    named = [{"configMapRef": {"name": "selftaught-settings"}}]
    named += [{"secretRef": {"name": name}} for name in ("selftaught-s3", "selftaught-mlflow-promoter")]
    container = {
        "name": "promotion",
        "image": installation.image("selftaught/steps:0.1.0"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", DYING, LINE, digest],
        "workingDir": "/tmp",
        "envFrom": named,
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": SECURITY,
    }
    labels = {"app.kubernetes.io/component": "promoter"}
    spec = {"restartPolicy": "Never", "serviceAccountName": "selftaught-promoter", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "promotion", "labels": labels}, "spec": spec}
