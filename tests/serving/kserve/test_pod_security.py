"""An engine that Pod Security refuses: the refusal is reported with its fix."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from kubernetes import client

from selftaught.cluster.client import Cluster
from selftaught.cluster.pod_security import command

INSTALL = Path(__file__).parents[3] / "docs" / "cluster-install.md"

REFUSED = (
    'pods "support-3f9a1c2e-predictor-5d-x" is forbidden: violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "{name}" must set securityContext.allowPrivilegeEscalation=false)'
)


def failure(message: str) -> str:
    """Why a Deployment gets no further whose ReplicaSet was refused with `message`."""
    refused = client.V1DeploymentCondition(type="ReplicaFailure", status="True", message=message)
    status = client.V1DeploymentStatus(observed_generation=7, conditions=[refused])
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(), template=client.V1PodTemplateSpec())
    deployment = client.V1Deployment(metadata=client.V1ObjectMeta(generation=7), spec=spec, status=status)
    cluster = Cluster("team-a", "name")
    cluster.apps = SimpleNamespace(read_namespaced_deployment=lambda *_: deployment)
    cluster.core = SimpleNamespace(list_namespaced_pod=lambda *_, **__: client.V1PodList(items=[]))
    return cluster.rollout("version", "app=version", 1).failure


def test_a_refused_storage_initializer_is_told_with_the_command_that_mends_it():
    words = REFUSED.format(name="storage-initializer")
    assert failure(words).startswith(words)
    assert "kubectl patch clusterstoragecontainer default --type merge -p" in failure(words)


def test_a_refused_container_of_the_runtimes_is_the_runtimes_to_mend():
    assert "in their ServingRuntime" in failure(REFUSED.format(name="kserve-container"))


@pytest.mark.parametrize(
    "words", ["exceeded quota: limits, requested: pods=1, used: pods=2", 'serviceaccount "x" not found']
)
def test_other_refusals_stay_as_the_cluster_words_them(words: str):
    assert failure(words) == words


def test_the_command_is_the_documented_one():
    assert command("default") in " ".join(INSTALL.read_text().split())
