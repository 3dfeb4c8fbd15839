"""The platform on a cluster as the tests use it: the chart installed, and the environment of its cluster profile.

The addresses of Services have to be reachable from here (`SELFTAUGHT_REACH=address`), as they are where the tests run
on the node itself.
"""

import base64
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught.platform import Platform
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.routes.service import ServiceRoute
from selftaught.serving.weight_check import reference_logprobs
from selftaught.state.ledger import ReferenceEntry
from selftaught.state.weights import model_digest
from tests.cluster.kube import CHART, DEV, REGISTRY, Kube


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed release: where it is, and what tells a process to use it."""

    kube: Kube
    namespace: str
    environment: Mapping[str, str]
    installed_in: float
    """Seconds that `helm install --wait` took."""

    def image(self, name: str) -> str:
        """What an image of the compiled pipeline is called on this cluster."""
        return f"{REGISTRY}/{name.removeprefix('localhost/')}"

    def get(self, *words: str) -> object:
        """`kubectl get` in the release's namespace."""
        return self.kube.get("-n", self.namespace, *words)


def install(kube: Kube, namespace: str, values: Path, home: Path) -> Installation:
    """Install the chart with its trial's S3 and MLflow, and wait for them."""
    begin = time.monotonic()
    kube.helm(
        *("install", "selftaught", str(CHART), "-n", namespace, "-f", str(DEV), "-f", str(values)),
        *("--wait", "--timeout", "5m"),
    )
    seconds = time.monotonic() - begin
    settings = kube.get("-n", namespace, "configmap", "selftaught-settings")["data"]
    store = _address(kube, namespace, settings["AWS_ENDPOINT_URL_S3"])
    mlflow = _address(kube, namespace, settings["MLFLOW_TRACKING_URI"])
    fields = {
        **settings,
        **_secret(kube, namespace, "selftaught-s3"),
        **_secret(kube, namespace, "selftaught-mlflow-promoter"),
        "AWS_ENDPOINT_URL_S3": store,
        "MLFLOW_TRACKING_URI": mlflow,
        "SELFTAUGHT_REACH": "address",
        "SELFTAUGHT_HOME": str(home),
        "KUBECONFIG": kube.config,
    }
    return Installation(kube, namespace, fields, seconds)


def _address(kube: Kube, namespace: str, url: str) -> str:
    """`url` with its Service's address instead of its name, which resolves in Pods alone."""
    scheme, _, rest = url.partition("://")
    name, _, port = rest.rpartition(":")
    service = kube.get("-n", namespace, "service", name.partition(".")[0])
    return f"{scheme}://{service['spec']['clusterIP']}:{port}"


def _secret(kube: Kube, namespace: str, name: str) -> dict[str, str]:
    data = kube.get("-n", namespace, "secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def noisy(model: Path, folder: Path, share: float) -> Path:
    """A copy of `model` with noise of `share` of each weight's own spread."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    torch.manual_seed(0)
    weights = load_file(folder / "model.safetensors")
    changed = {name: w + share * w.float().std() * torch.randn(w.shape) for name, w in weights.items()}
    kept = {name: w.to(weights[name].dtype) for name, w in changed.items()}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def stored(platform: Platform, folder: Path) -> str:
    """Put the model in `folder` into the store with its reference; returns its digest."""
    digest = model_digest(folder)
    platform.store.put("models", digest, folder)
    platform.ledger.write(ReferenceEntry(digest), reference_logprobs(folder))
    return digest


def serving(platform: Platform) -> KServe:
    """The backend, which has to be KServe's."""
    backend = platform.serving()
    assert isinstance(backend, KServe)
    return backend


def pointed(backend: KServe, line: str) -> str | None:
    """The name of the version that the line's stable Service leads to."""
    assert isinstance(backend.route, ServiceRoute)
    return backend.route.pointed(line)


def manifest(backend: KServe, line: str, digest: str) -> Any:
    """The InferenceService of a version, as the backend would make it."""
    return inference_service(backend.settings, backend.locate(digest), line, digest)
