"""Drift detection for a namespace: a quick check before MLflow's and Kubernetes' clients are imported.

What runs every hour in every namespace finds nothing to do but for once in a while, and those imports are most of what
that costs. So the registry and the API server are asked over plain HTTP, what they say is compared, and nothing is
changed, waited for or raised: what is not as it has to be, cannot be asked, or has its truth in a repository
(route `git`) is `selftaught.round.in_use`'s to put in order and to tell.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from selftaught.cluster.naming import DIGEST, LINE, version_name
from selftaught.core.errors import SelftaughtError
from selftaught.platform import Platform
from selftaught.serving.middleware.counting import HEADER
from selftaught.serving.routes.service import SELECTOR
from selftaught.settings import Settings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its account's token and the API server's authority."""
SECONDS = 30
_PAGE = 1000

Objects = Mapping[str, Any]
"""Objects of one kind by name."""


@dataclass(frozen=True, slots=True)
class Champion:
    """Who a line's alias names, and where its files are."""

    line: str
    digest: str
    uri: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a namespace leads users to versions and serves them."""

    services: Objects
    versions: Objects
    deployments: Objects
    routes: Objects
    """The HTTPRoutes of lines, where a gateway leads users."""


def settled(platform: Platform) -> list[str] | None:
    """The lines of this store when all are as they have to be; None when to tell, or to have them so, takes more."""
    settings = platform.settings
    inside = ACCOUNT.exists() and "KUBERNETES_SERVICE_HOST" in os.environ
    if (
        settings.serving != "kserve"
        or settings.route == "git"
        or not settings.tracking_uri.startswith("http")
        or not inside
    ):
        return None
    try:
        lines = aliases(settings.tracking_uri)
        champions = [champion_of(settings.tracking_uri, line, found) for line, found in lines.items() if found]
        ours = [each for each in champions if each.uri == platform.store.uri("models", each.digest)]
        seen = look(settings, [each.line for each in ours])
    except (httpx.HTTPError, OSError, KeyError, ValueError, SelftaughtError):
        return None
    return [each.line for each in ours] if all(in_order(each, seen, settings) for each in ours) else None


# The registry ---------------------------------------------------------------------------------------------------------


def aliases(uri: str) -> dict[str, str]:
    """Every line with the version that is its champion; empty where none is. Raises httpx.HTTPError."""
    found: dict[str, str] = {}
    with _registry(uri) as registry:
        token: str | None = None
        while token is None or token:
            asked = {"max_results": _PAGE, **({"page_token": token} if token else {})}
            page = registry.get("/registered-models/search", params=asked).raise_for_status().json()
            for model in page.get("registered_models", ()):
                pointers = {each["alias"]: str(each["version"]) for each in model.get("aliases", ())}
                found[model["name"]] = pointers.get("champion", "")
            token = page.get("next_page_token", "")
    return found


def champion_of(uri: str, line: str, version: str) -> Champion:
    """The version of `line`, as the registry has it. Raises httpx.HTTPError."""
    with _registry(uri) as registry:
        answer = registry.get("/model-versions/get", params={"name": line, "version": version}).raise_for_status()
    found = answer.json()["model_version"]
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", ())}
    return Champion(line, tags["selftaught.digest"], found["source"])


def _registry(uri: str) -> httpx.Client:
    """MLflow's REST API, as the account and in the workspace that MLflow's own client would use."""
    getenv = os.environ.get
    user, password = getenv("MLFLOW_TRACKING_USERNAME"), getenv("MLFLOW_TRACKING_PASSWORD")
    workspace = getenv("MLFLOW_WORKSPACE")
    return httpx.Client(
        base_url=f"{uri.rstrip('/')}/api/2.0/mlflow",
        auth=(user, password) if user and password else None,
        headers={"X-MLFLOW-WORKSPACE": workspace} if workspace else None,
        timeout=SECONDS,
    )


# The namespace --------------------------------------------------------------------------------------------------------


def look(settings: Settings, lines: list[str]) -> Seen:
    """What there is in the namespace. Raises httpx.HTTPError, and OSError without an account of a pod."""
    space = f"namespaces/{settings.namespace}"
    with _cluster() as api:
        return Seen(
            services=_listed(api, f"/api/v1/{space}/services", LINE),
            versions=_listed(api, f"/apis/serving.kserve.io/v1beta1/{space}/inferenceservices", LINE),
            deployments=_listed(api, f"/apis/apps/v1/{space}/deployments", ""),
            routes=dict(_routes(api, space, lines) if settings.route == "gateway" else ()),
        )


def _cluster() -> httpx.Client:
    token = (ACCOUNT / "token").read_text(encoding="utf-8").strip()
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    return httpx.Client(
        base_url=f"https://{f'[{host}]' if ':' in host else host}:{os.environ['KUBERNETES_SERVICE_PORT']}",
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=ACCOUNT / "ca.crt"),
        timeout=SECONDS,
        trust_env=False,
    )


def _listed(api: httpx.Client, path: str, label: str) -> Objects:
    listed = api.get(path, params={"labelSelector": label}).raise_for_status().json()
    return {item["metadata"]["name"]: item for item in listed["items"]}


def _routes(api: httpx.Client, space: str, lines: list[str]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        yield line, api.get(f"/apis/gateway.networking.k8s.io/v1/{space}/httproutes/{line}").raise_for_status().json()


def in_order(champion: Champion, seen: Seen, settings: Settings) -> bool:
    """Whether the champion is up, users are led to it and to nothing else, and nothing else is to be removed."""
    name = version_name(champion.line, champion.digest)
    service, version = seen.services.get(champion.line), seen.versions.get(name)
    if service is None or version is None or service["spec"]["selector"].get(SELECTOR) != name:
        return False
    if settings.route == "gateway" and not _leads_alone(seen.routes[champion.line], f"{name}-predictor"):
        return False
    return _up(version, champion.digest, seen.deployments.get(f"{name}-predictor")) and not any(
        _old(each, settings.grace) for each in seen.versions.values() if _beside(each, champion)
    )


def _leads_alone(route: Any, name: str) -> bool:
    backends = [(each["name"], each["weight"]) for rule in route["spec"]["rules"] for each in rule["backendRefs"]]
    return set(backends) == {(name, 100)} and HEADER not in str(route["spec"]["rules"])


def _up(version: Any, digest: str, deployment: Any) -> bool:
    """Whether the version is the digest's, and all its servers are the newest and available."""
    meta = version["metadata"]
    if deployment is None or "deletionTimestamp" in meta or meta.get("annotations", {}).get(DIGEST) != digest:
        return False
    status, replicas = deployment.get("status", {}), version["spec"]["predictor"].get("minReplicas", 1)
    newest = status.get("observedGeneration") == deployment["metadata"]["generation"]
    newest = newest and status.get("updatedReplicas") == status.get("replicas")
    return bool(newest and status.get("availableReplicas", 0) >= replicas)


def _beside(version: Any, champion: Champion) -> bool:
    meta = version["metadata"]
    return meta["labels"][LINE] == champion.line and meta.get("annotations", {}).get(DIGEST) != champion.digest


def _old(version: Any, grace: float) -> bool:
    """Whether the version was made so long ago that its grace may be over."""
    made = datetime.fromisoformat(version["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    return (datetime.now(UTC) - made).total_seconds() > grace
