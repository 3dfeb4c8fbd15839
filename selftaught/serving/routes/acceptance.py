"""The status of an HTTPRoute: whether the gateway has accepted its current version.

Every gateway has to say so in the HTTPRoute's status, for the parent that it is and the generation that it has seen
(Gateway API, RouteParentStatus; `observedGeneration` is held by a core conformance test). What it said of an older
generation is not an answer: those were other shares. That it has said it does not show that requests come by it
already, which is for `selftaught.serving.probe` to see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONDITIONS = ("Accepted", "ResolvedRefs")
"""It takes the route; it knows the Services that requests are to go to, for else it answers their share with 500."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a gateway does not lead by a route: in its own words, or because it has not `said` anything of it yet."""

    words: str
    said: bool = True


def refusal(route: Mapping[str, Any], gateway: str) -> Refusal | None:
    """Why `gateway` (namespace/name) does not lead by `route` as it stands; None when it says that it does."""
    answers = [
        _refusal({each["type"]: each for each in parent.get("conditions", ())}, route["metadata"]["generation"])
        for parent in route.get("status", {}).get("parents", ())
        if _name(parent["parentRef"], route["metadata"].get("namespace", "")) == gateway
    ]
    return None if None in answers else next(iter(answers), Refusal("it has said nothing of it", said=False))


def _name(parent: Mapping[str, str], namespace: str) -> str:
    return f"{parent.get('namespace', namespace)}/{parent['name']}"


def _refusal(conditions: Mapping[str, Mapping[str, Any]], generation: int) -> Refusal | None:
    for kind in CONDITIONS:
        condition = conditions.get(kind, {})
        if condition.get("observedGeneration", 0) < generation:
            return Refusal(f"it has not said {kind} of it yet", said=False)
        if condition["status"] != "True":
            return Refusal(f"not {kind}: {condition['reason']}: {condition['message']}")
    return None
