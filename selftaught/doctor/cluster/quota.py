"""Checks whether ResourceQuotas suffice for a round: one task in the tasks' namespace, its engines in theirs.

What a round asks for at once is held against what a quota allows at most (`hard`), not against what is free now, which
changes. Checked are CPUs, memory, GPUs and Pods; a quota with a scope is not, nor is KFP's own overhead of a driver.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from selftaught.doctor.cluster import kserve, kubeflow
from selftaught.doctor.cluster.api import Api
from selftaught.doctor.cluster.round_needs import amount, round_of_tasks
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings

ALIASES = {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}
Need = Mapping[str, Decimal]


def quota(api: Api, settings: Settings) -> Finding:
    """Every quota of the namespaces of engines and tasks against what a round asks for there."""
    needs = _needs(api, settings)
    there = [(space, each) for space in needs for each in _unscoped(api, space)]
    short = [said for space, each in there for said in _short(space, each, needs[space])]
    if short:
        return Finding("quota", False, "; ".join(short), "raise it (`quota` in the chart's values)")
    spaces = " and ".join(needs)
    said = ", ".join(f"{each['metadata']['name']} in {space}" for space, each in there)
    return Finding("quota", True, f"{said}: a round fits" if there else f"none in {spaces}")


def _needs(api: Api, settings: Settings) -> dict[str, Need]:
    """What a round asks for at once, by namespace."""
    engines = {settings.namespace: _engines(api, settings)} if settings.serving == "kserve" else {}
    task = (
        {kubeflow.tasks_namespace(settings): {**round_of_tasks().largest, "pods": Decimal(1)}} if settings.kfp else {}
    )
    return {space: _sum(engines.get(space, {}), task.get(space, {})) for space in {**engines, **task}}


def _sum(some: Need, more: Need) -> Need:
    return {key: some.get(key, Decimal(0)) + more.get(key, Decimal(0)) for key in {*some, *more}}


def _engines(api: Api, settings: Settings) -> dict[str, Decimal]:
    """Champion and challenger side by side, or one of them where there is room for one; nothing without a runtime."""
    runtime = kserve.runtime_of(api, settings)
    count = settings.replicas * (1 if settings.one_engine else 2)
    needed = {"pods": Decimal(count)}
    for container in runtime["spec"]["containers"] if runtime else ():
        asked = container.get("resources", {})
        each = {f"{kind}.{key}": amount(asked[kind][key]) * count for kind in asked for key in asked[kind]}
        needed = {**_sum(needed, each)}
    return needed


def _unscoped(api: Api, space: str) -> list[Any]:
    listed = api.read(f"/api/v1/namespaces/{space}/resourcequotas")["items"]
    return [each for each in listed if not {"scopes", "scopeSelector"} & set(each["spec"])]


def _short(space: str, quota: Any, need: Need) -> Iterator[str]:
    name = quota["metadata"]["name"]
    hard: Mapping[str, str] = quota["spec"].get("hard", {})
    for key, most in hard.items():
        wanted = need.get(ALIASES.get(key, key), Decimal(0))
        if wanted > amount(most):
            yield f"{name} in {space} allows {key} {most}, a round takes {_words(key, wanted)}"


def _words(key: str, wanted: Decimal) -> str:
    return f"{wanted / 2**30:.3g}Gi" if key.endswith("memory") else f"{wanted.normalize():f}"
