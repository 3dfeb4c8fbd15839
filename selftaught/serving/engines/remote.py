"""Requests of components for engines, over the campaign process's Unix socket.

Components run in processes of their own, but engines must outlive them and die with the campaign. One JSON line there
(`line`, `digest`, `folder`), one back: what is served, or the owner's error, raised in the component as itself.
Sockets are named by way of their folder's descriptor, since the kernel takes paths of 107 bytes at most. Linux only.
"""

import json
import os
import socketserver
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Self

from selftaught.core import errors
from selftaught.core.errors import SelftaughtError, Unavailable
from selftaught.serving.backend import Engines, Served
from selftaught.serving.routes.alias import AliasAlone


class EngineServer:
    """Answers requests for engines with `backend`, in threads of this process, while its `with` block runs.

    `address` is what `Settings.engines` (SELFTAUGHT_ENGINES) of the components has to be. Requests for one digest
    that come together start one engine: that is the backend's doing.
    """

    def __init__(self, backend: Engines, home: Path) -> None:
        self.address = str(_socket_path(home / "engines"))
        self._server = _Server(self.address, backend)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        Path(self.address).unlink()


def request_engine(address: str, line: str, digest: str, folder: Path) -> Served:
    """Ask the owner at `address` to serve the model in `folder`; waits until it is served.

    Raises what the owner's backend raised (see `Backend.deploy`), and Unavailable when the owner is gone.
    """
    try:
        with socket(AF_UNIX) as channel:
            with _in_reach(Path(address)) as near:
                channel.connect(near)
            channel.sendall(
                json.dumps({"line": line, "digest": digest, "folder": str(folder.absolute())}).encode() + b"\n"
            )
            with channel.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as error:
        raise Unavailable(f"{address!r}: no owner of engines answers ({error}). Is the run alive?") from None
    if "error" in answer:
        raise getattr(errors, answer["error"], SelftaughtError)(answer["message"])
    return Served(**answer)


class RemoteEngines:
    """Implements `selftaught.serving.backend.Backend` by asking the owner at `address`.

    `locate` gives a model's folder. The owner stops what is not used: one process at a time runs a line on a machine.
    """

    route = AliasAlone()

    def __init__(self, address: str, locate: Callable[[str], Path]) -> None:
        self._address, self._locate = address, locate

    def deploy(self, line: str, digest: str) -> Served:
        """See `Backend.deploy`. Raises Unavailable when there is no owner."""
        if not self._address:
            raise Unavailable("no engine owner: SELFTAUGHT_ENGINES is not set. Start the round with `selftaught run`.")
        return request_engine(self._address, line, digest, self._locate(digest))

    def ready(self, line: str, digest: str) -> None:
        """Engines start when they are asked for."""

    def remove(self, line: str, digest: str) -> None:
        """The owner does, when it needs the room."""

    def served(self, line: str) -> dict[str, float]:
        """None that has to be removed."""
        return {}

    def lease(self, line: str) -> AbstractContextManager[Callable[[], None]]:
        """The line's lock is held by the owner already."""
        return nullcontext(lambda: None)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, backend: Engines) -> None:
        self.backend = backend
        with _in_reach(Path(address)) as near:
            super().__init__(near, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        try:
            answer = asdict(self.server.backend.deploy(asked["line"], asked["digest"], Path(asked["folder"])))
        except SelftaughtError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        except OSError as error:  # no room for a log: the run lives, and says so
            location = f"{error.filename}: " if error.filename else ""
            answer = {"error": "StoreError", "message": f"{location}{error.strerror or error}. Fix it and rerun."}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


def _socket_path(folder: Path) -> Path:
    """`<pid>.sock` in `folder`, without what killed owners left there."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.sock"):
        if left.stem == str(os.getpid()) or not Path("/proc", left.stem).exists():
            left.unlink(missing_ok=True)
    return folder / f"{os.getpid()}.sock"


@contextmanager
def _in_reach(path: Path) -> Generator[str]:
    """A short name of the socket at `path`, good while the block runs. Raises OSError when there is no such folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
