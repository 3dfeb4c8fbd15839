"""Promotion by steps through the cluster's own gateway: users get the shares that the HTTPRoute says, and go back.

Any Gateway will do whose GatewayClass is accepted (`tests.cluster.edge`); without one these tests are skipped.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import scipy
import yaml

from selftaught.core.errors import RoundFailed, Unavailable
from selftaught.inference.endpoint import served_name
from selftaught.lines.versions import rollback
from selftaught.platform import Platform
from selftaught.serving.kserve.backend import GROUP, PLURAL, VERSION, KServe
from selftaught.serving.middleware.counting import HEADER
from selftaught.serving.promotion import move
from selftaught.serving.routes.acceptance import refusal
from selftaught.serving.routes.canary import Answers, pods
from selftaught.serving.routes.gateway import FIELD, MODIFIER, http_route
from selftaught.settings import Settings
from selftaught.state.tracking import Version
from tests.cluster.edge import Edge, entrances
from tests.cluster.installation import Installation, manifest, noisy, serving, stored
from tests.cluster.kube import run
from tests.cluster.traffic import USERS, Traffic

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.timeout(1200)]

LINE, DOMAIN = "tried", "models.example.com"
HOST = f"{LINE}.{DOMAIN}"
CRD = Path(__file__).parent / "crds" / "httproutes.yaml"
STEPS = (25, 50)
STEPWISE = {"route": "gateway", "domain": DOMAIN, "canary_steps": STEPS, "canary_answers": 100}
CLOSED = {
    "type": "ResponseHeaderModifier",
    "responseHeaderModifier": {"set": [{"name": "Connection", "value": "close"}]},
}
"""A filter of an HTTPRoute: connections to the gateway are for one answer."""
CHANCE = 1e-6
"""How unlikely a split may be before it is beyond chance any more."""


def test_the_route_is_what_its_schema_says(tmp_path: Path):
    """That of Gateway API 1.0, the oldest that is supported; the cluster's own is newer."""
    definition = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    (tmp_path / "httproute.json").write_text(json.dumps(strict(definition)))
    found = Settings(
        home=tmp_path, store="store", tracking_uri="none", gateway="edge/main", gateway_url="http://edge", **STEPWISE
    )
    made = http_route(LINE, found, {"tried-aaaaaaaa": 95, "tried-bbbbbbbb": 5}, "5f" * 16)
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


