"""What is away for a while: a step waits for it and continues, whichever step, whichever server; what stays away ends
it.

Servers are real processes that are killed and started again; engines are recorded ones. Steps run in this process, as
they would one after the other in a pipeline. Outages take a second or two here; a minute each with
`SELFTAUGHT_TEST_OUTAGE=60 make pytest ARGS="-m 'not model' tests/round/test_outages.py
tests/round/test_cluster_outages.py"`.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from selftaught.cluster.client import Cluster, api_errors
from selftaught.core.errors import Away, BadInput, StoreError, Unavailable
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round import patience
from selftaught.round.adopt import adopt
from selftaught.round.patience import patient
from selftaught.state.store import open_store
from selftaught.state.tracking import Tracker
from tests import mlflow_server
from tests.kubernetes_api import kubeconfig
from tests.rounds import ENGINE, REPOSITORY, Round, model, owned_engines, recipe, recorded_blocks, requests
from tests.s3_server import Process, S3Server, free_ports, s3_server
from tests.waiting import outage

__all__ = ["model", "recorded_blocks", "requests"]

STEPS = ("prepare", "sample", "verify", "train", "evaluate gate", "gate", "promote", "evaluate report", "report")
STARTER = ThreadPoolExecutor(1)
"""Starts servers again: they die with the thread that started them."""
DIGESTS = ("tasks", "verified", "examples")


# Waiting --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSES", (0.01,))
    monkeypatch.setenv("SELFTAUGHT_PATIENCE", "60")


def failing(*errors: Exception) -> Callable[[], str]:
    """A step that raises these, one a call, and then ends well."""
    left = list(errors)

    @patient
    def step() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return step


@pytest.mark.usefixtures("quick")
def test_a_step_is_called_again_until_what_it_needs_is_back(capsys: pytest.CaptureFixture[str]):
    assert failing(Away("s3: no answer"), Away("s3: no answer"), Away("mlflow: no answer"))() == "done"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("waits for up to 60 s more: s3: no answer")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [Unavailable("403"), StoreError("no bucket"), BadInput("wrong"), ValueError("a bug")])
def test_what_does_not_pass_ends_it_at_once(error: Exception, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(type(error)):
        failing(error)()
    assert not capsys.readouterr().err


def test_patience_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "PAUSES", (0.05,))
    monkeypatch.setenv("SELFTAUGHT_PATIENCE", "0.6")
    begin = time.monotonic()
    with pytest.raises(Away, match=r"^no answer\. Waited for [1-9]\d* s\.$"):
        failing(*(Away("no answer.") for _ in range(10_000)))()
    assert time.monotonic() - begin > 0.4


@pytest.mark.usefixtures("quick")
def test_what_ends_it_again_and_again_after_a_while_does_not_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "LONG", -1.0)
    with pytest.raises(Away, match=r"^no answer\. It was away 10 times before\.$"):
        failing(*(Away("no answer.") for _ in range(patience.OUTAGES + 1)))()
    assert failing(*(Away("away") for _ in range(patience.OUTAGES)))() == "done"


# Servers --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3Server]:
    """A server of this module's own, which may be stopped."""
    with s3_server() as server:
        server.client().create_bucket(Bucket="selftaught")
        yield server


class Registry:
    """A real MLflow server that can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, (self.port,) = folder, free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            mlflow_server.command(self.port),
            env=mlflow_server.environment(self.folder / "mlflow.db", self.folder),
            stdout=(self.folder / "log").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 180
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()[
                -2000:
            ]
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()


@contextmanager
def away(server: "Registry | object", seconds: float) -> Iterator[None]:
    """The server is killed now, and started again after `seconds` while the block continues."""
    server.stop()  # pyright: ignore[reportAttributeAccessIssue]
    back = STARTER.submit(lambda: (time.sleep(seconds), server.start()))  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        back.result()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, bucket: S3Server) -> None:
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # it is the step that waits, and not boto3 with pauses of its own
    monkeypatch.setenv("SELFTAUGHT_PATIENCE", "600")
    monkeypatch.setattr(patience, "PAUSES", (0.5,))


Ran = Callable[[str, Callable[[], object]], object]
"""Runs the step of this name."""


def digests(model: Path, folder: Path, store: str, run: Ran) -> list[str]:
    """A complete round on its own home and `store`; `run` runs each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", str(folder / "home"))
        patch.setenv("SELFTAUGHT_STORE", store)
        platform = Platform.open()
        adopt(platform, Recipe.parse(json.dumps(recipe(model))), "line")
        made = Round(folder / "artifacts", recipe(model), shards=1)
        with owned_engines(platform.settings.home):
            for name, step in made.steps.items():
                run(name, step)
        assert platform.tracker.resolve("line", "champion") == platform.tracker.versions("line")[1]
        assert len(platform.tracker.versions("line")) == 2
    return [made.made[name].metadata["digest"] for name in DIGESTS]


