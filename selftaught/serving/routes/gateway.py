"""Users reach the champion through a Gateway API HTTPRoute named after the line; a new version gets them gradually.

A line is `<line>.<domain>`. A host name of its own, and no path prefix, because every gateway has to match host names
and share requests out by weight, and rewriting a prefix away is optional (Gateway API's core and extended support).

The Service called like the line stays, and is moved when the version is champion: a client in the cluster needs no
gateway, and takes no part in the steps. So that its requests are distinguished from those that are shared out, the
route has the gateway set a header while a version is tried (`selftaught.serving.middleware.counting`; a
RequestHeaderModifier is core too). Which requests of a user come to which version is the gateway's business.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from secrets import token_hex
from typing import Any

from selftaught.cluster.client import Cluster, api_errors, found, won
from selftaught.cluster.naming import LINE, MANAGED, version_name
from selftaught.core.errors import Away, RoundFailed, SelftaughtError, Unavailable
from selftaught.serving.middleware.counting import HEADER
from selftaught.serving.probe import wait_until_leads
from selftaught.serving.routes.acceptance import Refusal, refusal
from selftaught.serving.routes.canary import Pair, Trial, pods
from selftaught.serving.routes.service import WITHIN, ServiceRoute
from selftaught.settings import Settings

GROUP, VERSION, PLURAL = "gateway.networking.k8s.io", "v1", "httproutes"
MODIFIER, FIELD = "RequestHeaderModifier", "requestHeaderModifier"
LOOK = 2.0
"""Seconds between two looks at a version that is being tried."""
SETTLES = 5.0
"""Seconds in which a gateway may change its mind: it has to hear of Services and routes, one after the other."""
_PAUSE = 0.2


class GatewayRoute:
    """Implements `selftaught.serving.backend.Route`; the registry's alias is the truth. `say` gets every step."""

    def __init__(self, cluster: Cluster, settings: Settings, say: Callable[[str], None]) -> None:
        self._cluster, self._settings, self._say = cluster, settings, say
        self._service = ServiceRoute(cluster)

    def recorded(self, line: str) -> str | None:
        """The alias is the truth."""
        return None

    def introduce(self, line: str, digest: str, champion: str | None) -> None:
        """Give the version a growing share of the requests, until it is shown to serve them as the champion does.

        Raises RoundFailed when it does not, Unavailable when too few requests came to tell. Whatever is raised, all
        requests go back to the champion first; that a kill leaves to `point`.
        """
        if champion is None:
            return
        current = version_name(line, champion)
        try:
            self._try(line, version_name(line, digest), current)
        except BaseException:
            self._roll_back(line, current)
            raise

    def _roll_back(self, line: str, champion: str) -> None:
        """Give the champion all requests again. What is wrong with that hides nothing of why it has to be."""
        try:
            self._lead(line, champion)
        except SelftaughtError as error:
            self._say(str(error))

    def point(self, line: str, digest: str) -> None:
        """See `Route.point`. Raises Away when new requests do not come to the version within a minute."""
        self._lead(line, version_name(line, digest))
        self._service.point(line, digest)

    def retire(self, line: str, digest: str) -> None:
        """Nothing is kept of a version that users are not led to."""

    def _try(self, line: str, new: str, champion: str) -> None:
        settings = self._settings
        trial, steps = Trial(settings.canary_max_errors, settings.canary_answers), settings.canary_steps
        until = time.monotonic() + settings.canary_seconds * len(steps) + settings.canary_patience
        for share, enough in zip(steps, parts(settings), strict=True):
            mark = token_hex(16)
            self._weigh(line, {champion: 100 - share, new: share}, mark)
            self._hold(trial, _Plan(new, champion, mark, share, enough, share == steps[-1], until))

    def _hold(self, trial: Trial, step: "_Plan") -> None:
        """Watch both versions until the step is over. Raises as `introduce` does when the new one has to go."""
        trial.begin(self._pods(step))
        end = time.monotonic() + self._settings.canary_seconds
        while True:
            left = end - time.monotonic()
            time.sleep(min(LOOK, left) if left > 0 else LOOK)
            now = time.monotonic()  # before the look: no step ends without one
            late = now >= step.until
            trial.see(self._pods(step), late)
            self._require(trial, step, late)
            if now >= end and (late or step.done(trial)):
                self._say(step.words(trial))
                return

    def _pods(self, step: "_Plan") -> Pair:
        return Pair(*(pods(self._cluster, version, step.mark) for version in (step.new, step.champion)))

    def _require(self, trial: Trial, step: "_Plan", late: bool) -> None:
        """Raise when the new version has to go: for harm, or when time is over and it is not shown to be sound."""
        settings = self._settings
        back = f"{step.words(trial)} It is rolled back:"
        if trial.harm:
            raise RoundFailed(f"{back} {trial.harm}. See its pods' logs.")
        if late and trial.short and not settings.canary_promote_unseen:
            raise Unavailable(
                f"{back} time is over, and it takes {settings.canary_answers} answers to decide. The same command "
                "tries it again. For a line with few users, raise serving.canary.patienceSeconds or set promoteUnseen."
            )
        if late and not trial.short and not trial.sound:
            raise RoundFailed(
                f"{back} time is over, and it is not shown that at most {settings.canary_max_errors:.1%} more of its "
                "answers are errors. See its pods' logs; where users make many mistakes of their own, raise "
                "serving.canary.patienceSeconds."
            )

    def _lead(self, line: str, name: str) -> None:
        """Give the version all requests. Raises Away when they do not come to it within a minute."""
        self._weigh(line, {name: 100}, mark="")
        url, host = self._settings.gateway_url, host_name(line, self._settings)
        if not wait_until_leads(f"{url}/v1", name, WITHIN, host):
            raise Away(
                f"httproute {line}: {host} at {url} does not lead to {name} after {WITHIN:.0f} s, though the gateway "
                f"{self._settings.gateway} has taken it. Is {url} that gateway, and reached from here?"
            )

    def _weigh(self, line: str, shares: Mapping[str, int], mark: str) -> None:
        """Share the line's requests out among versions, by name. The HTTPRoute is made if need be.

        Raises Unavailable when the gateway does not take it, in its words.
        """
        with api_errors(f"httproute {line}"):
            while not won(lambda: self._write(line, shares, mark)):
                pass  # written by someone else since it was read: read it again
        begin = time.monotonic()
        while (why := self._refusal(line)) is not None:
            if time.monotonic() - begin > (SETTLES if why.said else WITHIN):
                raise Unavailable(
                    f"httproute {line}: the gateway {self._settings.gateway} does not take it ({why.words}). See its "
                    "listeners (allowedRoutes, hostname) and its controller's log; then the same command again."
                )
            time.sleep(_PAUSE)

    def _refusal(self, line: str) -> Refusal | None:
        """Why the gateway does not lead by the HTTPRoute as it stands."""
        resource = (GROUP, VERSION, self._cluster.namespace, PLURAL)
        with api_errors(f"httproute {line}"):
            route = self._cluster.custom.get_namespaced_custom_object(*resource, line)
        return refusal(route, self._settings.gateway)

    def _write(self, line: str, shares: Mapping[str, int], mark: str) -> None:
        """One read and one write. Filters, matches and timeouts that people have put into the HTTPRoute are kept.

        Raises the client's ApiException: 409 when someone else has written it in between.
        """
        api, resource = self._cluster.custom, (GROUP, VERSION, self._cluster.namespace, PLURAL)
        wanted = http_route(line, self._settings, shares, mark)
        known = found(lambda: api.get_namespaced_custom_object(*resource, line))
        if known is None:
            api.create_namespaced_custom_object(*resource, wanted)
            return
        (rule,) = wanted["spec"]["rules"]
        rules = [each | rule | {"filters": _marked(each.get("filters", ()), mark)} for each in known["spec"]["rules"]]
        spec = known["spec"] | wanted["spec"] | {"rules": rules}
        api.replace_namespaced_custom_object(*resource, line, known | {"spec": spec})


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step: `new` gets `share` per cent of the requests, marked, until it has answered `enough` in all."""

    new: str
    champion: str
    mark: str
    share: int
    enough: float
    last: bool
    until: float

    def done(self, trial: Trial) -> bool:
        """Whether enough was answered, in all steps so far; in the last one, it has to be found sound besides."""
        return trial.answers.new.given >= self.enough and (trial.sound or not self.last)

    def words(self, trial: Trial) -> str:
        """What both have answered up to now."""
        ours, theirs = trial.answers
        return f"{self.new} with up to {self.share} % of the requests answered {ours}; {self.champion} {theirs}."


def host_name(line: str, settings: Settings) -> str:
    """The name under which users ask for `line`."""
    return f"{line}.{settings.domain}"


def http_route(line: str, settings: Settings, shares: Mapping[str, int], mark: str = "") -> dict[str, Any]:
    """The HTTPRoute of `line`: the share of the requests that each version gets, by name, and their mark."""
    namespace, _, gateway = settings.gateway.partition("/")
    rule = {"backendRefs": [_backend(name, share) for name, share in shares.items()]}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "HTTPRoute",
        "metadata": {"name": line, "labels": {LINE: line, **MANAGED}},
        "spec": {
            "parentRefs": [{"name": gateway, "namespace": namespace}],
            "hostnames": [host_name(line, settings)],
            "rules": [rule | {"filters": _marked((), mark)}],
        },
    }


def _backend(name: str, share: int) -> dict[str, Any]:
    return {"name": f"{name}-predictor", "port": 80, "weight": share}


def parts(settings: Settings) -> list[float]:
    """How often a new version has to have answered by the end of each step.

    Of all that it needs, by the steps' shares: so each step takes as long as the others, however many users there are.
    """
    shares = list(accumulate(settings.canary_steps))
    return [settings.canary_answers * share / shares[-1] for share in shares]


def _marked(there: Iterable[dict[str, Any]], mark: str) -> list[dict[str, Any]]:
    """The filters of a rule with our header set, or without it; a rule has one modifier of headers at most."""
    others = [each for each in there if each["type"] != MODIFIER]
    given = next((each[FIELD] for each in there if each["type"] == MODIFIER), dict[str, Any]())
    headers: list[Any] = [each for each in given.get("set", ()) if each["name"].lower() != HEADER]
    headers += [{"name": HEADER, "value": mark}] if mark else []
    modifier = {key: value for key, value in {**given, "set": headers}.items() if value}
    return [*others, {"type": MODIFIER, FIELD: modifier}] if modifier else others
