"""A round whose engines' pods are lost while a step asks them: killed, evicted, out of memory. It ends by itself.

The steps run here, as of a pipeline; what serves the models is the cluster's: InferenceServices, Deployments, the
kernel's own out-of-memory killer, the Eviction API. Pods run simulated engines (`lost_engine.py`), of a runtime of the
test's own, which hold a request until what is to happen to them has happened.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from selftaught.cluster.client import Cluster
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round.adopt import adopt, adopt_roles
from selftaught.serving.routes.service import ENGINE_PORT, SELECTOR
from selftaught.state.ledger import ReferenceEntry
from tests.cluster.installation import Installation, pointed, serving
from tests.rounds import ENGINE, Round, model, recipe, recorded_blocks, tiny_model

__all__ = ["model", "recorded_blocks"]

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.timeout(1800)]

LINE, RUNTIME = "lost", "lost-engines"
MANNERS = ("kill", "evict", "grow")
HELD = {
    "sample": "/v1/chat/completions",
    "verify": "/v1/chat/completions",
    "evaluate gate": "/v1/chat/completions",
    "promote": "/v1/models",
}
"""The steps whose engines are lost, and the path whose third request is held; promote asks who answers, no more."""
SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
KILL = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"


def runtime(image: str) -> dict[str, Any]:
    """The simulated engine as a ServingRuntime. Process 1 is a shell, because nothing in a container kills that."""
    probe = {"httpGet": {"path": "/health", "port": ENGINE_PORT}, "periodSeconds": 1}
    container = {
        "name": "kserve-container",
        "image": image,
        "command": ["sh", "-c", 'python /engine/engine.py "$@"; exit $?', "sh"],
        "args": ["--model=/mnt/models", "--host=0.0.0.0", f"--port={ENGINE_PORT}"],
        "ports": [{"containerPort": ENGINE_PORT}],
        "readinessProbe": probe,
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "engine", "mountPath": "/engine"},
            {"name": "references", "mountPath": "/claims/references"},
        ],
    }
    volumes = [{"name": name, "configMap": {"name": f"{RUNTIME}-{name}"}} for name in ("engine", "references")]
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": RUNTIME},
        "spec": {
            "supportedModelFormats": [{"name": "selftaught", "autoSelect": False}],
            "containers": [container],
            "volumes": volumes,
        },
    }


@pytest.fixture(scope="module")
def asked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe with a judge."""
    judge = tiny_model(tmp_path_factory.mktemp("judge") / "judge", skill=1.0)
    found = recipe(model, tasks={"train": 24}, verify={"type": "judged"})
    return found | {"models": {"policy": str(model), "judge": str(judge)}}


