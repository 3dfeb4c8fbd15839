"""KEDA scales a version by what its engines tell Prometheus: up under load, back after it, and nobody else's.

Needs KEDA and a Prometheus that scrapes Pods annotated `prometheus.io/scrape`; SELFTAUGHT_TEST_PROMETHEUS is its URL in
the cluster. Stand-ins: the engine (engine.py), because real ones in this number need more than two cores; and KServe's
controller, whose ScaledObject is made here of the platform's InferenceService as its source makes it.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from selftaught.serving.kserve.inference_service import inference_service
from selftaught.settings import Settings
from tests.cluster.kube import REGISTRY, Kube

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

CRD = "scaledobjects.keda.sh"
PROMETHEUS = os.environ.get("SELFTAUGHT_TEST_PROMETHEUS", "http://prometheus.monitoring.svc.cluster.local:9090")
ENGINE = Path(__file__).parent / "engine.py"
DIGEST = "3f9a1c2e" * 8
MOST, EACH, USERS = 3, 2, 8
PATIENCE = 300
# KServe hands it on. Kubernetes' own is five minutes, which is what a version has and a test does not wait for.
BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 15}}
SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Scaled:
    """A version that is served in `namespace`, and what KEDA makes of it."""

    kube: Kube
    namespace: str
    name: str
    """Of its Deployment, its Service and its ScaledObject, which are called alike."""

    def has(self, servers: int) -> None:
        """Wait until so many are there, and all answer."""
        wait = ("-n", self.namespace, "wait", f"deployment/{self.name}", f"--timeout={PATIENCE}s")
        for state in ("replicas", "readyReplicas"):
            self.kube.run(*wait, f"--for=jsonpath={{.status.{state}}}={servers}")

    @property
    def wanted(self) -> int:
        """How many there are to be."""
        return self.kube.get("-n", self.namespace, "deployment", self.name)["spec"]["replicas"]

    @property
    def requests(self) -> int:
        """How many requests KEDA tells Kubernetes that it holds."""
        path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{self.namespace}/s0-prometheus"
        selector = f"labelSelector=scaledobject.keda.sh%2Fname%3D{self.name}"
        (item,) = json.loads(self.kube.run("get", "--raw", f"{path}?{selector}").stdout)["items"]
        return int(item["value"])

    @property
    def url(self) -> str:
        service = self.kube.get("-n", self.namespace, "service", self.name)
        return f"http://{service['spec']['clusterIP']}/v1/completions"


@dataclass
class Load:
    """USERS who ask again as soon as they are answered, from the beginning of the `with` block to its end."""

    url: str
    answered: list[int] = field(default_factory=list[int])
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def __enter__(self) -> "Load":
        self._threads += [threading.Thread(target=self._use, daemon=True) for _ in range(USERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _use(self) -> None:
        while not self._stop.is_set():
            self.answered.append(self._ask())

    def _ask(self) -> int:
        try:
            return httpx.post(self.url, json={}, timeout=120, trust_env=False).status_code
        except httpx.HTTPError:
            return 0


@pytest.fixture(scope="module")
def keda(kube: Kube) -> None:
    if kube.run("get", "customresourcedefinition", CRD, check=False).returncode:
        pytest.skip(f"the cluster has no KEDA (CustomResourceDefinition {CRD})")


@pytest.fixture(scope="module")
def serve(kube: Kube, keda: None) -> Callable[[str, str], Scaled]:
    """Serves a line's version in a namespace, scaled as the platform's InferenceService says."""

    def made(namespace: str, line: str) -> Scaled:
        scaled = scaled_object(service(namespace, line))
        name = scaled["metadata"]["name"]
        meta, data = {"name": name}, {"engine.py": ENGINE.read_text()}
        code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        for item in (code, deployment(name), address(name), scaled):
            kube.run("-n", namespace, "create", "-f", "-", given=json.dumps(item))
        return Scaled(kube, namespace, name)

    return made


@pytest.fixture(scope="module")
def versions(
    kube: Kube, namespaces: Callable[..., str], serve: Callable[[str, str], Scaled]
) -> Iterator[tuple[Scaled, Scaled, Scaled]]:
    """A team's version, the team's other line, and another team's version of the same name; each has one server."""
    ours, theirs = namespaces("keda-ours"), namespaces("keda-theirs")
    made = serve(ours, "support"), serve(ours, "search"), serve(theirs, "support")
    for each in made:
        found = ("-n", each.namespace, f"scaledobject/{each.name}")
        kube.run("wait", *found, "--for=condition=Ready", f"--timeout={PATIENCE}s")
        each.has(servers=1)
    yield made
    # What KEDA watches goes while KEDA is looking: a namespace waits for its finalizers.
    for namespace in (ours, theirs):
        kube.run("-n", namespace, "delete", "scaledobjects", "--all")


