"""A training on several nodes: what is asked of Kubernetes, and what travels through the store.

Kubernetes and Kubeflow Trainer are stood in for by a server that answers like theirs and starts each pod of a TrainJob
as a process of this machine, with the variables that Trainer gives it. The client, torchrun and the store are real, and
a pod shares nothing else with its fellows.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from kubernetes.client import ApiClient, Configuration

from selftaught.blocks import Objective
from selftaught.cluster.client import Cluster
from selftaught.core.errors import BadInput, RoundFailed, Unavailable
from selftaught.records import dataset
from selftaught.round.distributed.request import OfflineRequest, encode_error
from selftaught.round.distributed.trainjob import TrainJobs, claim
from selftaught.state.store import DirectoryStore
from selftaught.state.weights import model_digest
from selftaught.training.sft import SFT
from tests.rounds import REPOSITORY
from tests.training.conftest import examples, tiny_model  # noqa: F401 (fixtures)
from tests.waiting import until

TOLD = {"precision": "fp32", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4}
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"
PODS = "/api/v1/namespaces/team/pods"
STUCK = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}


class Trainer:
    """TrainJobs by name, and the processes of their pods. `stuck`: pods whose image cannot be pulled."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store
        self.jobs: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.made: list[dict[str, Any]] = []
        self.stuck = False

    def create(self, job: dict[str, Any]) -> None:
        self.made.append(job)
        nodes = 0 if self.stuck else job["spec"]["trainer"]["numNodes"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.jobs[job["metadata"]["name"]] = [self._pod(job, node, port) for node in range(nodes)]

    def _pod(self, job: dict[str, Any], node: int, port: int) -> "subprocess.Popen[bytes]":
        trainer = job["spec"]["trainer"]
        fields = {"NNODES": trainer["numNodes"], "NPROC_PER_NODE": trainer["numProcPerNode"], "NODE_RANK": node}
        fields |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        variables = {f"PET_{name}": str(value) for name, value in fields.items()}
        own = {"SELFTAUGHT_HOME": str(self.folder / f"home-{node}"), "SELFTAUGHT_STORE": str(self.store)}
        path = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
        return subprocess.Popen(
            [sys.executable, "-m", "selftaught.round.distributed.node", *trainer["args"]],
            env=os.environ | variables | own | path,
            stderr=(self.folder / f"log-{node}").open("wb"),
        )

    def delete(self, name: str) -> bool:
        """Whether there was such a TrainJob; its pods go with it."""
        known = self.jobs.pop(name, None)
        for pod in known or []:
            pod.kill()
            pod.wait()
        return known is not None

    def job(self, name: str) -> dict[str, Any]:
        ended = [pod.poll() for pod in self.jobs[name]]
        complete, failed = bool(ended) and set(ended) == {0}, any(ended)
        conditions = [
            {"type": kind, "status": "True", "message": "jobset says so"}
            for kind, is_so in (("Complete", complete), ("Failed", failed))
            if is_so
        ]
        return {"metadata": {"name": name}, "status": {"conditions": conditions}}

    def pods(self, selector: str) -> list[dict[str, Any]]:
        labels = dict(label.split("=") for label in selector.split(","))
        name, node = labels["jobset.sigs.k8s.io/jobset-name"], labels.get("batch.kubernetes.io/job-completion-index")
        if self.stuck:
            status = {"name": "node", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": STUCK}
            return [{"metadata": {"name": "node-0"}, "status": {"phase": "Pending", "containerStatuses": [status]}}]
        phases = {None: "Running", 0: "Succeeded"}
        return [
            {"metadata": {"name": f"node-{index}"}, "status": {"phase": phases.get(pod.poll(), "Failed")}}
            for index, pod in enumerate(self.jobs.get(name, []))
            if node in (None, str(index))
        ]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Trainer]:
    made = Trainer(tmp_path, tmp_path / "store")
    yield made
    for name in list(made.jobs):
        made.delete(name)


@pytest.fixture
def trainjobs(trainer: Trainer) -> Iterator[TrainJobs]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(trainer))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    cluster = Cluster("team", "name")
    cluster.__dict__["client"] = ApiClient(Configuration(host=f"http://127.0.0.1:{server.server_port}"))
    yield TrainJobs(cluster, DirectoryStore(trainer.store), nodes=2, processes=1, ready_within=120)
    server.shutdown()


