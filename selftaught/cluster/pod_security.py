"""KServe's storage initializer under the Pod Security level `restricted`: what it lacks, and the fix.

Every container of a Pod is judged, the one that KServe puts into it too, which its own manifests have shipped without
a security context (kserve/kserve#5855). Nothing is asked of a cluster here.
"""

from collections.abc import Mapping
from typing import Any

INITIALIZER = "storage-initializer"
"""What KServe calls the container that fetches the weights."""
CONTEXT = (
    '{"runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, '
    '"seccompProfile": {"type": "RuntimeDefault"}}'
)


def lacking(context: Mapping[str, Any]) -> list[str]:
    """What `restricted` asks of a container's security context that this one does not say."""
    capabilities: Mapping[str, Any] = context.get("capabilities") or {}
    profile: Mapping[str, Any] = context.get("seccompProfile") or {}
    kept = {
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "capabilities.drop": "ALL" in (capabilities.get("drop") or ()),
        "seccompProfile": profile.get("type") in ("RuntimeDefault", "Localhost"),
    }
    return [field for field, there in kept.items() if not there]


def command(name: str) -> str:
    """What gives the ClusterStorageContainer `name` the security context."""
    patch = f'{{"spec": {{"container": {{"securityContext": {CONTEXT}}}}}}}'
    return f"kubectl patch clusterstoragecontainer {name} --type merge -p '{patch}'"


def fix(refusal: str) -> str:
    """What to do about a Pod that is refused with these words, as a sentence after them; empty for other refusals."""
    if "violates PodSecurity" not in refusal:
        return ""
    if f'"{INITIALIZER}"' in refusal:
        return f". Give KServe's storage initializer a security context (docs/cluster-install.md): {command('default')}"
    return ". Give the containers that it names a security context in their ServingRuntime, as the chart's have."
