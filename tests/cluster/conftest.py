"""What tests with a cluster may ask for: kubectl and helm against KUBECONFIG, and namespaces that go again.

Nothing here starts a cluster or knows which one it is. Images are named by SELFTAUGHT_TEST_REGISTRY (`localhost`).
"""

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.kube import Kube


@pytest.fixture(scope="session")
def kube() -> Kube:
    """The cluster that KUBECONFIG names. Skips without one, or without the tools."""
    return Kube.connect()


@pytest.fixture(scope="module")
def namespaces(kube: Kube) -> Iterator[Callable[..., str]]:
    """Makes namespaces whose names begin as told, held to Pod Security `restricted`; all go with the module."""
    made: list[str] = []

    def make(stem: str) -> str:
        name = f"{stem}-{uuid.uuid4().hex[:6]}"
        kube.run("create", "namespace", name)
        made.append(name)
        labels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn", "audit")]
        kube.run("label", "namespace", name, *labels)
        return name

    yield make
    if made:
        kube.run("delete", "namespace", *made, "--wait=false")
