"""The cluster's own gateway: a Gateway of any GatewayClass that its controller has accepted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.kube import Kube

GROUP = "gateway.networking.k8s.io"
_IN_CLUSTER = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<namespace>[a-z0-9-]+)\.svc(\..*)?")


@dataclass(frozen=True, slots=True)
class Edge:
    """A Gateway, as namespace/name, and where it answers plain HTTP: as its status says, and from here."""

    name: str
    address: str
    url: str
    controller: str = ""
    """What serves it: its GatewayClass's controllerName."""

    @property
    def go(self) -> bool:
        """Whether it is known to cut streams, as gateways on Go's net/http do (docs/operations.md, Gateways on Go)."""
        return self.controller.startswith("traefik.io/")

    @classmethod
    def find(cls, kube: Kube) -> "Edge":
        """The first Gateway that takes every namespace's HTTPRoutes. Skips, with what is missing, without one."""
        if kube.run("get", "--raw", f"/apis/{GROUP}/v1", check=False).returncode:
            pytest.skip("the cluster has no Gateway API (gateway.networking.k8s.io/v1)")
        classes, gateways = kube.get("gatewayclasses")["items"], kube.get("gateways", "-A")["items"]
        entrance = next(entrances(classes, gateways), None)
        if entrance is None:
            names = ", ".join(each["metadata"]["name"] for each in classes if holds("Accepted", each)) or "none"
            pytest.skip(f"no programmed Gateway takes HTTP of every namespace; accepted GatewayClasses: {names}")
        name, host, port = entrance
        kind = next(each["spec"]["gatewayClassName"] for each in gateways if _name(each) == name)
        controller = next(each["spec"]["controllerName"] for each in classes if each["metadata"]["name"] == kind)
        return cls(name, f"http://{host}:{port}", f"http://{_reached(kube, host)}:{port}", controller)


def entrances(classes: Iterable[Any], gateways: Iterable[Any]) -> Iterator[tuple[str, str, int]]:
    """The Gateways of accepted classes that take every namespace's HTTPRoutes: name, host, and port."""
    accepted = {each["metadata"]["name"] for each in classes if holds("Accepted", each)}
    for gateway in gateways:
        if gateway["spec"]["gatewayClassName"] in accepted and holds("Programmed", gateway):
            name = _name(gateway)
            hosts = [address["value"] for address in gateway["status"].get("addresses", ())]
            ports = [each["port"] for each in gateway["spec"]["listeners"] if _open(each)]
            yield from ((name, host, port) for host in hosts[:1] for port in ports[:1])


def _name(gateway: Mapping[str, Any]) -> str:
    return f"{gateway['metadata']['namespace']}/{gateway['metadata']['name']}"


def holds(condition: str, item: Mapping[str, Any]) -> bool:
    """Whether the object's status says so."""
    response = item.get("status", {}).get("conditions", ())
    return any(each["type"] == condition and each["status"] == "True" for each in response)


def _open(listener: Mapping[str, Any]) -> bool:
    """Whether the listener takes plain HTTP for any host name from routes of every namespace."""
    allowed = listener.get("allowedRoutes", {}).get("namespaces", {}).get("from", "Same")
    return listener["protocol"] == "HTTP" and allowed == "All" and not listener.get("hostname")


def _reached(kube: Kube, host: str) -> str:
    """The address of a Service's name, which resolves in Pods alone; any other host as it is."""
    named = _IN_CLUSTER.fullmatch(host)
    if named is None:
        return host
    service = kube.get("-n", named["namespace"], "service", named["name"])
    return str(service["spec"]["clusterIP"])
