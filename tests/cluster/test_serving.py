"""Serving on KServe: what is promoted is reached, nobody is failed, what is broken or stale is found in time."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from selftaught.cluster.naming import DIGEST
from selftaught.core.errors import BadInput, SelftaughtError, Unavailable, WrongModel
from selftaught.inference.endpoint import served_name
from selftaught.inference.limiter import CLIENT, PRIORITY, ROUNDS, SHARE
from selftaught.lines.versions import rollback
from selftaught.platform import Platform
from selftaught.round.models import endpoint
from selftaught.serving.kserve.backend import GROUP, PLURAL, VERSION, KServe
from selftaught.serving.middleware.connections import SECONDS
from selftaught.serving.promotion import move, reconcile
from selftaught.state.tracking import Version
from selftaught.state.weights import model_digest
from tests.cluster.installation import Installation, manifest, noisy, pointed, serving, stored
from tests.cluster.traffic import Traffic

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.model, pytest.mark.timeout(1200)]

LINE = "served"


def under(backend: KServe, **changes: Any) -> KServe:
    """The backend under settings that are changed so."""
    return KServe(backend.cluster, backend.locate, backend.settings.model_copy(update=changes), backend.route)


@pytest.fixture(scope="module")
def versions(platform: Platform, starter_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Version]:
    """Two versions of a line, the first of which is its champion."""
    other = noisy(starter_model, tmp_path_factory.mktemp("models") / "other", 0.05)
    digests = [stored(platform, folder) for folder in (starter_model, other)]
    made = [platform.tracker.register(LINE, d, platform.store.uri("models", d), "", {}) for d in digests]
    move(platform.tracker, platform.serving(), made[0])
    return made


@pytest.fixture(scope="module")
def backend(platform: Platform) -> KServe:
    return serving(platform)


def test_nobody_is_failed_by_a_promotion_and_a_roll_back(platform: Platform, backend: KServe, versions: list[Version]):
    old, new = (served_name(LINE, version.digest) for version in versions)
    backend.deploy(LINE, versions[1].digest)
    with Traffic(backend.cluster.url(LINE), LINE) as traffic:
        time.sleep(10)
        move(platform.tracker, backend, versions[1])
        promoted = traffic.settled(new, time.monotonic(), SECONDS)
        rollback(platform.tracker, backend, LINE, "previous")
        back = traffic.settled(old, time.monotonic(), SECONDS)
    slowest = max(request.answered - request.sent for request in traffic.requests)
    print(f"{len(traffic.requests)} requests, none failed, the slowest took {slowest:.1f} s.")
    print(f"The old one was asked for {promoted:.1f} s more; after the roll-back the new one, {back:.1f} s.")
    assert not traffic.failed
    assert {request.model for request in traffic.requests} == {old, new}
    # A kept-alive connection is closed with the first answer after its time.
    assert max(promoted, back) <= SECONDS + slowest + 1


def test_a_round_is_told_what_users_leave_of_an_engine_and_a_user_is_answered_first(
    backend: KServe, versions: list[Version]
):
    """By the engine that the chart's runtime starts: with its priorities and its `besideUsers`."""
    url, fields = backend.cluster.url(LINE), {PRIORITY: str(ROUNDS), CLIENT: "a"}
    body = {"model": LINE, "messages": [{"role": "user", "content": "3 + 4?"}], "max_tokens": 4}
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        user, asked = (client.post("/v1/chat/completions", json=body, headers=said) for said in ({}, fields))
    assert user.raise_for_status() and SHARE not in user.headers
    assert asked.raise_for_status() and 1 <= int(asked.headers[SHARE]) <= 32


def test_a_challenger_that_crash_loops_never_gets_traffic_and_is_told_in_its_own_words(
    platform: Platform, backend: KServe, versions: list[Version], starter_model: Path, tmp_path: Path
):
    folder = tmp_path / "broken"
    shutil.copytree(starter_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 7}))
    digest = model_digest(folder)
    platform.store.put("models", digest, folder)
    broken = platform.tracker.register(LINE, digest, platform.store.uri("models", digest), "", {})
    before = platform.tracker.resolve(LINE, "champion")
    with pytest.raises(BadInput, match=r"CrashLoopBackOff: .*(7|heads)"):
        move(platform.tracker, backend, broken)
    assert platform.tracker.resolve(LINE, "champion") == before
    assert pointed(backend, LINE) == served_name(LINE, before.digest)
    backend.remove(LINE, digest)


