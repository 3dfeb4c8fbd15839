"""Background servers after a run: the champion's endpoint and the MLflow UI.

`up` starts both (or leaves them, when they serve what they should) and waits until they answer; `down` stops them. They
are plain `selftaught serve` and `selftaught.state.tracking_ui` processes that outlive the command, which is why they
are started only when asked for. A run's own engines are not these: they end with the run.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import BaseModel, ConfigDict

from selftaught.core.environment import without_secrets
from selftaught.core.errors import Unavailable, without_credentials
from selftaught.core.files import write_atomically
from selftaught.core.loopback import KEY, new_key
from selftaught.lines.serve import Note, note_path, noted
from selftaught.lines.versions import find
from selftaught.platform import Platform
from selftaught.serving.engines.sessions import Process, said
from selftaught.state.database import database_file
from selftaught.state.tracking_ui import HOST, address

READY_WITHIN = 300.0
"""Seconds to wait for a background process to answer."""


@dataclass(frozen=True, slots=True)
class Up:
    """What answers where: the endpoint, its key and the digest that it proved to serve; the MLflow UI."""

    endpoint: str
    key: str
    line: str
    digest: str
    mlflow: str


class Page(BaseModel):
    """The address of the MLflow UI, with its key, and which process it is."""

    model_config = ConfigDict(frozen=True)

    url: str
    process: Process


def up(platform: Platform, line: str, port: int = 8000, ui_port: int = 5000) -> Up:
    """Serve the champion of `line` and the MLflow UI in the background; another free port when one is taken.

    Raises Unavailable, naming the log, when one of them does not come up.
    """
    digest = find(platform.tracker, line, "champion").digest
    note = _serving(platform, line, digest, port)
    return Up(note.url, note.key, line, note.digest, _tracking_ui(platform, ui_port))


def down(platform: Platform) -> list[str]:
    """Stop what `up` (or `serve`) left running; returns what was stopped."""
    return [path.stem for path in sorted((platform.settings.home / "served").glob("*.json")) if _stop(path)]


def _serving(platform: Platform, line: str, digest: str, port: int) -> Note:
    path = note_path(platform.settings.home, line)
    note = noted(path)
    if note is not None and note.digest == digest:
        return note
    _stop(path)
    log = path.with_suffix(".log")
    started = _start([sys.executable, "-m", "selftaught", "serve", line, "--port", str(_free(port))], log)
    return next(there for _ in _waiting(started, log) if (there := noted(path)) is not None)


def _tracking_ui(platform: Platform, port: int) -> str:
    """The MLflow UI's address; a tracking server has its own."""
    if database_file(platform.settings.tracking_uri) is None:
        return without_credentials(platform.settings.tracking_uri)
    path = platform.settings.home / "served" / "mlflow.json"
    if (page := said(path, Page)) is not None and page.process.alive:
        return page.url
    free, key, log = _free(port), new_key(), path.with_suffix(".log")
    environment = without_secrets() | platform.settings.environment() | {KEY: key}
    started = _start([sys.executable, "-m", "selftaught.state.tracking_ui", str(free)], log, environment)
    next(True for _ in _waiting(started, log) if _answers(free))
    url = address(free, key)
    write_atomically(path, Page(url=url, process=Process.of(started.pid)).model_dump_json())
    return url


def _start(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )


def _waiting(process: "subprocess.Popen[bytes]", log: Path) -> Iterator[None]:
    """Yield until the caller has what it waits for. Raises Unavailable when the process ends or takes too long."""
    end = time.monotonic() + READY_WITHIN
    while process.poll() is None and time.monotonic() < end:
        yield
        time.sleep(0.2)
    raise Unavailable(f"{log.stem}: did not come up. Its log: {log}")


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/health", timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _free(port: int) -> int:
    """`port`, or one that the kernel gives when it is taken."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Unavailable("no free port on 127.0.0.1. Stop something that listens there.")


def _stop(path: Path) -> bool:
    """End the process that `path` notes, with its session where it leads one."""
    noted = said(path, Page if path.stem == "mlflow" else Note)
    alive = noted is not None and noted.process.alive
    if noted is not None and alive:
        os.kill(noted.process.pid, signal.SIGTERM)
        _gone(noted.process)
    if noted is not None:
        noted.process.kill_session()
    path.unlink(missing_ok=True)
    return alive


def _gone(process: Process, within: float = 10.0) -> None:
    end = time.monotonic() + within
    while process.alive and time.monotonic() < end:
        time.sleep(0.05)
