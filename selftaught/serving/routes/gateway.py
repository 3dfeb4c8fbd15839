"""Users reach the champion through a Gateway API HTTPRoute called like the line; a new version gets them by steps.

A line is `<line>.<domain>`. A host name of its own, and no path prefix, because every gateway has to match host names
and share requests out by weight, and rewriting a prefix away is optional (Gateway API's core and extended support).

The Service called like the line stays, and is moved when the version is champion: a client in the cluster needs no
gateway, and takes no part in the steps. Which requests of a user come to which version is the gateway's business.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from selftaught.errors import RoundFailed, SelftaughtError, Unavailable
from selftaught.serving.answers import wait_until_leads
from selftaught.serving.canary import Pair, compare, pods
from selftaught.serving.cluster import Cluster, found, told, won
from selftaught.serving.naming import LINE, MANAGED, version_name
from selftaught.serving.routes.service import WITHIN, ServiceRoute
from selftaught.settings import Settings

GROUP, VERSION, PLURAL = "gateway.networking.k8s.io", "v1", "httproutes"
LOOK = 2.0
"""Seconds between two looks at a version that is being tried."""


class GatewayRoute:
    """Implements `selftaught.serving.backend.Route`; the registry's alias is the truth. `say` is told of every step."""

    def __init__(self, cluster: Cluster, settings: Settings, say: Callable[[str], None]) -> None:
        self._cluster, self._settings, self._say = cluster, settings, say
        self._service = ServiceRoute(cluster)

    def recorded(self, line: str) -> str | None:
        """The alias is the truth."""
        return None

    def introduce(self, line: str, digest: str, beside: str | None) -> None:
        """Give the version a growing share of the requests, and go on only while it serves them as the champion does.

        Raises RoundFailed when it does not. Whatever is raised, all requests go back to the champion first; that a
        kill leaves to `point`.
        """
        if beside is None:
            return
        champion, new = version_name(line, beside), version_name(line, digest)
        try:
            for share in self._settings.canary_steps:
                self._weigh(line, {champion: 100 - share, new: share})
                self._hold(share, champion, new)
        except BaseException:
            self._take_back(line, champion)
            raise

    def _take_back(self, line: str, champion: str) -> None:
        """Give the champion all requests again. What is wrong with that hides nothing of why it has to be."""
        try:
            self._lead(line, champion)
        except SelftaughtError as error:
            self._say(str(error))

    def point(self, line: str, digest: str) -> None:
        """See `Route.point`. Raises Unavailable when new requests do not come to the version within a minute."""
        self._lead(line, version_name(line, digest))
        self._service.point(line, digest)

    def retire(self, line: str, digest: str) -> None:
        """Nothing is kept of a version that users are not led to."""

    def _hold(self, share: int, champion: str, new: str) -> None:
        """Watch both versions until the step is over. Raises RoundFailed when the new one has to go."""
        before = self._pods(champion, new)
        until = time.monotonic() + self._settings.canary_seconds
        while True:
            time.sleep(max(0.0, min(LOOK, until - time.monotonic())))
            over = time.monotonic() >= until  # before the look: no step ends without one
            seen = compare(before, self._pods(champion, new), self._settings.canary_max_errors)
            words = f"{new} with {share} % of the requests answered {seen.new}; {champion} {seen.champion}."
            if seen.harm:
                raise RoundFailed(f"{words} It is taken back: {seen.harm}. See its pods' logs.")
            if over:
                self._say(words)
                return

    def _pods(self, champion: str, new: str) -> Pair:
        return Pair(pods(self._cluster, champion), pods(self._cluster, new))

    def _lead(self, line: str, name: str) -> None:
        """Give the version all requests. Raises Unavailable when they do not come to it within a minute."""
        self._weigh(line, {name: 100})
        url, host = self._settings.gateway_url, host_name(line, self._settings)
        if not wait_until_leads(f"{url}/v1", name, WITHIN, host):
            raise Unavailable(
                f"httproute {line}: {host} at {url} does not lead to {name} after {WITHIN:.0f} s. Does the gateway "
                f"{self._settings.gateway} take it (kubectl describe httproute {line})?"
            )

    def _weigh(self, line: str, shares: Mapping[str, int]) -> None:
        """Share the line's requests out among versions, by name. The HTTPRoute is made if need be."""
        with told(f"httproute {line}"):
            while not won(lambda: self._write(line, shares)):
                pass  # written by somebody else since it was read: read it again

    def _write(self, line: str, shares: Mapping[str, int]) -> None:
        """One read and one write. Filters, matches and timeouts that people have put into the HTTPRoute are kept.

        Raises the client's ApiException: 409 when somebody else has written it in between.
        """
        api, place = self._cluster.custom, (GROUP, VERSION, self._cluster.namespace, PLURAL)
        wanted = http_route(line, self._settings, shares)
        known = found(lambda: api.get_namespaced_custom_object(*place, line))
        if known is None:
            api.create_namespaced_custom_object(*place, wanted)
            return
        rules = [rule | wanted["spec"]["rules"][0] for rule in known["spec"]["rules"]]
        spec = known["spec"] | wanted["spec"] | {"rules": rules}
        api.replace_namespaced_custom_object(*place, line, known | {"spec": spec})


def host_name(line: str, settings: Settings) -> str:
    """The name under which users ask for `line`."""
    return f"{line}.{settings.domain}"


def http_route(line: str, settings: Settings, shares: Mapping[str, int]) -> dict[str, Any]:
    """The HTTPRoute of `line`, with the share of the requests that each version gets, by name."""
    namespace, _, gateway = settings.gateway.partition("/")
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "HTTPRoute",
        "metadata": {"name": line, "labels": {LINE: line, **MANAGED}},
        "spec": {
            "parentRefs": [{"name": gateway, "namespace": namespace}],
            "hostnames": [host_name(line, settings)],
            "rules": [{"backendRefs": [_backend(name, share) for name, share in shares.items()]}],
        },
    }


def _backend(name: str, share: int) -> dict[str, Any]:
    return {"name": f"{name}-predictor", "port": 80, "weight": share}
