"""Serving a line's champion to people on this machine, and talking to it.

`serve` runs one engine until it is stopped and notes where it answers; `chat` uses that endpoint when it serves the
wanted version, and starts an engine of its own otherwise. Both take a model that is of no line too. Rounds have their
own engines (`selftaught.campaign`).
"""

import asyncio
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selftaught.core.errors import SelftaughtError
from selftaught.core.files import write_atomically
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.inference.limiter import USERS
from selftaught.lines.versions import find
from selftaught.platform import Platform
from selftaught.records import Message
from selftaught.round.adopt import keep
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.sessions import Process, said
from selftaught.state.starter import STARTERS
from selftaught.state.tracking import Version

Tell = Callable[[str], None]


class Note(BaseModel):
    """Where `serve` answers, and which process it is."""

    model_config = ConfigDict(frozen=True)

    url: str
    line: str
    digest: str
    key: str = ""
    process: Process


def serve_until_stopped(platform: Platform, line: str, model: str, port: int, tell: Tell) -> None:
    """Serve `model` of `line`, or the model that `line` names, on loopback until SIGINT or SIGTERM.

    Raises BadInput when there is no such model or the port is taken.
    """
    version = _meant(platform, line, model)
    number = f" version {version.version}" if version.version else ""
    tell(f"starting {version.line}{number} ({version.digest[:8]}) …")
    with LocalEngines(platform.settings.home, options=EngineOptions.from_settings(platform.settings)) as engines:
        served = engines.deploy(version.line, version.digest, platform.model(version.digest), port=port)
        with _noting(note_path(platform.settings.home, version.line), served):
            tell(_how_to_ask(served))
            _wait_for_stop()


def converse(
    platform: Platform, line: str, model: str, message: str, temperature: float, max_tokens: int, say: Tell
) -> None:
    """Say the answer to `message`, or to every line of standard input in one conversation."""
    version = _meant(platform, line, model)
    with _served(platform, version) as served:
        asyncio.run(_conversation(served, message, temperature, max_tokens, say))


def _meant(platform: Platform, name: str, model: str) -> Version:
    """`model` of the line `name`; where there is no such line, the folder, starter model or hub id `name`.

    That one is kept in the store, is of no line, and is called like the folder.
    """
    if name in platform.tracker.lines() or not (Path(name).is_dir() or name in STARTERS or "/" in name):
        return find(platform.tracker, name, model)
    digest, uri = keep(platform, name)
    called = re.sub("[^A-Za-z0-9._-]+", "-", Path(name).resolve().name).strip("._-")
    return Version(called or "model", "", digest, uri)


@contextmanager
def _served(platform: Platform, version: Version) -> Generator[Served]:
    note = noted(note_path(platform.settings.home, version.line))
    if note is not None and note.digest == version.digest:
        yield Served(note.url, note.line, note.digest, note.key)
        return
    print("starting an engine …", file=sys.stderr)
    with LocalEngines(platform.settings.home, options=EngineOptions.from_settings(platform.settings)) as engines:
        yield engines.deploy(version.line, version.digest, platform.model(version.digest))


async def _conversation(served: Served, message: str, temperature: float, max_tokens: int, say: Tell) -> None:
    said: list[Message] = []
    policy = RetryPolicy(priority=USERS)
    async with Endpoint(served.url, served.line, served.digest, policy=policy, key=served.key) as endpoint:
        for line in [message] if message else _typed():
            said.append(Message(role="user", content=line))
            answer = (await endpoint.chat(said, temperature=temperature, max_tokens=max_tokens))[0].text
            said.append(Message(role="assistant", content=answer))
            say(answer)


def _typed() -> Iterator[str]:
    """The lines that a person types, until end of input."""
    prompt = "you> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line:
            yield line


def _wait_for_stop() -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda signum, frame: stop.set())
    try:
        stop.wait()
    except KeyboardInterrupt:
        return


def _how_to_ask(served: Served) -> str:
    return (
        f"serving {served.name} at {served.url}\n"
        f"  curl {served.url}/chat/completions -H 'Content-Type: application/json' \\\n"
        f"    -H 'Authorization: Bearer {served.key}' \\\n"
        f'    -d \'{{"model": "{served.line}", "messages": [{{"role": "user", "content": "…"}}]}}\'\n'
        f"  selftaught chat {served.line}"
    )


def note_path(home: Path, line: str) -> Path:
    """Where `serve` notes the endpoint of `line`."""
    return home / "served" / f"{line}.json"


@contextmanager
def _noting(path: Path, served: Served) -> Generator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if noted(path) is not None:
        raise SelftaughtError(f"{served.line}: is served already ({path}). Stop that `selftaught serve` first.")
    note = Note(url=served.url, line=served.line, digest=served.digest, key=served.key, process=Process.of(os.getpid()))
    write_atomically(path, note.model_dump_json(indent=2))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def noted(path: Path) -> Note | None:
    """What is noted at `path`, when the process that noted it still runs."""
    note = said(path, Note)
    return note if note is not None and note.process.alive else None