def test_a_gateway_that_takes_no_route_of_ours_is_none():
    def gateway(kind: str, programmed: str, allowed: str, protocol: str) -> Any:
        listener = {"port": 80, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": allowed}}}
        status = {"conditions": [{"type": "Programmed", "status": programmed}], "addresses": [{"value": "10.0.0.1"}]}
        spec = {"gatewayClassName": kind, "listeners": [listener]}
        return {"metadata": {"namespace": "edge", "name": "main"}, "spec": spec, "status": status}

    def named(name: str, accepted: str) -> Any:
        status = {"conditions": [{"type": "Accepted", "status": accepted}]}
        return {"metadata": {"name": name}, "status": status}

    classes = [named("good", "True"), named("waiting", "Unknown")]
    bad = [("waiting", "True", "All", "HTTP"), ("good", "False", "All", "HTTP"), ("good", "True", "Same", "HTTP")]
    bad.append(("good", "True", "All", "TLS"))
    assert list(entrances(classes, [gateway(*each) for each in bad])) == []
    assert list(entrances(classes, [gateway("good", "True", "All", "HTTP")])) == [("edge/main", "10.0.0.1", 80)]


@pytest.fixture(scope="module")
def edge(installation: Installation) -> Edge:
    return Edge.find(installation.kube)


@pytest.fixture(scope="module")
def routed(platform: Platform, edge: Edge) -> Platform:
    """The platform whose route is the gateway's."""
    there = {"gateway": edge.name, "gateway_url": edge.url, "canary_seconds": 30.0, "canary_patience": 300.0}
    return Platform(platform.settings.model_copy(update=STEPWISE | there), platform.store, platform.tracker)


@pytest.fixture(scope="module")
def backend(routed: Platform) -> KServe:
    return serving(routed)


@pytest.fixture(scope="module")
def versions(
    routed: Platform,
    backend: KServe,
    starter_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
    edge: Edge,
    installation: Installation,
) -> list[Version]:
    """Two versions of a line, the first of which is its champion.

    A gateway that cuts streams by itself is configured as docs/operations.md says that its operator should tell it.
    """
    other = noisy(starter_model, tmp_path_factory.mktemp("models") / "other", 0.05)
    digests = [stored(routed, folder) for folder in (starter_model, other)]
    made = [routed.tracker.register(LINE, d, routed.store.uri("models", d), "", {}) for d in digests]
    move(routed.tracker, backend, made[0])
    if edge.go:
        patch = json.dumps([{"op": "add", "path": "/spec/rules/0/filters", "value": [CLOSED]}])
        installation.kube.run("-n", installation.namespace, "patch", "httproute", LINE, "--type=json", "-p", patch)
    return made


@dataclass(frozen=True, slots=True)
class Shared:
    """What an HTTPRoute said at a moment: the versions' shares, and the mark of what is counted."""

    shares: dict[str, int]
    mark: str
    taken: bool
    """Whether the gateway said that it leads by it."""


@contextmanager
def watched(installation: Installation, gateway: str, file: Path) -> Iterator[list[Shared]]:
    """All that the line's HTTPRoute says meanwhile, in its order; to be read after the block."""
    seen: list[Shared] = []
    command = ["kubectl", "--kubeconfig", installation.kube.config, "-n", installation.namespace]
    with file.open("w") as out:
        watch = subprocess.Popen([*command, "get", "httproute", LINE, "-o", "json", "--watch"], stdout=out)
        try:
            yield seen
        finally:
            time.sleep(1)  # what was written last comes too
            watch.terminate()
            watch.wait()
    text, decoder, at = file.read_text(), json.JSONDecoder(), 0
    while text[at:].strip():
        route, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        seen.append(shared(route, gateway))


def shared(route: Any, gateway: str) -> Shared:
    (rule,) = route["spec"]["rules"]
    modifiers = [each[FIELD] for each in rule.get("filters", ()) if each["type"] == MODIFIER]
    headers = [header for each in modifiers for header in each["set"]]
    mark = next((header["value"] for header in headers if header["name"] == HEADER), "")
    weights = {each["name"].removesuffix("-predictor"): each["weight"] for each in rule["backendRefs"]}
    return Shared(weights, mark, refusal(route, gateway) is None)


def counted(backend: KServe, step: Shared) -> dict[str, Answers]:
    """What each version has answered in a step, by its engine's own count."""
    return {
        name: sum((pod.answers for pod in pods(backend.cluster, name, step.mark).values()), Answers())
        for name in step.shares
    }


def steps(seen: list[Shared]) -> list[Shared]:
    """The steps, by their marks, as they were when the gateway had taken them."""
    return list({each.mark: each for each in seen if each.mark and each.taken}.values())


# The gateway, under traffic ------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_version_that_too_few_have_asked_goes_back_and_nobody_is_failed(
    routed: Platform, versions: list[Version], edge: Edge, installation: Installation, tmp_path: Path
):
    """Refused for want of proof: what it answered, it answered well."""
    hasty = routed.settings.model_copy(update={"canary_answers": 100_000, "canary_seconds": 15.0, "canary_patience": 0})
    backend = serving(Platform(hasty, routed.store, routed.tracker))
    old, new = (served_name(LINE, version.digest) for version in versions)
    backend.ready(LINE, versions[1].digest)
    with watched(installation, edge.name, tmp_path / "seen.json") as seen, Traffic(edge.url, LINE, HOST) as traffic:
        with pytest.raises(Unavailable, match="time is over, and it takes 100000 answers to decide"):
            move(routed.tracker, backend, versions[1])
        traffic.settled(old, time.monotonic(), 0)
    print(f"refused: {sorted(traffic.answers.items())}, failed {len(traffic.failed)}")
    assert not traffic.failed
    assert routed.tracker.resolve(LINE, "champion") == versions[0]
    assert [step.shares for step in steps(seen)] == [{old: 100 - STEPS[0], new: STEPS[0]}]
    assert seen[-1] == Shared({old: 100}, "", True)


