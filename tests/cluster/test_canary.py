"""Promotion by steps on a cluster: users get the shares that the HTTPRoute says, and go back from what fails them.

The gateway is a stand-in (`tests.gateway`): real ones were not run. HTTPRoute is installed where the cluster has none.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from selftaught.errors import RoundFailed
from selftaught.lines import rollback
from selftaught.models import served_name
from selftaught.round.job import Workplace
from selftaught.serving.cluster import found
from selftaught.serving.kserve import GROUP, PLURAL, VERSION, KServe
from selftaught.serving.pointer import move
from selftaught.serving.routes import gateway
from selftaught.serving.routes.gateway import http_route
from selftaught.settings import Settings
from selftaught.tracking import Version
from tests.cluster.installation import manifest, noisy, serving, stored
from tests.cluster.kube import Kube, run
from tests.cluster.traffic import Traffic
from tests.gateway import Gateway

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.timeout(1200)]

LINE, HOST = "tried", "tried.models.example.com"
CRD = Path(__file__).parent / "crds" / "httproutes.yaml"
STEPS = (25, 50)
EDGE = {
    "route": "gateway",
    "gateway": "edge/main",
    "domain": "models.example.com",
    "canary_steps": STEPS,
    "canary_answers": 100,
    "canary_patience": 300.0,
}


def test_the_route_is_what_its_schema_says(tmp_path: Path):
    definition = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (tmp_path / "httproute.json").write_text(json.dumps(strict(definition)))
    told = Settings(home=tmp_path, store="", tracking_uri="", gateway_url="http://edge", **EDGE)
    made = http_route(LINE, told, {"tried-aaaaaaaa": 95, "tried-bbbbbbbb": 5}, "5f" * 16)
    command = ["kubeconform", "-strict", "-schema-location", f"{tmp_path}/{{{{.ResourceKind}}}}.json"]
    run(*command, given=yaml.safe_dump(made))
    made["spec"]["rules"][0]["backendRefs"][0]["wieght"] = 5
    assert "wieght" in run(*command, given=yaml.safe_dump(made), check=False).stdout


def strict(schema: Any) -> Any:
    """The schema with every field that it does not name a mistake."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return named | {key: strict(value) for key, value in schema.items()}


@pytest.fixture(scope="module")
def httproutes(kube: Kube) -> Iterator[None]:
    """HTTPRoute, installed unless the cluster has it."""
    name = "customresourcedefinition/httproutes.gateway.networking.k8s.io"
    had = kube.run("get", name, check=False).returncode == 0
    if not had:
        kube.run("create", "-f", str(CRD))
        kube.run("wait", "--for=condition=Established", name, "--timeout=60s")
    yield
    if not had:
        kube.run("delete", name)


@pytest.fixture(scope="module")
def edge(place: Workplace, httproutes: None) -> Iterator[tuple[Gateway, str]]:
    """A gateway that knows the cluster's HTTPRoutes; this process's settings promote through it."""
    cluster = serving(place).cluster
    kind = (gateway.GROUP, gateway.VERSION, cluster.namespace, gateway.PLURAL)
    edge = Gateway(
        lambda line: found(lambda: cluster.custom.get_namespaced_custom_object(*kind, line)), address=cluster.url
    )
    with edge.serving() as url:
        yield edge, url


@pytest.fixture(scope="module")
def routed(place: Workplace, edge: tuple[Gateway, str]) -> Workplace:
    """The workplace whose route is the gateway's."""
    told = place.settings.model_copy(update=EDGE | {"gateway_url": edge[1], "canary_seconds": 30.0})
    return Workplace(told, place.store, place.tracker)


@pytest.fixture(scope="module")
def backend(routed: Workplace) -> KServe:
    return serving(routed)


@pytest.fixture(scope="module")
def versions(
    routed: Workplace, backend: KServe, starter_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Version]:
    """Two versions of a line, the first of which is its champion."""
    other = noisy(starter_model, tmp_path_factory.mktemp("models") / "other", 0.05)
    digests = [stored(routed, folder) for folder in (starter_model, other)]
    made = [routed.tracker.register(LINE, d, routed.store.uri("models", d), "", {}) for d in digests]
    move(routed.tracker, backend, made[0])
    return made


@pytest.mark.model
def test_users_come_to_a_new_version_by_steps_and_nobody_is_failed(
    routed: Workplace, backend: KServe, versions: list[Version], edge: tuple[Gateway, str]
):
    old, new = (served_name(LINE, version.digest) for version in versions)
    with Traffic(edge[1], LINE, HOST) as traffic:
        move(routed.tracker, backend, versions[1])
        traffic.settled(new, time.monotonic(), 0)
        rollback(routed.tracker, backend, LINE, "previous")
        traffic.settled(old, time.monotonic(), 0)
    assert not traffic.failed
    for share in STEPS:
        came = Counter(name for weights, name in edge[0].sent if weights.get(f"{new}-predictor") == share)
        print(f"{share} %: {dict(came)}")
        # Four standard deviations of a draw at this share.
        spread = 4 * (share * (100 - share) / came.total()) ** 0.5
        assert abs(100 * came[f"{new}-predictor"] / came.total() - share) < spread
    assert {name for weights, name in edge[0].sent if len(weights) == 1} == {f"{old}-predictor", f"{new}-predictor"}


@pytest.fixture
def narrow(routed: Workplace, backend: KServe, versions: list[Version]) -> Iterator[Version]:
    """A version that loads and answers, but takes fewer tokens than any user asks for: all get a 400."""
    backend.remove(LINE, versions[1].digest)
    digest = "c0" * 32
    routed.store.put("models", digest, routed.model(versions[1].digest))
    made = routed.tracker.register(LINE, digest, routed.store.uri("models", digest), "", {})
    body = manifest(backend, LINE, digest)
    body["spec"]["predictor"]["model"]["args"].append("--max-model-len=3")
    space = backend.cluster.namespace
    backend.cluster.custom.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body)
    yield made
    backend.remove(LINE, digest)


@pytest.mark.model
def test_a_version_that_fails_its_users_is_taken_back_and_never_champion(
    routed: Workplace, backend: KServe, versions: list[Version], narrow: Version, edge: tuple[Gateway, str]
):
    old, before = served_name(LINE, versions[0].digest), routed.tracker.resolve(LINE, "champion")
    assert before == versions[0]
    with Traffic(edge[1], LINE, HOST) as traffic:
        with pytest.raises(RoundFailed, match=r"c0c0c0c0 with up to 25 % .* an error .*back: more than 5\.0% more"):
            move(routed.tracker, backend, narrow)
        end = time.monotonic()
        traffic.settled(old, end, 0)
    assert routed.tracker.resolve(LINE, "champion") == before
    assert {request.model for request in traffic.requests if request.sent > end} == {old}
    assert all("400" in request.error and request.sent < end for request in traffic.failed)