@pytest.fixture(scope="module")
def usual(model: Path, recorded_blocks: None, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a round that nobody disturbs makes, in a folder and a database of its own."""
    folder = tmp_path_factory.mktemp("usual")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, REPOSITORY))))
        patch.setattr("selftaught.serving.engines.engine.server_module", lambda: "vllm.entrypoints.openai.api_server")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return digests(model, folder, str(folder / "store"), lambda _, step: step())


def told_when_away_for_longer(server: "Registry | Process", step: Callable[[], object]) -> None:
    """The step ends while the server is away for longer than `patience`; the caller runs the same step again."""
    server.stop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_PATIENCE", "0.1")
        with pytest.raises(SystemExit):
            step()
    server.start()


@pytest.mark.usefixtures("waits", "requests", "recorded_blocks")
def test_the_bucket_is_away_in_every_step(
    model: Path, usual: list[str], tmp_path: Path, bucket: S3Server, capsys: pytest.CaptureFixture[str]
):
    waited, failed = list[str](), list[str]()

    def run(name: str, step: Callable[[], object]) -> None:
        if name in ("sample", "train"):
            told_when_away_for_longer(bucket.process, step)
            failed.append(capsys.readouterr().err)
        with away(bucket.process, outage(1.5)):
            step()
        if "waits for up to" in capsys.readouterr().err:
            waited.append(name)

    assert digests(model, tmp_path / "outages", "s3://selftaught/outages", run) == usual
    assert waited == [name for name in STEPS if name != "gate"]  # which asks the registry alone
    assert ["no answer from 127.0.0.1" in each for each in failed] == [True, True]


@pytest.mark.usefixtures("waits", "requests", "recorded_blocks")
def test_the_registry_is_away_in_every_step_that_asks_it(
    model: Path, usual: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    registry = Registry(tmp_path)
    registry.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.url)
    waited, failed = list[str](), list[str]()

    def run(name: str, step: Callable[[], object]) -> None:
        if name in ("train", "promote"):
            told_when_away_for_longer(registry, step)
            failed.append(capsys.readouterr().err)
        with away(registry, outage(1.0)):
            step()
        if "waits for up to" in capsys.readouterr().err:
            waited.append(name)

    try:
        assert digests(model, tmp_path / "outages", "s3://selftaught/registry", run) == usual
    finally:
        registry.stop()
    assert {"prepare", "train", "promote", "report"} <= set(waited)
    assert ["the tracking server or database does not answer" in each for each in failed] == [True, True]


@pytest.mark.usefixtures("waits")
def test_a_wrong_secret_and_a_missing_bucket_are_told_at_once(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(StoreError, match="no bucket 'nowhere'"):
        open_store("s3://nowhere/prefix").claimed("plans/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match="refused the credentials"):
        open_store("s3://selftaught/prefix").claimed("plans/x")


def test_a_registry_that_cannot_be_reached_is_away():
    (port,) = free_ports(1)
    with pytest.raises(Away, match="does not answer"):
        Tracker(f"http://127.0.0.1:{port}").lines()


def _store() -> object:
    return open_store("s3://selftaught/prefix").claimed("plans/x")


def _registry() -> object:
    return Tracker("http://mlflow.selftaught.svc:5000").lines()


def _cluster() -> object:
    cluster = Cluster("selftaught", "")
    with api_errors("pods"):
        return cluster.core.list_namespaced_pod("selftaught")


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("code", [socket.EAI_AGAIN, socket.EAI_NONAME])
@pytest.mark.parametrize("asked", [_store, _registry, _cluster])
def test_a_name_that_nobody_resolves_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[[], object], code: int
):
    """A cluster's DNS is restarted: it does not answer, or knows none of the names for a moment."""

    def nobody(host: str, *_: object, **__: object) -> object:
        raise socket.gaierror(code, f"no {host}")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3.example.com")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", "https://kubernetes.default.svc")))
    with pytest.raises(Away, match=r"no answer from s3|does not answer"):
        asked()
