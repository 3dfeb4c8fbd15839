"""Does a new version serve its first users as well as the champion? Tested on the answers of both, over all steps.

The burden of proof is the new version's: it goes through when it is *shown* to be no worse than the champion by more
than a margin, and is rolled back when it is shown to be worse, or when time is over with neither. Both are tests of
non-inferiority by Fisher's exact test: `most` of the champion's answers count as errors too, and the question is how
likely so many, or so few, of all errors would be the new version's by chance. Each step of the shares is a stratum of
its own (Birch 1964, JRSS B 26:313): the new version has most of its answers from the last step, the champion from the
first, so an hour in which everybody errs more would otherwise be held against it.

Who looks all the time finds something sooner or later. So there are few looks, each when the new version's answers
have doubled, and their error probabilities add up (group-sequential, Bonferroni; Jennison and Turnbull 2000, Group
Sequential Methods with Applications to Clinical Trials, chapter 2).

Counted are answers to requests that came through the gateway in this very step
(`selftaught.serving.middleware.counting`). An answer that is not 2xx is an error, whoever made the mistake: a gateway
draws the requests of both versions from the same users, so what users do wrong weighs on both alike. Not seen: a stream
that breaks off after its first byte, slowness that users wait for, wrong answers.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import httpx
import numpy as np
import scipy
import stamina
from numpy.typing import NDArray

from selftaught.cluster.client import Cluster, api_errors
from selftaught.core.errors import RoundFailed
from selftaught.serving.middleware.counting import METRIC, label
from selftaught.serving.routes.service import ENGINE_PORT, SELECTOR

CHANCE = 0.001
"""How often a look takes back a version that is just good enough."""
DOUBT = 0.01
"""How often a look lets a version through that is just not good enough."""
FIRST = 3
"""Answers below which there is nothing to look at."""


# The rule -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answers:
    """How many requests were answered, and how many of them with an error."""

    given: int = 0
    errors: int = 0

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.given + other.given, self.errors + other.errors)

    def __str__(self) -> str:
        return f"{self.given} requests, {self.errors} of them with an error ({self.rate:.1%})"

    @property
    def rate(self) -> float:
        """The share of errors; none where nothing was answered."""
        return self.errors / self.given if self.given else 0.0


class Both(NamedTuple):
    """What both versions answered in one step."""

    new: Answers
    champion: Answers


def failing(steps: Iterable[Both], most: float) -> bool:
    """Whether the new version's error rate is above the champion's by more than `most`, and that by no chance.

    Less than `CHANCE` in one look. In one step, with `most` 5 % beside a champion without errors, that is 4 of 5
    answers to its 95, 9 of 25 to its 75, 16 of 50 to its 50. Of no answers nothing is enough.
    """
    return _chances(steps, lambda champion: math.ceil(most * champion.given))[1] < CHANCE


def shown(steps: Iterable[Both], most: float) -> bool:
    """Whether the new version's error rate is above the champion's by less than `most`, and that by no chance.

    Less than `DOUBT` in one look, and a little less than that: the part of the champion's answers that is counted as
    errors does not vary, as errors do (while fewer than half of all requests fail).
    """
    return _chances(steps, lambda champion: math.floor(most * champion.given))[0] < DOUBT


def _chances(steps: Iterable[Both], added: Callable[[Answers], int]) -> tuple[float, float]:
    """The chances of as few, and of as many, of all errors being the new version's as there are, were both as good.

    `added` says how many of the champion's right answers are counted as errors.
    """
    steps = [step for step in steps if step.new.given + step.champion.given]  # of no answers the chance is not a number
    dealt = reduce(np.convolve, (_dealt(step, added(step.champion)) for step in steps), np.ones(1))
    errors = sum(step.new.errors for step in steps)
    return float(dealt[: errors + 1].sum()), float(dealt[errors:].sum())


def _dealt(step: Both, added: int) -> NDArray[np.float64]:
    """The chance of each number of errors being the new version's, if all of a step's were dealt out at random."""
    errors = step.new.errors + min(step.champion.given, step.champion.errors + added)
    answers = step.new.given + step.champion.given
    most = min(errors, step.new.given)
    return np.asarray(scipy.stats.hypergeom.pmf(np.arange(most + 1), answers, errors, step.new.given))


# Pods -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pod:
    """How often a pod's containers were restarted, what it answered in a step, and whether it is ready and answers."""

    restarts: int
    answers: Answers
    ready: bool = True


class Pair(NamedTuple):
    """The pods of both versions at one moment, by name."""

    new: Mapping[str, Pod]
    champion: Mapping[str, Pod]