@pytest.fixture
def platform(
    installation: Installation, asked: dict[str, Any], recorded_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """The platform of the cluster profile, whose versions are served by simulated engines; the line is adopted."""
    for name, value in {"RUNTIME": RUNTIME, "TERMINATION_GRACE": "1", "PATIENCE": "600"}.items():
        monkeypatch.setenv(f"SELFTAUGHT_{name}", value)
    platform, found = Platform.open(), Recipe.model_validate(asked)
    champion = adopt(platform, found, LINE)
    adopt_roles(platform, found, LINE)
    reference = platform.ledger.value(ReferenceEntry(champion.digest))
    assert reference is not None
    here = Path(__file__).parent
    recorded = (ENGINE / "vllm" / "entrypoints" / "openai" / "api_server.py").read_text()
    code = {"engine.py": (here / "lost_engine.py").read_text(), "api_server.py": recorded}
    # Of the same weights in all versions: they differ in what the simulated engine reads in config.json.
    maps = {"engine": code, "references": {"models": reference.decode()}}
    for name, data in maps.items():
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{RUNTIME}-{name}"}, "data": data}
        installation.kube.run("-n", installation.namespace, "create", "-f", "-", given=json.dumps(body))
    made = json.dumps(runtime(installation.image("selftaught/steps:0.1.0")))
    installation.kube.run("-n", installation.namespace, "create", "-f", "-", given=made)
    return platform


class Keeper:
    """Arms every engine that starts, and while a step is to lose engines, has happen to one that holds a request what
    is next. What is held when nothing is left to happen is let go.
    """

    def __init__(self, installation: Installation, cluster: Cluster) -> None:
        self._kube, self._space, self._core = installation.kube, installation.namespace, cluster.core
        self._lock, self._over = threading.Lock(), threading.Event()
        self._path, self._left, self._done = HELD["sample"], list[str](), set[str]()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ended = list[str]()
        """What the cluster says of each loss."""

    def __enter__(self) -> "Keeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self, path: str) -> None:
        """From now on the third request to `path` is held, and everything happens, one after the other."""
        with self._lock:
            self._path, self._left = path, list(MANNERS)
            for pod in filter(self._said, self._pods()):
                self._tell(pod, "arm", path)

    @property
    def left(self) -> list[str]:
        """What has not happened yet."""
        return list(self._left)

    def _run(self) -> None:
        while not self._over.wait(0.2):
            with self._lock:
                for pod in self._pods():
                    self._look(pod)

    def _look(self, pod: Any) -> None:
        said = self._said(pod)
        if said is None or said["boot"] in self._done:
            return
        if not said["armed"]:
            self._tell(pod, "arm", self._path)
        elif said["holding"] and self._left:
            self._done.add(said["boot"])
            self._lose(pod, self._left.pop(0))
        elif said["holding"]:
            self._tell(pod, "release", "")

    def _lose(self, pod: Any, manner: str) -> None:
        name, restarts = pod.metadata.name, pod.status.container_statuses[0].restart_count
        if manner == "grow":
            self._tell(pod, "grow", "")
        elif manner == "kill":
            inside = ("-n", self._space, "exec", name, "-c", "kserve-container", "--")
            self._kube.run(*inside, "python", "-c", KILL, check=False)  # which the container's end may end too
        else:
            eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=self._space))
            self._core.create_namespaced_pod_eviction(name, self._space, eviction)
        self.ended.append(self._end(name, restarts))

    def _end(self, name: str, restarts: int) -> str:
        """Why the pod's engine has ended, once another is there: the container's reason, or that the pod is gone."""
        while True:
            try:
                (status,) = self._core.read_namespaced_pod(name, self._space).status.container_statuses
            except ApiException:
                return "gone"
            if status.restart_count > restarts:
                return str(status.last_state.terminated.reason)
            time.sleep(0.1)

    def _pods(self) -> list[Any]:
        listed = self._core.list_namespaced_pod(self._space, label_selector=SELECTOR).items
        return [pod for pod in listed if pod.status.pod_ip]

    def _said(self, pod: Any) -> Any:
        try:
            return httpx.get(f"{_url(pod)}/control", timeout=5, trust_env=False).json()
        except httpx.TransportError:
            return None

    def _tell(self, pod: Any, what: str, body: str) -> None:
        """Tell the pod's engine, if it is there to hear it."""
        with suppress(httpx.TransportError):
            httpx.post(f"{_url(pod)}/control/{what}", content=body, timeout=60, trust_env=False)


def _url(pod: Any) -> str:
    return f"http://{pod.status.pod_ip}:{ENGINE_PORT}"


@pytest.fixture
def keeper(installation: Installation, platform: Platform) -> Iterator[Keeper]:
    with Keeper(installation, serving(platform).cluster) as keeper:
        yield keeper


def test_a_round_ends_though_its_engines_are_lost_in_every_step_that_asks_one(
    platform: Platform, asked: dict[str, Any], keeper: Keeper, tmp_path: Path
):
    made = Round(tmp_path / "artifacts", asked, line=LINE, campaign=uuid.uuid4().hex[:8], shards=1)
    for name, step in made.steps.items():
        if name in HELD:
            keeper.begin(HELD[name])
        begin = time.monotonic()
        step()
        print(f"{name}: {time.monotonic() - begin:.0f} s; lost so far: {keeper.ended}")
        assert not keeper.left
    assert keeper.ended == ["Error", "gone", "OOMKilled"] * len(HELD)
    champion = platform.tracker.resolve(LINE, "champion")
    assert champion is not None
    assert champion.digest == made.challenger
    assert pointed(serving(platform), LINE) == f"{LINE}-{champion.digest[:8]}"
