"""What tests with a cluster may ask for: kubectl and helm against KUBECONFIG, and namespaces that go again.

Nothing here starts a cluster or knows which one it is. Images are named by SELFTAUGHT_TEST_REGISTRY (`localhost`).
"""

import uuid
from collections.abc import Callable, Iterator

import pytest
import yaml

from selftaught.platform import Platform
from selftaught.serving.routes.service import SELECTOR
from tests.cluster.installation import Installation, install
from tests.cluster.kube import IMAGES, Kube


@pytest.fixture(autouse=True)
def home() -> None:
    """No home of a test's own: the cluster profile of `platform` holds for all."""


@pytest.fixture(scope="session")
def kube() -> Kube:
    """The cluster that KUBECONFIG names. Skips without one."""
    return Kube.connect()


@pytest.fixture(scope="module")
def namespaces(kube: Kube) -> Iterator[Callable[..., str]]:
    """Makes namespaces whose names begin as given, held to Pod Security `restricted`; all go with the module."""
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


@pytest.fixture(scope="session")
def installation(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The chart in a namespace of its own, with S3 and MLflow; this process's environment is its cluster profile."""
    name = f"selftaught-{uuid.uuid4().hex[:6]}"
    kube.run("create", "namespace", name)
    kube.run("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    folder = tmp_path_factory.mktemp("platform")
    values = folder / "values.yaml"
    fields = {
        **IMAGES,
        # Requests come to addresses, because names resolve in Pods alone.
        "mlflow": {"allowedHosts": ["10.*:5000"]},
        # Tests put into order what they have brought out of it.
        "upkeep": {"reconcile": {"enabled": False}},
    }
    values.write_text(yaml.safe_dump(fields))
    with pytest.MonkeyPatch.context() as patch:
        try:
            installed = install(kube, name, values, folder / "home")
            for variable, value in installed.environment.items():
                patch.setenv(variable, value)
            yield installed
        finally:
            # What is the cluster's (policies of admission, the tests' ClusterRole) does not go with the namespace.
            kube.helm("uninstall", "selftaught", "-n", name, check=False)
            kube.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def room(installation: Installation) -> Iterator[None]:
    """Room for the engines of the next module: all that this one has served goes with it."""
    yield
    space = ("-n", installation.namespace)
    installation.kube.run("delete", *space, "inferenceservices", "--all")
    installation.kube.run("wait", *space, "pods", "-l", SELECTOR, "--for=delete", "--timeout=3m")


@pytest.fixture(scope="session")
def platform(installation: Installation) -> Platform:
    """The platform of the cluster profile."""
    return Platform.open()
