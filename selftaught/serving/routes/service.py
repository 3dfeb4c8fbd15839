"""Users reach the champion through a Service named after the line, whose selector is changed.

Established connections stay where they are until the engine closes them (`selftaught.serving.middleware.connections`).
"""

from typing import Any

from selftaught.cluster.client import Cluster, api_errors, found
from selftaught.cluster.naming import LINE, MANAGED, version_name
from selftaught.core.errors import Away
from selftaught.serving.probe import wait_until_leads

SELECTOR = "serving.kserve.io/inferenceservice"
ENGINE_PORT = 8080
WITHIN = 60.0
"""Seconds in which a moved selector has to lead new connections to its version."""


class ServiceRoute:
    """Implements `selftaught.serving.backend.Route`; the registry's alias is the truth."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def recorded(self, line: str) -> str | None:
        """The alias is the truth."""
        return None

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        """All users are led to it at once."""

    def point(self, line: str, digest: str) -> None:
        """See `Route.point`. Raises Away when new connections do not come to the version within a minute."""
        name = version_name(line, digest)
        self._select(line, name)
        if not wait_until_leads(f"{self._cluster.url(line)}/v1", name, WITHIN):
            raise Away(f"service {line}: does not lead to {name} after {WITHIN:.0f} s. Are its pods up?")

    def retire(self, line: str, digest: str) -> None:
        """Nothing is kept of a version."""

    def pointed(self, line: str) -> str | None:
        """The name of the version that the stable address leads to, or None where there is no such address."""
        with api_errors(f"service {line}"):
            service = found(lambda: self._cluster.core.read_namespaced_service(line, self._cluster.namespace))
        return None if service is None else str(service.spec.selector.get(SELECTOR))

    def _select(self, line: str, name: str) -> None:
        core, namespace = self._cluster.core, self._cluster.namespace
        with api_errors(f"service {line}"):
            before = self.pointed(line)
            if before is None:
                core.create_namespaced_service(namespace, stable_service(line, name))
            elif before != name:
                core.patch_namespaced_service(line, namespace, {"spec": {"selector": {SELECTOR: name}}})


def stable_service(line: str, name: str) -> dict[str, Any]:
    """The Service that users of `line` ask, leading to the version `name`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": line, "labels": {LINE: line, **MANAGED}},
        "spec": {
            "selector": {SELECTOR: name},
            "ports": [{"name": "http", "port": 80, "targetPort": ENGINE_PORT}],
        },
    }
