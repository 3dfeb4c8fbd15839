"""MLflow as it is for real: two replicas on PostgreSQL, which come up at once before an empty database.

PostgreSQL is Debian's (images/postgresql; SELFTAUGHT_TEST_POSTGRESQL_IMAGE).
"""

import json
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.cluster.installation import Platform, install
from tests.cluster.kube import IMAGES, Kube

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
def replicas(kube: Kube, namespaces: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The chart with two replicas of MLflow, on a PostgreSQL that is empty at first."""
    namespace, folder = namespaces("mlflow"), tmp_path_factory.mktemp("platform")
    for item in database():
        kube.run("-n", namespace, "create", "-f", "-", given=json.dumps(item))
    kube.run("-n", namespace, "wait", "pod/postgresql", "--for=condition=Ready", "--timeout=3m")
    mlflow = {"replicas": 2, "database": {"existingSecret": "mlflow-database"}, "allowedHosts": ["10.*:5000"]}
    values = folder / "values.yaml"
    values.write_text(
        # The policies of admission are the cluster's, and would stay when the namespace goes.
        yaml.safe_dump(
            {**IMAGES, "mlflow": mlflow, "upkeep": {"reconcile": {"enabled": False}}, "admission": {"enabled": False}}
        )
    )
    return install(kube, namespace, values, folder / "home")


def test_one_replica_makes_the_tables_and_the_other_waits(replicas: Platform) -> None:
    """Neither has had to start again."""
    selector = "app.kubernetes.io/component=mlflow"
    pods = replicas.get("pods", "-l", selector)["items"]
    assert len(pods) == 2
    for pod in pods:
        status = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
        assert [each["restartCount"] for each in status] == [0] * len(status)
