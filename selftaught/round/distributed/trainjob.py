"""One objective's training on several nodes: a TrainJob of Kubeflow Trainer that the train step makes and waits for.

The nodes' pods have no disk in common, so everything goes through the store: they get a `TrainJobRequest` by digests,
and the first of them answers with the digest of a model (`selftaught.round.distributed.node`). A TrainJob is named
after its request's digest: a step that is run again waits for the one that is there, or takes its answer. What a pod
is (image, resources) is set by the TrainingRuntime of the chart.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from selftaught.blocks import Objective, ProgressSink, TrainResult
from selftaught.blocks.packages import packages
from selftaught.cluster.client import Cluster, api_errors, found, won
from selftaught.core.crashes import cause, last_lines
from selftaught.core.errors import BadInput, Unavailable
from selftaught.recipe import OnAxis
from selftaught.records import dataset
from selftaught.round.distributed.request import OfflineRequest, decode_error
from selftaught.round.mlflow_model import put_model
from selftaught.state.ledger import TrainingEntry
from selftaught.state.store import Store
from selftaught.state.weights import model_digest, proven

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = "selftaught-training"
"""The chart's TrainingRuntime."""
JOBSET = "jobset.sigs.k8s.io/jobset-name"
"""The label of a TrainJob's pods."""


class TrainJobRequest(BaseModel):
    """The input of the nodes."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    objective: Annotated[Objective, OnAxis("train")]
    model: str
    examples: str
    seed: int
    step: str
    template: Mapping[str, JsonValue] = {}
    reference: Annotated[str, Field(exclude_if=lambda digest: not digest)] = ""
    packages: Annotated[Mapping[str, str], Field(exclude_if=lambda packages: not packages)] = {}
    """The version of the package that brought the objective, so that another one is another training."""

    @property
    def name(self) -> str:
        """What the TrainJob is called."""
        return f"train-{hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:24]}"

    def work(self, store: Store, home: Path) -> OfflineRequest:
        """The order as work on this machine, its model and its examples fetched."""
        scratch = home / "scratch" / self.name
        return OfflineRequest(
            objective=self.objective,
            model=_model(store, self.model, home),
            reference=_model(store, self.reference, home) if self.reference else None,
            examples=dataset.proven(store.local("datasets", self.examples, home / "cache"), self.examples),
            out=scratch / "model",
            scratch=scratch / "steps",
            seed=self.seed,
            step=self.step,
            template=self.template,
        )


def _model(store: Store, digest: str, home: Path) -> Path:
    return proven(store.local("models", digest, home / "cache"), digest)


class Answer(BaseModel):
    """What the nodes answer: how the training went, and the digest of the model that it made."""

    model_config = ConfigDict(frozen=True)

    digest: str
    result: TrainResult


def claim(name: str, what: str) -> str:
    """Where the store keeps a TrainJob's `order`, `answer` or `failure`."""
    return TrainingEntry(name, what).key