@pytest.fixture
def stale(platform: Platform, backend: KServe, versions: list[Version]) -> Iterator[str]:
    """A version's InferenceService that loads another version's weights under its name, and does not prove them."""
    digest = versions[1].digest
    backend.remove("stale", digest)
    body = manifest(backend, "stale", digest)
    body["spec"]["predictor"]["model"]["storageUri"] = platform.store.uri("models", versions[0].digest)
    del body["spec"]["predictor"]["model"]["env"]
    api, space = backend.cluster.custom, backend.cluster.namespace
    api.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body)
    yield digest
    backend.remove("stale", digest)


def test_an_engine_loads_no_other_weights_than_it_is_named_by(
    platform: Platform, backend: KServe, versions: list[Version]
):
    """They were changed in the bucket, where KServe's initializer compares nothing."""
    digest, other = (version.digest for version in reversed(versions))
    body = manifest(backend, "changed", digest)
    body["spec"]["predictor"]["model"]["storageUri"] = platform.store.uri("models", other)
    api, space = backend.cluster.custom, backend.cluster.namespace
    try:
        api.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body)
        with pytest.raises(BadInput, match=rf"is model {other[:8]}, not {digest[:8]}"):
            backend.ready("changed", digest)
    finally:
        backend.remove("changed", digest)


async def test_a_server_that_was_left_on_old_weights_is_found_before_anything_is_sampled(
    platform: Platform, stale: str
):
    with pytest.raises(WrongModel, match="does not compute with the weights that were trained"):
        await endpoint(platform, "stale", stale, {})


def test_an_inference_service_of_another_digest_is_never_taken_for_it(backend: KServe, versions: list[Version]):
    name, digest = served_name(LINE, versions[0].digest), versions[0].digest[:8] + "f" * 56
    assert backend.read(name)["metadata"]["annotations"][DIGEST] == versions[0].digest
    with pytest.raises(WrongModel, match="Delete it"):
        backend.deploy(LINE, digest)


def test_a_kill_between_alias_and_address_heals(platform: Platform, backend: KServe, versions: list[Version]):
    champion = platform.tracker.resolve(LINE, "champion")
    other = next(version for version in versions if version != champion)
    platform.tracker.point("champion", other)  # and then the promoter was killed
    reconcile(platform.tracker, backend, LINE, grace=1e9, used=set)
    assert pointed(backend, LINE) == served_name(LINE, other.digest)
    platform.tracker.point("champion", champion)
    reconcile(platform.tracker, backend, LINE, grace=1e9, used=set)
    assert pointed(backend, LINE) == served_name(LINE, champion.digest)


def test_what_was_replaced_goes_after_its_grace_and_what_is_used_stays(
    platform: Platform, backend: KServe, versions: list[Version]
):
    champion = platform.tracker.resolve(LINE, "champion")
    other = next(version for version in versions if version != champion)
    backend.deploy(LINE, other.digest)
    reconcile(platform.tracker, backend, LINE, grace=0, used=lambda: {other.digest})
    assert set(backend.served(LINE)) == {version.digest for version in versions}
    reconcile(platform.tracker, backend, LINE, grace=1e9, used=set)
    assert set(backend.served(LINE)) == {version.digest for version in versions}
    reconcile(platform.tracker, backend, LINE, grace=0, used=set)
    assert set(backend.served(LINE)) == {champion.digest}


def test_one_process_at_a_time_moves_a_line(backend: KServe):
    with (
        backend.cluster.lease("selftaught-leased", patience=0),
        pytest.raises(Unavailable, match="held by another"),
        backend.cluster.lease("selftaught-leased", patience=0),
    ):
        pass
    with backend.cluster.lease("selftaught-leased", patience=0):
        pass


def test_where_one_engine_fits_the_old_one_stops_first(backend: KServe, versions: list[Version]):
    crowded = under(backend, one_engine=True)
    for version in (*versions, versions[0]):
        crowded.deploy(LINE, version.digest)
        assert set(backend.served(LINE)) == {version.digest}