def service(namespace: str, line: str) -> Any:
    """The InferenceService as the platform makes it, which is to come back sooner."""
    found = Settings(
        home=Path(),
        store="s3://bucket",
        tracking_uri="none",
        namespace=namespace,
        max_replicas=MOST,
        requests_per_replica=EACH,
        prometheus=PROMETHEUS,
    )
    made = inference_service(found, "s3://bucket/models/x", line, DIGEST)
    made["spec"]["predictor"]["autoScaling"]["behavior"] = BEHAVIOR
    return made


def scaled_object(service: Any) -> dict[str, Any]:
    """What KServe's controller makes of an InferenceService (its reconcilers/keda/keda_reconciler.go)."""
    predictor, meta = service["spec"]["predictor"], service["metadata"]
    name = f"{meta['name']}-predictor"
    triggers = [trigger(each["external"]) for each in predictor["autoScaling"]["metrics"]]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "labels": meta["labels"], "annotations": meta["annotations"]},
        "spec": {
            "scaleTargetRef": {"name": name},
            "minReplicaCount": predictor["minReplicas"],
            "maxReplicaCount": predictor["maxReplicas"],
            "triggers": triggers,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": predictor["autoScaling"]["behavior"]}},
        },
    }


def trigger(external: Any) -> dict[str, Any]:
    metric = external["metric"]
    fields = {"serverAddress": metric["serverAddress"], "query": metric["query"]}
    return {"type": metric["backend"], "metadata": fields | {"threshold": f"{float(external['target']['value']):f}"}}


def deployment(name: str) -> dict[str, Any]:
    """The version's engines: the steps image has a Python to run engine.py with."""
    container = {
        "name": "kserve-container",
        "image": f"{REGISTRY}/selftaught/steps:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/engine/engine.py", name.removesuffix("-predictor")],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
        "securityContext": SECURITY,
        "volumeMounts": [{"name": "engine", "mountPath": "/engine"}],
    }
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    pod = {
        "containers": [container],
        "volumes": [{"name": "engine", "configMap": {"name": name}}],
        "terminationGracePeriodSeconds": 1,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}, "annotations": scraped}, "spec": pod},
        },
    }


def address(name: str) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    meta = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def answers(load: Load, number: int) -> Iterator[None]:
    """Until so many more have come."""
    asked = len(load.answered)
    while len(load.answered) < asked + number:
        yield time.sleep(1)


def test_a_version_grows_under_load_and_shrinks_after_it_and_no_other_does(
    versions: tuple[Scaled, Scaled, Scaled],
) -> None:
    busy, *others = versions
    begin = time.monotonic()
    with Load(busy.url) as load:
        busy.has(servers=MOST)
        print(f"{MOST} servers answered {time.monotonic() - begin:.0f} s after the load began.")
        # What it holds stays, whoever answers it, and so do its servers.
        wanted = {busy.wanted for _ in answers(load, 100)}
        assert wanted == {MOST}
        assert busy.requests > (MOST - 1) * EACH
        assert [(other.requests, other.wanted) for other in others] == [(0, 1), (0, 1)]
    assert set(load.answered) == {200}
    busy.has(servers=1)
    assert busy.requests == 0


def test_kedas_webhook_takes_one_scaled_object_of_a_version_and_no_second(
    kube: Kube, versions: tuple[Scaled, Scaled, Scaled]
) -> None:
    there = versions[0]
    second = scaled_object(service(there.namespace, "support"))
    second["metadata"]["name"] += "-again"
    done = kube.run("-n", there.namespace, "create", "-f", "-", given=json.dumps(second), check=False)
    assert "admission webhook" in done.stderr
    # It looks at the autoscalers that it made and at the objects that they were made for: either is reported.
    managers = (f"ScaledObject '{there.name}'", f"hpa 'keda-hpa-{there.name}'")
    assert any(f"already managed by the {manager}" in done.stderr for manager in managers)