@dataclass(frozen=True, slots=True)
class TrainJobs:
    """Trains on `nodes` nodes in `processes` processes each; they may take `ready_within` seconds to start."""

    cluster: Cluster
    store: Store
    nodes: int
    processes: int
    ready_within: float

    def run(self, work: OfflineRequest, pause: float = 5.0) -> TrainResult:
        """Have `work` done by a TrainJob; `work.out` then holds its model.

        Raises as the objective does, BadInput with the cluster's words when the pods cannot start or have failed,
        Unavailable when they have not started in time.
        """
        order = self._ordered(work)
        self._clear(order.name)
        work.scratch.mkdir(parents=True, exist_ok=True)
        begin, report = time.monotonic(), work.report
        while (answer := self._answer(order.name)) is None:
            self._watch(order.name, time.monotonic() - begin)
            self._report_progress(order, report)
            time.sleep(pause)
        self._delete(order.name)
        self.store.get("models", answer.digest, work.out)
        proven(work.out, answer.digest)
        return answer.result

    def _ordered(self, work: OfflineRequest) -> TrainJobRequest:
        """The order for `work`, put where the nodes find it and what it names."""
        order = TrainJobRequest(
            objective=work.objective,
            model=model_digest(work.model),
            examples=dataset.manifest(work.examples).digest,
            seed=work.seed,
            step=work.step,
            template=work.template,
            reference=model_digest(work.reference) if work.reference else "",
            packages=packages(work.objective),
        )
        put_model(self.store, order.model, work.model)
        if work.reference:
            put_model(self.store, order.reference, work.reference)
        self.store.put("datasets", order.examples, work.examples)
        self.store.claim(claim(order.name, "order"), order.model_dump_json().encode())
        return order

    def _clear(self, name: str) -> None:
        """Forget a TrainJob that failed, or could not start, when the step was run before."""
        job = self._read(name)
        if job is not None and (_condition(job, "Failed") or self.cluster.pods(f"{JOBSET}={name}").failure):
            self._delete(name)
        self.store.release(claim(name, "failure"))

    def _answer(self, name: str) -> Answer | None:
        """What the nodes answered, unless its model was removed from the store since."""
        if (claimed := self.store.claimed(claim(name, "answer"))) is None:
            return None
        answer = Answer.model_validate_json(claimed)
        if self.store.has("models", answer.digest):
            return answer
        self.store.release(claim(name, "answer"))
        return None

    def _watch(self, name: str, waited: float) -> None:
        """Make the TrainJob where there is none; raise when it cannot end well."""
        job = self._read(name)
        if job is None:
            self._create(name)
        elif failed := _condition(job, "Failed"):
            raise self._failure(name, failed)
        elif _condition(job, "Complete") and self._answer(name) is None:
            raise Unavailable(f"trainjob {name}: complete, but its nodes put no answer into {self.store.root}.")
        pods = self.cluster.pods(f"{JOBSET}={name}")
        if pods.failure:
            raise BadInput(f"trainjob {name}: cannot start. {pods.failure}")
        if not pods.done and waited > self.ready_within:
            raise Unavailable(f"trainjob {name}: not started after {self.ready_within:.0f} s ({pods.state}).")

    def _failure(self, name: str, condition: str) -> Exception:
        """What the first process raised, or else the pods' last words."""
        if raised := self.store.claimed(claim(name, "failure")):
            return decode_error(raised.decode())
        logs = self.cluster.logs(f"{JOBSET}={name}", "Failed").items()
        ends = "; ".join(f"pod {pod}: {cause(log) or last_lines(log)}" for pod, log in logs)
        return BadInput(f"trainjob {name}: {ends or condition}. Run the step again: the TrainJob is recreated.")

    def _report_progress(self, order: TrainJobRequest, report: ProgressSink) -> None:
        """Pass on the last step that the first node's log tells of, with its figures."""
        first = f"{JOBSET}={order.name},batch.kubernetes.io/job-completion-index=0"
        for log in self.cluster.logs(first, "Running").values():
            if steps := re.findall(rf"^{order.step}: (\d+)/(\d+) steps((?: \w+=\S+)*)$", log, re.MULTILINE):
                done, total, values = steps[-1]
                report(int(done), int(total), **_figures(values))

    # The Kubernetes API ---------------------------------------------------------------------------------------------

    def manifest(self, name: str) -> dict[str, Any]:
        """The TrainJob: what it does is in its order, and what its pods are in the runtime."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TrainJob",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "selftaught"}},
            "spec": {
                "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
                "trainer": {"numNodes": self.nodes, "numProcPerNode": self.processes, "args": [name]},
            },
        }

    def _read(self, name: str) -> Any:
        resource = (GROUP, VERSION, self.cluster.namespace, PLURAL)
        with api_errors(f"trainjob {name}"):
            return found(lambda: self.cluster.custom.get_namespaced_custom_object(*resource, name))

    def _create(self, name: str) -> None:
        resource = (GROUP, VERSION, self.cluster.namespace, PLURAL)
        with api_errors(f"trainjob {name}"):
            won(lambda: self.cluster.custom.create_namespaced_custom_object(*resource, self.manifest(name)))

    def _delete(self, name: str) -> None:
        resource = (GROUP, VERSION, self.cluster.namespace, PLURAL)
        with api_errors(f"trainjob {name}"):
            found(lambda: self.cluster.custom.delete_namespaced_custom_object(*resource, name))


def _figures(text: str) -> dict[str, float]:
    """The figures of a line of progress: ` loss=1.25 grad_norm=0.5`."""
    return {name: float(value) for name, _, value in (word.partition("=") for word in text.split())}


def _condition(job: Any, kind: str) -> str:
    """The message of the TrainJob's condition, where it holds; a TrainJob that is being deleted has none."""
    if job is None or "deletionTimestamp" in job["metadata"]:
        return ""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c.get("message") or kind for c in conditions if c["type"] == kind and c["status"] == "True"), "")