# What cannot come up is reported in time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "localhost/selftaught/no-such:0"}, "(ErrImage|ImagePull).*no-such"),
        ({"resources": {"requests": {"memory": "900Gi"}, "limits": {"memory": "900Gi"}}}, "not scheduled: .*memory"),
    ],
    ids=["image missing", "too large for any node"],
)
def test_a_server_that_cannot_start_is_told_with_the_clusters_reason(
    backend: KServe, versions: list[Version], changes: dict, words: str
):
    digest = versions[1].digest
    body = manifest(backend, "stuck", digest)
    body["spec"]["predictor"]["model"] |= changes
    api, space = backend.cluster.custom, backend.cluster.namespace
    api.create_namespaced_custom_object(GROUP, VERSION, space, PLURAL, body)
    impatient = under(backend, ready_within=60)
    try:
        with pytest.raises((BadInput, Unavailable), match=words):
            impatient.deploy("stuck", digest)
    finally:
        backend.remove("stuck", digest)


def test_a_model_that_is_not_in_the_store_is_told_in_the_storage_initializers_words(
    backend: KServe, installation: Installation
):
    digest = "ab" * 32
    try:
        with pytest.raises(BadInput, match="nothing at s3://"):
            backend.deploy("absent", digest)
    finally:
        backend.remove("absent", digest)


def test_a_bucket_that_is_not_there_is_told(backend: KServe, versions: list[Version]):
    digest = versions[1].digest
    lost = KServe(backend.cluster, lambda digest: f"s3://no-such-bucket/{digest}", backend.settings, backend.route)
    try:
        with pytest.raises(BadInput, match=r"(?s)bucket|nothing at s3://no-such-bucket"):
            lost.deploy("bucketless", digest)
    finally:
        backend.remove("bucketless", digest)


@pytest.fixture
def outsider(backend: KServe) -> Iterator[str]:
    """A service account whose Secret for S3 is wrong."""
    core, space = backend.cluster.core, backend.cluster.namespace
    notes = core.read_namespaced_secret("selftaught-s3", space).metadata.annotations
    fields = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}
    core.create_namespaced_secret(space, {"metadata": {"name": "outsider", "annotations": notes}, "stringData": fields})
    core.create_namespaced_service_account(space, {"metadata": {"name": "outsider"}, "secrets": [{"name": "outsider"}]})
    yield "outsider"
    core.delete_namespaced_service_account("outsider", space)
    core.delete_namespaced_secret("outsider", space)


def test_a_wrong_s3_secret_is_told_and_promotes_nothing(
    platform: Platform, backend: KServe, versions: list[Version], outsider: str
):
    champion = platform.tracker.resolve(LINE, "champion")
    other = next(version for version in versions if version != champion)
    backend.remove(LINE, other.digest)
    refused = under(backend, engine_account=outsider)
    try:
        with pytest.raises(BadInput, match=r"(?s)InvalidAccessKeyId|AccessDenied|SignatureDoesNotMatch|Forbidden|403"):
            move(platform.tracker, refused, other)
    finally:
        backend.remove(LINE, other.digest)
    assert platform.tracker.resolve(LINE, "champion") == champion
    assert pointed(backend, LINE) == served_name(LINE, champion.digest)


def test_a_step_with_a_wrong_s3_secret_ends_with_what_to_do(
    platform: Platform, installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    (tmp_path / "file").write_text("content")
    with pytest.raises(SelftaughtError, match=r"refused.*AWS_ACCESS_KEY_ID"):
        Platform.open().store.put("datasets", "ab" * 32, tmp_path)
    assert not platform.store.has("datasets", "ab" * 32)


def test_a_quota_that_is_used_up_is_told(backend: KServe, versions: list[Version], installation: Installation):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "1"}}}
    installation.kube.run("-n", installation.namespace, "create", "-f", "-", given=json.dumps(quota))
    try:
        with pytest.raises(BadInput, match="exceeded quota: full"):
            backend.deploy("over", versions[1].digest)
    finally:
        installation.kube.run("-n", installation.namespace, "delete", "resourcequota", "full")
        backend.remove("over", versions[1].digest)
