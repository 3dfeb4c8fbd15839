"""KServe without a cluster: the InferenceService that is sent, and when its Deployment counts as rolled out."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from selftaught.cluster.client import Cluster, RolloutStatus
from selftaught.core.errors import BadInput
from selftaught.inference.endpoint import served_name
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.kserve.inference_service import inference_service
from selftaught.serving.kserve.scaling import REQUESTS
from selftaught.serving.routes.service import ServiceRoute
from selftaught.settings import Settings

DIGEST = "3f9a1c2e" + "0" * 56
NAME = served_name("support", DIGEST)


def predictor(**value: Any) -> tuple[dict[str, Any], str]:
    """The predictor of a version under these settings, and its autoscaler."""
    settings = Settings(home=Path(), store="s3://bucket", tracking_uri="none", namespace="team-a", **value)
    body = inference_service(settings, f"s3://bucket/models/{DIGEST}", "support", DIGEST)
    return body["spec"]["predictor"], body["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"]


def test_the_engine_is_told_whose_files_it_has_to_load():
    made, _ = predictor()
    assert made["model"]["env"] == [{"name": "SELFTAUGHT_MODEL_DIGEST", "value": DIGEST}]


LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@given(line=st.from_regex(r"[a-z]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True))
def test_what_kserve_makes_of_a_version_can_be_called_so(line: str):
    """Its Deployment and Service are `<version>-predictor`, its pods are labelled `isvc.<version>-predictor`.

    As the controller does it in Standard mode (kserve, pkg/constants: PredictorServiceName, GetRawServiceLabel). A line
    that makes any of them too long is refused; no other is.
    """
    label = f"isvc.{served_name(line, DIGEST)}-predictor"
    settings = Settings(home=Path(), store="s3://bucket", tracking_uri="none", namespace="team-a")
    if len(label) > 63:
        with pytest.raises(BadInput, match="at most 39"):
            inference_service(settings, "s3://bucket/models/x", line, DIGEST)
    else:
        made = inference_service(settings, "s3://bucket/models/x", line, DIGEST)
        assert LABEL.fullmatch(label)
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", f"{made['metadata']['name']}-predictor")
        assert all(LABEL.fullmatch(value) for value in made["metadata"]["labels"].values())


def test_kserve_is_told_its_mode_and_leaves_scaling_and_versions_alone():
    """In Standard mode, without an HPA of its own; a runtime that changes does not roll what serves."""
    settings = Settings(home=Path(), store="s3://bucket", tracking_uri="none", namespace="team-a")
    annotations = inference_service(settings, "s3://bucket/models/x", "support", DIGEST)["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    assert annotations["serving.kserve.io/autoscalerClass"] in ("none", "external", "keda")
    assert annotations["serving.kserve.io/disable-auto-update"] == "true"


def test_the_weights_come_from_where_kserve_can_fetch_them():
    """`s3://`, by the account whose Secret has the keys: KServe knows no `minio://`."""
    made, _ = predictor(engine_account="selftaught-engine")
    assert made["model"]["storageUri"].startswith("s3://")
    assert made["serviceAccountName"] == "selftaught-engine"


@pytest.mark.parametrize("most", [0, 3])
def test_a_fixed_number_of_servers_is_nobodys_to_change(most: int):
    made, autoscaler = predictor(replicas=3, max_replicas=most)
    assert autoscaler == "none"
    assert (made["minReplicas"], made["maxReplicas"]) == (3, 3)
    assert "autoScaling" not in made


def test_keda_scales_by_the_requests_that_this_version_holds():
    url = "http://prometheus.monitoring.svc:9090"
    made, autoscaler = predictor(replicas=2, max_replicas=8, requests_per_replica=48, prometheus=url)
    assert autoscaler == "keda"
    assert (made["minReplicas"], made["maxReplicas"]) == (2, 8)
    query = 'sum({__name__=~"vllm:num_requests_(running|waiting)", namespace="team-a", model_name="support-3f9a1c2e"})'
    source = {
        "metric": {"backend": "prometheus", "serverAddress": url, "query": query},
        "target": {"type": "Value", "value": "48"},
    }
    assert made["autoScaling"] == {"metrics": [{"type": "External", "external": source}]}


def test_the_engine_exports_what_is_counted():
    engine = importlib.util.find_spec("vllm")
    if engine is None or engine.origin is None:
        pytest.skip("needs vLLM")
    gauges = (Path(engine.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    counted = [name for name in re.findall(r'name="(vllm:\w+)"', gauges) if re.fullmatch(REQUESTS, name)]
    assert sorted(counted) == ["vllm:num_requests_running", "vllm:num_requests_waiting"]
    assert 'labelnames = ["model_name", "engine"]' in gauges


def rolled_out(replicas: int, *, wanted: int, there: int, updated: int, available: int, seen: int = 7) -> bool:
    """Whether a Deployment of generation 7 with these pods is rolled out for a version of `replicas` servers."""
    status = client.V1DeploymentStatus(
        observed_generation=seen, replicas=there, updated_replicas=updated, available_replicas=available
    )
    spec = client.V1DeploymentSpec(
        replicas=wanted, selector=client.V1LabelSelector(), template=client.V1PodTemplateSpec()
    )
    meta = client.V1ObjectMeta(generation=7)
    cluster = Cluster("team-a", "name")
    cluster.apps = SimpleNamespace(
        read_namespaced_deployment=lambda *_: client.V1Deployment(metadata=meta, spec=spec, status=status)
    )
    cluster.core = SimpleNamespace(list_namespaced_pod=lambda *_, **__: client.V1PodList(items=[]))
    return cluster.rollout("version", "app=version", replicas).done


few = st.integers(1, 6)


more = st.integers(0, 5)


@given(replicas=few, wanted=more, ready=more, starting=more)
def test_while_an_autoscaler_changes_the_number_a_version_stays_rolled_out(
    replicas: int, wanted: int, ready: int, starting: int
):
    """As long as its fewest are there: what is added is not waited for, what goes is not missed."""
    available = replicas + ready
    there = available + starting
    assert rolled_out(replicas, wanted=replicas + wanted, there=there, updated=there, available=available)


@given(replicas=few, there=few, old=few, missing=few)
def test_a_version_with_a_pod_of_an_earlier_template_or_too_few_is_not_rolled_out(
    replicas: int, there: int, old: int, missing: int
):
    assert not rolled_out(replicas, wanted=there, there=there + old, updated=there, available=there + old)
    too_few = replicas - min(missing, replicas)
    assert not rolled_out(replicas, wanted=replicas, there=replicas, updated=replicas, available=too_few)


def test_numbers_of_an_earlier_specification_do_not_count():
    assert not rolled_out(1, wanted=1, there=1, updated=1, available=1, seen=6)


def crashed(*, was_up: bool, reason: str) -> RolloutStatus:
    """How far a Deployment is whose only pod waits in a crash loop; its container ended for `reason`."""
    progress = client.V1DeploymentCondition(
        type="Progressing", status="True", reason="NewReplicaSetAvailable" if was_up else "ReplicaSetUpdated"
    )
    status = client.V1DeploymentStatus(observed_generation=7, replicas=1, updated_replicas=1, conditions=[progress])
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(), template=client.V1PodTemplateSpec())
    meta = client.V1ObjectMeta(name="version-1", generation=7)
    state = client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason="CrashLoopBackOff"))
    ended = client.V1ContainerState(terminated=client.V1ContainerStateTerminated(exit_code=137, reason=reason))
    container = client.V1ContainerStatus(
        name="engine", image="", image_id="", ready=False, restart_count=2, state=state, last_state=ended
    )
    pod = client.V1Pod(metadata=meta, status=client.V1PodStatus(phase="Running", container_statuses=[container]))
    cluster = Cluster("team-a", "name")
    deployment = client.V1Deployment(metadata=meta, spec=spec, status=status)
    cluster.apps = SimpleNamespace(read_namespaced_deployment=lambda *_: deployment)
    cluster.core = SimpleNamespace(
        list_namespaced_pod=lambda *_, **__: client.V1PodList(items=[pod]),
        read_namespaced_pod_log=lambda *_, **__: "loading weights\n",
    )
    return cluster.rollout("version", "app=version", 1)


def test_a_version_that_cannot_come_up_is_told_and_one_that_was_up_is_waited_for():
    """An engine that is killed for its memory twice crash-loops, and comes back all the same."""
    words = "pod version-1, container engine: CrashLoopBackOff: OOMKilled: loading weights"
    assert crashed(was_up=False, reason="OOMKilled") == RolloutStatus(
        False, words, "pod version-1 is Running, CrashLoopBackOff"
    )
    assert crashed(was_up=True, reason="OOMKilled") == RolloutStatus(False, "", words)
    assert "OOMKilled" not in crashed(was_up=False, reason="Error").failure


def test_a_version_that_is_deleted_as_soon_as_another_process_has_made_it_is_made_again():
    """Two make it at once; whoever comes second finds nothing, because the first has deleted it by then."""
    there, attempts = dict[str, Any](), list[Any]()

    def create(*_: Any) -> None:
        body = _[-1]
        attempts.append(body)
        if len(attempts) == 1:
            raise ApiException(status=409)
        there[body["metadata"]["name"]] = body

    def get(*_: Any) -> Any:
        if _[-1] not in there:
            raise ApiException(status=404)
        return there[_[-1]]

    cluster = Cluster("team-a", "name")
    cluster.custom = SimpleNamespace(create_namespaced_custom_object=create, get_namespaced_custom_object=get)
    settings = Settings(home=Path(), store="s3://bucket", tracking_uri="none", namespace="team-a")
    backend = KServe(cluster, lambda digest: f"s3://bucket/models/{digest}", settings, ServiceRoute(cluster))
    assert backend._created(NAME, "support", DIGEST) is attempts[1]  # pyright: ignore[reportPrivateUsage]