@pytest.mark.model
def test_users_come_to_a_new_version_by_steps_and_nobody_is_failed(
    routed: Platform, backend: KServe, versions: list[Version], edge: Edge, installation: Installation, tmp_path: Path
):
    old, new = (served_name(LINE, version.digest) for version in versions)
    with watched(installation, edge.name, tmp_path / "seen.json") as seen, Traffic(edge.url, LINE, HOST) as traffic:
        move(routed.tracker, backend, versions[1])
        promoted = traffic.settled(new, time.monotonic(), 0)
        rollback(routed.tracker, backend, LINE, "previous")
        back = traffic.settled(old, time.monotonic(), 0)
    print(f"promoted and back: {sorted(traffic.answers.items())}, failed {len(traffic.failed)}")
    print(f"the other version was asked for {promoted:.1f} s after the promotion, {back:.1f} s after the roll-back")
    assert not traffic.failed
    assert set(traffic.answers) == {(user, name) for user, *_ in USERS for name in (old, new)}
    tried = steps(seen)
    assert [step.shares[new] for step in tried] == list(STEPS)
    for step in tried:
        given = {name: answers.given for name, answers in counted(backend, step).items()}
        chance = scipy.stats.binomtest(given[new], sum(given.values()), step.shares[new] / 100).pvalue
        print(f"{step.shares[new]} %: {given}, as far off by chance {chance:.3g}")
        assert chance > CHANCE
    assert [each.shares for each in seen if each.taken and not each.mark][-2:] == [{new: 100}, {old: 100}]


@pytest.fixture
def narrow(routed: Platform, backend: KServe, versions: list[Version]) -> Iterator[Version]:
    """A version that loads and answers, but takes fewer tokens than any user asks for: all get a 400."""
    backend.remove(LINE, versions[1].digest)
    digest = "c0" * 32
    routed.store.put("models", digest, routed.model(versions[1].digest))
    made = routed.tracker.register(LINE, digest, routed.store.uri("models", digest), "", {})
    body = manifest(backend, LINE, digest)
    body["spec"]["predictor"]["model"]["args"].append("--max-model-len=3")
    del body["spec"]["predictor"]["model"]["env"]  # its weights are another's, and it does not prove them
    space = backend.cluster.namespace
    backend.cluster.custom.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body)
    yield made
    backend.remove(LINE, digest)


@pytest.mark.model
def test_a_version_that_fails_its_users_is_taken_back_and_never_champion(
    routed: Platform,
    backend: KServe,
    versions: list[Version],
    narrow: Version,
    edge: Edge,
    installation: Installation,
    tmp_path: Path,
):
    """Users get no error but those that the version itself gave, which its engine has counted one by one."""
    old, before = served_name(LINE, versions[0].digest), routed.tracker.resolve(LINE, "champion")
    new = served_name(LINE, narrow.digest)
    assert before == versions[0]
    with watched(installation, edge.name, tmp_path / "seen.json") as seen, Traffic(edge.url, LINE, HOST) as traffic:
        with pytest.raises(RoundFailed, match=r"c0c0c0c0 with up to 25 % .* an error .*back: more than 5\.0% more"):
            move(routed.tracker, backend, narrow)
        end = time.monotonic()
        traffic.settled(old, end, 0)
    print(f"failing: {sorted(traffic.answers.items())}, failed {len(traffic.failed)}")
    assert routed.tracker.resolve(LINE, "champion") == before
    assert {request.model for request in traffic.requests if request.sent > end} == {old}
    assert all("400" in request.error and request.sent < end for request in traffic.failed)
    assert len(traffic.failed) == sum(counted(backend, step)[new].errors for step in steps(seen))
