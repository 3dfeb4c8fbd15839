"""Leases of a cluster, without one: on an API that keeps versions and refuses writes to what has changed since."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from selftaught.cluster import client as cluster_client
from selftaught.cluster.client import LEASE_SECONDS, Cluster
from selftaught.core.errors import Busy


class Leases:
    """The API of Leases."""

    def __init__(self) -> None:
        self.there: dict[str, client.V1Lease] = {}
        self.version = 0

    def read_namespaced_lease(self, name: str, namespace: str) -> client.V1Lease:
        if name not in self.there:
            raise ApiException(status=404)
        return self.there[name]

    def create_namespaced_lease(self, namespace: str, lease: client.V1Lease) -> None:
        if lease.metadata.name in self.there:
            raise ApiException(status=409)
        self._write(lease)

    def replace_namespaced_lease(self, name: str, namespace: str, lease: client.V1Lease) -> None:
        if lease.metadata.resource_version != self.there[name].metadata.resource_version:
            raise ApiException(status=409)
        self._write(lease)

    def _write(self, lease: client.V1Lease) -> None:
        self.version += 1
        lease.metadata.resource_version = str(self.version)
        self.there[lease.metadata.name] = lease


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster("team-a", "name")
    cluster.coordination = Leases()
    return cluster


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of this machine, which passes while it sleeps."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(cluster_client, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    return clock


def held_by_another(cluster: Cluster, ahead: float = 0.0) -> Any:
    """A process on a machine whose clock is `ahead` by so many seconds holds the lease, and dies."""
    with cluster.lease("line"):
        lease = cluster.coordination.there["line"]
        lease.spec.renew_time += timedelta(seconds=ahead)
        lease.spec.holder_identity = "another"
    return lease


def test_a_holder_notices_that_another_has_taken_its_lease(cluster: Cluster):
    with cluster.lease("line") as require_held:
        require_held()
        cluster.coordination.there["line"].spec.holder_identity = "another"
        with pytest.raises(Busy, match="another process has taken it meanwhile"):
            require_held()
    assert cluster.coordination.there["line"].spec.holder_identity == "another"


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_lease_lasts_as_long_as_it_is_renewed_whatever_the_other_clock_says(
    cluster: Cluster, clock: SimpleNamespace, ahead: float
):
    held_by_another(cluster, ahead)
    with pytest.raises(Busy), cluster.lease("line", patience=LEASE_SECONDS - 10):
        pass
    begin = clock.now
    with cluster.lease("line"):
        assert LEASE_SECONDS <= clock.now - begin <= LEASE_SECONDS + 1
