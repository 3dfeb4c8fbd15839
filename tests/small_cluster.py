"""As much of a cluster as a round asks: an API server that is a process, and one pod, a process too, a version served.

`api` is stopped and started as other servers of the tests are. A pod that dies is started again on another port, as one
that was killed or evicted is. Pods are simulated engines.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from selftaught.core.processes import die_with_parent
from selftaught.serving.engines.engine import HOST, reserve
from tests.rounds import REPOSITORY

SPACE = "team-a"


class ApiServer:
    """The API server's process on one port, which is nobody else's while it is down."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._reservation = folder, reserve(0)
        self.port = int(self._reservation.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tests.stand_ins.api_server", str(self._folder), str(self.port)]
        self._process = _started(command)
        while not _answers(f"{self.url}/api/v1/namespaces/{SPACE}/services"):
            assert self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


@dataclass
class SmallCluster:
    """Its objects lie in `folder`."""

    folder: Path
    api: ApiServer
    pods: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    def services(self) -> list[Any]:
        """The InferenceServices that there are."""
        found = (file for file in self.folder.glob("*inferenceservices*") if not file.name.startswith("."))
        return [json.loads(file.read_text()) for file in found]

    def look(self) -> None:
        """Start what is to be served and is not, and note which pods answer."""
        for service in self.services():
            name = service["metadata"]["name"]
            if name in self.pods and self.pods[name].poll() is not None:
                self._note(name, ready=False)
                del self.pods[name]
            if name not in self.pods:
                self._start(name, service["spec"]["predictor"]["model"])
            elif not self._noted(name)["ready"] and _answers(f"http://{HOST}:{self._noted(name)['port']}/v1/models"):
                self._note(name, ready=True, was_up=True)

    def _start(self, name: str, model: Any) -> None:
        reservation = reserve(0)
        port = int(reservation.getsockname()[1])
        words = ["--model", model["storageUri"].removeprefix("file://"), "--host", HOST, "--port", str(port)]
        self._note(name, port=port, ready=False)
        self.pods[name] = _started([sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words, *model["args"]])
        while self.pods[name].poll() is None and not _answers(f"http://{HOST}:{port}/v1/models"):
            time.sleep(0.02)
        reservation.close()

    def _noted(self, name: str) -> Any:
        file = self.folder / "pods" / name
        return json.loads(file.read_text()) if file.exists() else {"port": 0, "ready": False, "was_up": False}

    def _note(self, name: str, **more: Any) -> None:
        new = self.folder / "pods" / f".{name}"
        new.write_text(json.dumps(self._noted(name) | more))
        new.rename(self.folder / "pods" / name)


@contextmanager
def small_cluster(folder: Path) -> Generator[SmallCluster]:
    """One that is up while the block runs; pods are started with the environment of its beginning."""
    (folder / "pods").mkdir(parents=True)
    cluster, over = SmallCluster(folder, ApiServer(folder)), threading.Event()
    cluster.api.start()

    def run() -> None:
        while not over.wait(0.02):
            cluster.look()
        for pod in cluster.pods.values():
            pod.kill()
            pod.wait()

    running = threading.Thread(target=run)
    running.start()
    try:
        yield cluster
    finally:
        over.set()
        running.join()
        cluster.api.stop()


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (should the tests be killed)
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.TransportError:
        return False
