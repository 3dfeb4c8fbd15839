"""Does a new version fail its first users? Its answers beside the champion's in the same time, and its pods.

Counted are the answers to POST requests, by status, as every pod's /metrics has them (`http_requests_total`, which vLLM
keeps through prometheus-fastapi-instrumentator). An answer that is not 2xx is an error, whoever made the mistake: a
gateway draws the requests of both versions from the same users, so what users do wrong weighs on both alike. Not seen:
a stream that breaks off after its first byte (its status was 200), slowness, wrong answers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import scipy
import stamina

from selftaught.serving.cluster import Cluster, told
from selftaught.serving.routes.service import ENGINE_PORT, SELECTOR

CHANCE = 0.001
"""How often a version that is just good enough may be taken back by chance, looked at once."""
METRIC = "http_requests_total"


@dataclass(frozen=True, slots=True)
class Answers:
    """How many requests were answered, and how many of them with an error."""

    given: int = 0
    errors: int = 0

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.given + other.given, self.errors + other.errors)

    def __sub__(self, other: "Answers") -> "Answers":
        return Answers(self.given - other.given, self.errors - other.errors)

    def __str__(self) -> str:
        return f"{self.given} requests, {self.errors} of them with an error ({self.rate:.1%})"

    @property
    def rate(self) -> float:
        """The share of errors; none where nothing was answered."""
        return self.errors / self.given if self.given else 0.0


def failing(new: Answers, champion: Answers, most: float) -> bool:
    """Whether the new version's error rate is above the champion's by more than `most`, and that by no chance.

    Fisher's exact test, one-sided, of both versions' errors, with `most` of the champion's answers counted as errors
    too, gives less than `CHANCE`: neither rate is known, and early in a step both rest on few answers. With `most` 5 %
    beside a champion without errors that is 4 of 5 answers to its 95, 9 of 25 to its 75, 16 of 50 to its 50. Of no
    answers nothing is enough: a line that nobody asks is promoted all the same.
    """
    counted = min(champion.given, champion.errors + math.ceil(most * champion.given))
    both = (new.given + champion.given, new.errors + counted)
    return float(scipy.stats.hypergeom.sf(new.errors - 1, *both, new.given)) < CHANCE


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that is ready and answers: how often its containers were restarted, and its answers since it started."""

    restarts: int
    answers: Answers


class Pair(NamedTuple):
    """The pods of both versions at one moment, by name."""

    champion: Mapping[str, Pod]
    new: Mapping[str, Pod]


@dataclass(frozen=True, slots=True)
class Finding:
    """What both versions answered from one moment to another, and why the new one has to go, if it has to."""

    champion: Answers
    new: Answers
    harm: str


def compare(before: Pair, now: Pair, most: float) -> Finding:
    """What happened between two moments; only pods that were there at both are counted.

    The new version has to go when it is `failing`, or when one of its pods did not stay: pods may come meanwhile, as an
    autoscaler adds them.
    """
    champion, new = (_since(*pods) for pods in zip(before, now, strict=True))
    gone = sorted(before.new.keys() - _stayed(before.new, now.new))
    if gone:
        return Finding(champion, new, f"pod {gone[0]} is gone, not ready or restarted")
    if not before.new:
        return Finding(champion, new, "none of its pods is ready and answers")
    return Finding(champion, new, f"more than {most:.1%} more errors" if failing(new, champion, most) else "")


def _since(before: Mapping[str, Pod], now: Mapping[str, Pod]) -> Answers:
    return sum((now[name].answers - before[name].answers for name in _stayed(before, now)), Answers())


def _stayed(before: Mapping[str, Pod], now: Mapping[str, Pod]) -> set[str]:
    return {name for name in before.keys() & now.keys() if before[name].restarts == now[name].restarts}


def pods(cluster: Cluster, version: str) -> dict[str, Pod]:
    """The version's pods that are ready and answer, by name."""
    with told(f"pods of {version}"):
        listed = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"{SELECTOR}={version}")
    asked = {pod.metadata.name: _asked(cluster, pod) for pod in listed.items if _ready(pod)}
    return {name: pod for name, pod in asked.items() if pod is not None}


def _ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


def _asked(cluster: Cluster, pod: Any) -> Pod | None:
    try:
        told_of = answered(_metrics(f"{cluster.pod_url(pod, ENGINE_PORT)}/metrics"))
    except httpx.HTTPError:
        return None
    return Pod(sum(each.restart_count for each in pod.status.container_statuses), told_of)


@stamina.retry(on=httpx.TransportError, attempts=3, timeout=30)
def _metrics(url: str) -> str:
    return httpx.get(url, timeout=10, trust_env=False).raise_for_status().text


def answered(metrics: str) -> Answers:
    """What an engine has answered since it started, by the text of its /metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    samples = [sample for family in text_string_to_metric_families(metrics) for sample in family.samples]
    posted = [each for each in samples if each.name == METRIC and each.labels["method"] == "POST"]
    wrong = [each for each in posted if each.labels["status"] != "2xx"]
    return Answers(int(sum(each.value for each in posted)), int(sum(each.value for each in wrong)))
