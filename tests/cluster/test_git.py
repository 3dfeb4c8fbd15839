"""Promotion by a commit on a cluster: users come to the version and back, nobody is failed, a revert is followed.

The controller is a stand-in that does what any does: it takes the branch, applies its files, and removes last what has
gone from them.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selftaught.inference.endpoint import served_name
from selftaught.lines.versions import rollback
from selftaught.platform import Platform
from selftaught.serving.kserve.backend import KServe
from selftaught.serving.middleware.connections import SECONDS
from selftaught.serving.promotion import move, reconcile
from selftaught.state.tracking import Version
from tests.cluster.installation import Installation, noisy, serving, stored
from tests.cluster.traffic import Traffic
from tests.git_server import TOKEN, USERNAME, Bare, git, git_server

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("room"), pytest.mark.model, pytest.mark.timeout(1200)]

LINE = "committed"


@contextmanager
def controller(installation: Installation, bare: Bare, checkout: Path) -> Iterator[None]:
    """Have the cluster follow the branch while the block runs; what is served then goes."""
    over = threading.Event()
    git("clone", "--quiet", str(bare.folder), str(checkout), at=bare.folder.parent)
    folder = checkout / "lines" / LINE

    def kubectl(*words: str) -> None:
        installation.kube.run("-n", installation.namespace, *words)

    def sync() -> None:
        before: set[str] = set()
        while not over.wait(1):
            git("pull", "--quiet", "--ff-only", at=checkout)
            served = {path.stem for path in folder.glob("served/*.yaml")}
            if served:
                kubectl("apply", "--server-side", "--force-conflicts", "--recursive", "--filename", str(folder))
            for gone in before - served:
                kubectl("delete", "inferenceservice", gone, "--wait=false")
            before = served

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        kubectl("delete", "inferenceservices,services", "--selector", f"selftaught.io/line={LINE}")


@pytest.fixture
def by_git(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Platform, KServe, Bare]]:
    """The cluster profile with commits for a route, and a controller that follows them."""
    bare = Bare.made(tmp_path / "lines.git")
    with git_server(tmp_path) as server, controller(installation, bare, tmp_path / "controller"):
        fields = {"SELFTAUGHT_ROUTE": "git", "SELFTAUGHT_GIT_URL": f"{server.url}/lines.git"}
        for name, value in {**fields, "GIT_USERNAME": USERNAME, "GIT_PASSWORD": TOKEN}.items():
            monkeypatch.setenv(name, value)
        platform = Platform.open()
        yield platform, serving(platform), bare


@pytest.fixture
def versions(by_git: tuple[Platform, KServe, Bare], starter_model: Path, tmp_path: Path) -> list[Version]:
    """Two versions of a line, the first of which is its champion."""
    platform, backend, _ = by_git
    digests = [stored(platform, folder) for folder in (starter_model, noisy(starter_model, tmp_path / "other", 0.05))]
    made = [platform.tracker.register(LINE, d, platform.store.uri("models", d), "", {}) for d in digests]
    move(platform.tracker, backend, made[0])
    return made


def test_nobody_is_failed_by_commits_that_promote_and_roll_back_and_a_revert_by_hand_is_followed(
    by_git: tuple[Platform, KServe, Bare], versions: list[Version]
):
    platform, backend, bare = by_git
    old, new = (served_name(LINE, version.digest) for version in versions)
    backend.deploy(LINE, versions[1].digest)
    with Traffic(backend.cluster.url(LINE), LINE) as traffic:
        time.sleep(10)
        move(platform.tracker, backend, versions[1])
        traffic.settled(new, time.monotonic(), SECONDS)
        rollback(platform.tracker, backend, LINE, "previous")
        traffic.settled(old, time.monotonic(), SECONDS)
    assert not traffic.failed
    assert traffic.requests[-1].model == old
    assert {request.model for request in traffic.requests} == {old, new}
    assert platform.tracker.resolve(LINE, "champion") == versions[0]
    bare.revert()
    reconcile(platform.tracker, backend, LINE, grace=1e9, used=set)
    assert platform.tracker.resolve(LINE, "champion") == versions[1]
