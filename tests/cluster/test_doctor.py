"""What the doctor reads of a cluster, on a real API server: its rights, its quotas, and its Pod Security."""

import base64
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.cluster.client import Cluster
from selftaught.cluster.pod_security import CONTEXT, INITIALIZER, lacking
from selftaught.doctor import cluster
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings
from tests.cluster.installation import Installation
from tests.cluster.kube import Kube
from tests.kubernetes_api import kubeconfig

pytestmark = pytest.mark.cluster

RULES = {"apiGroups": ["serving.kserve.io"], "resources": ["inferenceservices"], "verbs": ["get", "list", "create"]}


@pytest.fixture(scope="module")
def space(namespaces: Callable[..., str]) -> str:
    """A namespace that enforces Pod Security `restricted`: of engines, and of a profile's tasks."""
    return namespaces("doctor")


def made(kube: Kube, space: str, *objects: dict[str, Any]) -> None:
    """Bring the objects into the namespace."""
    kube.run("apply", "-n", space, "-f", "-", given=yaml.safe_dump_all(objects))


def findings(space: str) -> dict[str, Finding]:
    settings = Settings(
        home=Path(),
        store="s3://models",
        tracking_uri="none",
        serving="kserve",
        namespace=space,
        kfp="http://127.0.0.1:9",
        kfp_namespace=space,
    )
    return {found.name: found for found in cluster.checks(settings)}


def container(context: Any) -> dict[str, Any]:
    return {"name": INITIALIZER, "image": "localhost/none", "securityContext": context}


def test_what_the_runner_may_is_what_the_api_server_says(kube: Kube, space: str):
    lacks = findings(space)["kubeflow runner"]
    assert (lacks.ok, f"{space}:default-editor" in lacks.detail) == (False, True)
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "steps"}}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "steps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "steps"},
        "subjects": [{"kind": "ServiceAccount", "name": "default-editor", "namespace": space}],
    }
    made(kube, space, {**role, "rules": [RULES]}, binding)
    assert findings(space)["kubeflow runner"].ok


def test_a_quota_that_is_too_small_for_a_round_is_found(kube: Kube, space: str):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    made(kube, space, {**quota, "spec": {"hard": {"limits.memory": "11Gi"}}})
    assert "small in" in findings(space)["quota"].detail
    assert findings(space)["quota"].ok is False
    kube.run("delete", "-n", space, "resourcequota", "small")
    assert findings(space)["quota"].ok


def test_an_account_without_rights_is_told_which_it_lacks(
    kube: Kube, space: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The API server's own words, and nothing that is taken for missing."""
    made(kube, space, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}})
    token = kube.run("create", "token", "nobody", "-n", space).stdout.strip()
    shown = json.loads(kube.run("config", "view", "--raw", "--minify", "-o", "json").stdout)["clusters"][0]["cluster"]
    authority = shown.get("certificate-authority-data")
    if authority is None:
        authority = base64.b64encode(Path(shown["certificate-authority"]).read_bytes()).decode()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "nobody", shown["server"], token, authority)))
    found = findings(space)
    assert found["kubernetes"].detail.partition(", as ")[2].startswith(f"system:serviceaccount:{space}:nobody")
    refused = {"storage initializer", "runtime", "network policies", "quota", "kubeflow runner", "kubeflow tasks"}
    assert {name: found[name].ok for name in refused} == dict.fromkeys(refused)
    assert all(f'{space}:nobody" cannot ' in found[name].detail for name in refused)


def test_helm_test_looks_with_no_more_rights_than_it_needs(installation: Installation):
    """Of a release without Kubeflow Pipelines: nothing is wrong, and the account that looks is refused nothing."""
    words = ("--filter", "name=selftaught-test-doctor", "--logs")
    done = installation.kube.helm("test", "selftaught", "-n", installation.namespace, *words, check=False)
    shown = done.stdout + done.stderr
    print(shown)
    for name in ("bucket", "mlflow account", "kubernetes", "kserve", "runtime", "network policies", "quota"):
        assert f"ok {name}: " in shown, shown
    assert " cannot " not in shown
    account = ("--as", f"system:serviceaccount:{installation.namespace}:selftaught-test")
    for right in ("get secrets", "list secrets", "list configmaps", "create pods", "get pods", "list namespaces"):
        asked = installation.kube.run(
            "auth", "can-i", *right.split(), "-n", installation.namespace, *account, check=False
        )
        assert asked.stdout.strip() == "no", right


def test_restricted_refuses_an_initializer_exactly_for_what_is_said_to_lack(kube: Kube, space: str):
    """Every subset of the context that the documentation gives it."""
    full = json.loads(CONTEXT)
    for count in range(len(full) + 1):
        for keys in itertools.combinations(full, count):
            context = {key: full[key] for key in keys}
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "judged"},
                "spec": {
                    "initContainers": [container(context)],
                    "containers": [{**container(full), "name": "engine"}],
                },
            }
            done = kube.run("create", "-n", space, "--dry-run=server", "-f", "-", given=json.dumps(pod), check=False)
            assert (done.returncode == 0) == (not lacking(context)), (context, done.stderr)
            assert all(field.rpartition(".")[2] in done.stderr or field in done.stderr for field in lacking(context))


def test_an_engine_that_is_refused_for_its_initializer_is_told_with_the_fix(
    kube: Kube, space: str, monkeypatch: pytest.MonkeyPatch
):
    labels = {"app": "refused"}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "initContainers": [container({})],
            "containers": [{**container(json.loads(CONTEXT)), "name": "engine"}],
        },
    }
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    made(kube, space, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "refused"}, "spec": spec})
    until, failure = time.monotonic() + 60, ""
    while not failure and time.monotonic() < until:
        failure = Cluster(space, "name").rollout("refused", "app=refused", 1).failure
        time.sleep(0.2)
    assert 'violates PodSecurity "restricted' in failure
    assert "kubectl patch clusterstoragecontainer default" in failure