class Step:
    """What both versions answered in a step that began with the pods `before`.

    Pods may come and go, as an autoscaler has it, and what those that went had answered counts all the same; but one
    that the new version had when the step began, and has still, has to be as it was.
    """

    def __init__(self, before: Pair) -> None:
        self._before = _ready_of(before.new)
        self._counted: tuple[_Counts, _Counts] = ({}, {})
        self.loss = "" if self._before else NONE_READY
        """What is wrong with the new version's pods; empty when nothing is."""

    @property
    def both(self) -> Both:
        """The answers up to the last look."""
        return Both(*(sum(counts.values(), Answers()) for counts in self._counted))

    def see(self, now: Pair) -> None:
        """Count what the pods have answered by now."""
        for counts, pods in zip(self._counted, now, strict=True):
            counts.update({(name, pod.restarts): pod.answers for name, pod in _ready_of(pods).items()})
        broken = sorted(name for name, pod in self._before.items() if name in now.new and _broke(pod, now.new[name]))
        if broken:
            self.loss = f"pod {broken[0]} is not ready or was restarted"
        elif not _ready_of(now.new):
            self.loss = NONE_READY


_Counts = dict[tuple[str, int], Answers]
"""By pod and how often it was restarted: its counts then begin again."""


NONE_READY = "none of its pods is ready and answers"


def _ready_of(pods: Mapping[str, Pod]) -> dict[str, Pod]:
    return {name: pod for name, pod in pods.items() if pod.ready}


def _broke(before: Pod, now: Pod) -> bool:
    return not now.ready or now.restarts != before.restarts


def pods(cluster: Cluster, version: str, mark: str) -> dict[str, Pod]:
    """The version's pods that are not on their way out, by name, with their answers to requests that carry `mark`.

    Raises RoundFailed where one does not count these.
    """
    with api_errors(f"pods of {version}"):
        listed = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=f"{SELECTOR}={version}")
    return {
        pod.metadata.name: _asked(cluster, pod, mark) for pod in listed.items if not pod.metadata.deletion_timestamp
    }


def _ready(pod: Any) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


def _asked(cluster: Cluster, pod: Any, mark: str) -> Pod:
    restarts = sum(each.restart_count for each in pod.status.container_statuses or ())
    if not _ready(pod):
        return Pod(restarts, Answers(), ready=False)
    try:
        metrics = _metrics(f"{cluster.pod_url(pod, ENGINE_PORT)}/metrics")
    except httpx.HTTPError:
        return Pod(restarts, Answers(), ready=False)
    answers = answered(metrics, mark)
    if answers is None:
        raise RoundFailed(
            f"pod {pod.metadata.name}: its engine does not count what comes through a gateway ({METRIC} is not in its "
            "/metrics), so no version can be tried next to it. An older runtime started it: serve its version again "
            "(docs/operations.md, Upgrade)."
        )
    return Pod(restarts, answers)


@stamina.retry(on=httpx.TransportError, attempts=3, timeout=30)
def _metrics(url: str) -> str:
    return httpx.get(url, timeout=10, trust_env=False).raise_for_status().text


def answered(metrics: str, mark: str) -> Answers | None:
    """What an engine has answered to requests that carry `mark`, by the text of its /metrics; None: it counts none."""
    from prometheus_client.parser import text_string_to_metric_families

    counted = [family for family in text_string_to_metric_families(metrics) if f"{family.name}_total" == METRIC]
    if not counted:
        return None
    samples = [each for each in counted[0].samples if each.name == METRIC and each.labels["step"] == label(mark)]
    wrong = [each for each in samples if each.labels["status"] != "2xx"]
    return Answers(int(sum(each.value for each in samples)), int(sum(each.value for each in wrong)))


# The looks -----------------------------------------------------------------------------------------------------------


class Trial:
    """A version on its way through the steps: what was answered so far, and what the looks at it have found.

    It is `sound` when it was `shown` at a look with `least` answers or more.
    """

    def __init__(self, most: float, least: int) -> None:
        self._most, self._least = most, least
        self._next = least / 2 ** max(0, math.floor(math.log2(least / FIRST)))
        self._steps: list[Step] = []
        self._failing = self.sound = False

    @property
    def answers(self) -> Both:
        """What both versions answered in all steps."""
        return Both(*(sum(each, Answers()) for each in zip(*(step.both for step in self._steps), strict=True)))

    @property
    def short(self) -> bool:
        """Whether the new version has given fewer answers than it takes to tell."""
        return self.answers.new.given < self._least

    @property
    def harm(self) -> str:
        """Why the new version has to go; empty when it has not."""
        return self._steps[-1].loss or (f"more than {self._most:.1%} more errors" if self._failing else "")

    def begin(self, pods: "Pair") -> None:
        """Another step begins, with these pods."""
        self._steps.append(Step(pods))

    def see(self, pods: "Pair", late: bool) -> None:
        """Count what the pods have answered, and look when that has doubled since the last time, or time is over."""
        self._steps[-1].see(pods)
        if late or self.answers.new.given >= self._next:
            self._look()

    def _look(self) -> None:
        steps = [step.both for step in self._steps]
        self._failing = self._failing or failing(steps, self._most)
        self.sound = self.sound or (not self.short and shown(steps, self._most))
        while self._next <= self.answers.new.given:
            self._next *= 2
