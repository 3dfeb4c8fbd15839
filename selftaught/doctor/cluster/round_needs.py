"""What the tasks of a round ask of the namespace in which they run, read from the compiled pipeline that is shipped.

Placements of another machine (`selftaught compile --placement`) ask for something else: those are not checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, cast

import yaml

from selftaught.core import shipped

PIPELINE = "one-shard-round.yaml"
_FIELDS = {
    "requests.cpu": "resourceCpuRequest",
    "requests.memory": "resourceMemoryRequest",
    "limits.cpu": "resourceCpuLimit",
    "limits.memory": "resourceMemoryLimit",
}


@dataclass(frozen=True, slots=True)
class RoundOfTasks:
    """The kinds and names of what Pods do not start without, and the most that one task asks for, by a quota's keys."""

    starts_with: tuple[tuple[str, str], ...]
    largest: Mapping[str, Decimal]


@cache
def round_of_tasks() -> RoundOfTasks:
    """The needs of a round of one shard, the least that a round can do with: its tasks run one after the other."""
    text = (shipped.pipelines() / PIPELINE).read_text(encoding="utf-8")
    pipeline, platform = yaml.safe_load_all(text)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    asked = [each["container"]["resources"] for each in pipeline["deploymentSpec"]["executors"].values()]
    return RoundOfTasks(tuple(sorted({one for pod in pods for one in _required(pod)})), _largest(asked))


def _required(pod: Mapping[str, Any]) -> set[tuple[str, str]]:
    maps = {("configmaps", each["configMapName"]) for each in pod.get("configMapAsEnv", ()) if not each.get("optional")}
    secrets = (*pod.get("secretAsEnv", ()), *pod.get("secretAsVolume", ()))
    return maps | {("secrets", each["secretName"]) for each in secrets if not each.get("optional")}


def _largest(asked: list[Mapping[str, str]]) -> dict[str, Decimal]:
    return {key: max(amount(each[field]) for each in asked) for key, field in _FIELDS.items()}


def amount(quantity: str) -> Decimal:
    """A Kubernetes quantity (`250m`, `4Gi`) in cores, bytes or pieces."""
    from kubernetes.utils import quantity as quantities

    return cast(Any, quantities).parse_quantity(quantity)