def handler(trainer: Trainer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path.startswith(JOBS):
                name = path.rpartition("/")[2]
                self.answer(trainer.job(name)) if name in trainer.jobs else self.answer({}, 404)
            elif path == PODS:
                selector = next(word.partition("=")[2] for word in query.split("&") if word.startswith("labelSelector"))
                self.answer(
                    {"items": trainer.pods(selector.replace("%2F", "/").replace("%3D", "=").replace("%2C", ","))}
                )
            else:
                self.answer((trainer.folder / f"log-{path.split('/')[-2][-1]}").read_text())

        def do_POST(self) -> None:
            trainer.create(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer({}, 201)

        def do_DELETE(self) -> None:
            self.answer({}, 200 if trainer.delete(self.path.rpartition("/")[2]) else 404)

        def answer(self, body: Any, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write((body if isinstance(body, str) else json.dumps(body)).encode())

        def log_message(self, *_: Any) -> None: ...

    return Handler


@pytest.fixture
def work(tiny_model: Path, examples: list[Any], tmp_path: Path) -> Callable[..., OfflineRequest]:  # noqa: F811
    dataset.write(tmp_path / "examples", examples, "examples")

    def make(objective: Objective, name: str = "step") -> OfflineRequest:
        given = {"model": tiny_model, "examples": tmp_path / "examples"}
        made = {"out": tmp_path / name / "out", "scratch": tmp_path / name, "events": tmp_path / f"{name}.jsonl"}
        return OfflineRequest(objective=objective, **given, **made, seed=3, step="train")

    return make


def test_two_nodes_make_the_update_of_one_process(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    """And the answer stays: the step that is run again takes it and makes no second TrainJob."""
    alone = work(SFT(**TOLD), "alone").run()
    shared = trainjobs.run(work(SFT(**TOLD)), pause=0.2)
    assert dict(shared.losses) == pytest.approx(dict(alone.losses), rel=1e-3)
    out = work(SFT(**TOLD)).out
    assert trainjobs.store.has("models", model_digest(out))
    assert trainer.jobs == {}

    again = work(SFT(**TOLD), "again")
    assert trainjobs.run(again) == shared
    assert model_digest(again.out) == model_digest(out)
    assert len(trainer.made) == 1
    assert trainer.made[0]["spec"]["runtimeRef"]["name"] == "selftaught-training"


def test_nodes_without_a_disk_in_common_write_no_checkpoints_that_none_could_read(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    result = trainjobs.run(work(SFT(**TOLD | {"checkpoint_every": 1})), pause=0.2)
    assert result.steps > 1
    assert not list(trainer.folder.glob("home-*/scratch/*/steps/checkpoint-*"))
    assert "no disk in common" in (trainer.folder / "log-0").read_text()


def test_figures_in_the_first_nodes_log_are_points_of_the_curve(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    """Its pods have no account at the tracking server: the step, which has one, shows what they log."""
    found = work(SFT(**TOLD))

    def pods(job: dict[str, Any]) -> None:
        trainer.jobs[job["metadata"]["name"]] = [subprocess.Popen(["sleep", "600"])]
        lines = ["train: 3/40 steps loss=2.5", "train: 12/40 steps loss=1.25 grad_norm=nan", "words of another"]
        (trainer.folder / "log-0").write_text("\n".join(lines))

    def curve() -> list[dict[str, Any]]:
        return [json.loads(line) for line in found.curve.read_text().splitlines()] if found.curve.exists() else []

    trainer.create = pods
    step = Thread(target=partial(pytest.raises, RoundFailed, trainjobs.run, found, pause=0.05))
    step.start()
    assert until(lambda: len(curve()) > 0)
    (name,) = trainer.jobs
    trainjobs.store.claim(claim(name, "failure"), encode_error(RoundFailed("enough")).encode())
    trainer.jobs[name][0].kill()
    step.join()
    assert curve()[0] == {"step": 12, "loss": 1.25, "grad_norm": pytest.approx(float("nan"), nan_ok=True)}


def test_what_the_objective_raises_is_raised(trainjobs: TrainJobs, work: Callable[..., OfflineRequest]):
    with pytest.raises(RoundFailed, match=r"with learning_rate 1e\+30"):
        trainjobs.run(work(SFT(**TOLD | {"learning_rate": 1e30})), pause=0.2)


def test_a_node_that_fails_is_told_in_its_last_words_and_the_next_attempt_is_recreated(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    """No node finds such an order, because their store is another one; the TrainJob has failed when the first has."""
    trainer.store = trainer.folder / "elsewhere"
    for attempt in (1, 2):
        with pytest.raises(BadInput, match=r"trainjob train-\w+: pod node-[01]: .*holds no order .*Run the step again"):
            trainjobs.run(work(SFT(**TOLD)), pause=0.2)
        assert len(trainer.made) == attempt


def test_pods_that_cannot_start_are_said_at_once(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    trainer.stuck = True
    with pytest.raises(BadInput, match=r"cannot start\. pod node-0, container node: ImagePullBackOff: no such image"):
        trainjobs.run(work(SFT(**TOLD)), pause=0.2)


def test_what_could_not_start_is_recreated_once_that_is_fixed(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    trainer.stuck = True
    with pytest.raises(BadInput, match="cannot start"):
        trainjobs.run(work(SFT(**TOLD)), pause=0.2)
    create = trainer.create

    def mended(job: dict[str, Any]) -> None:
        trainer.stuck = False
        create(job)

    trainer.create = mended
    assert trainjobs.run(work(SFT(**TOLD)), pause=0.2).losses
    assert len(trainer.made) == 2


def test_pods_that_do_not_start_are_not_waited_for_for_ever(
    trainjobs: TrainJobs, trainer: Trainer, work: Callable[..., OfflineRequest]
):
    trainer.create = lambda job: trainer.jobs.update({job["metadata"]["name"]: []})
    hasty = TrainJobs(trainjobs.cluster, trainjobs.store, nodes=2, processes=1, ready_within=0.5)
    with pytest.raises(Unavailable, match=r"not started after 0 s \(no pods\)"):
        hasty.run(work(SFT(**TOLD)), pause=0.2)
