"""The fork server of a local run's steps: a process that has imported once what every step imports.

kfp.local starts `python3 -m kfp.dsl.executor_main ...` for each task, and imports are most of what a short step
computes (MLflow with its tables, KFP: some 3 s). So `python3` is here a stand-in, which hands its arguments,
environment, folder and standard streams to this server and ends as the step does. Each step is a process of its own
with a fresh copy of what was imported, and dies with the run that it is a step of. Without a server (it was killed),
the stand-in becomes the interpreter instead: slower, and nothing else. The server computes nothing, opens no database
and starts no threads of Python's, which would not be there after a fork. Linux only.

The stand-in runs this file without site-packages: at the top are imports of the standard library alone.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

EXECUTOR = "kfp.dsl.executor_main"
"""The module that runs a component's function; all else that `python3` is asked for is left to the interpreter."""

IMPORTED = (
    *("mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
    *("kfp.dsl.executor", "selftaught.round.step"),
)
"""What the server imports. No torch: a process that computes on a GPU cannot have forked since it was imported."""

_NAME = "steps.sock"
_LENGTH = 8
"""Bytes of the number that says how long a request is."""

Request = tuple[list[str], dict[str, str], str, bool]
"""The executor's arguments, the environment, the current folder, and whether Ctrl-C is ignored."""


# The stand-in ---------------------------------------------------------------------------------------------------------


def stand_in(folder: str, python: str, arguments: list[str]) -> int:
    """Be `python` with `arguments`: have the server in `folder` fork a step, or become the interpreter."""
    connection = _connected(folder) if arguments[:2] == ["-m", EXECUTOR] else None
    if connection is None:
        os.execv(python, [python, *arguments])  # noqa: S606
    with connection:
        here = os.getcwd()  # noqa: PTH109 (pathlib takes as long to import as all the rest here)
        ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # as in what a shell has put into the background
        request = json.dumps((arguments[2:], dict(os.environ), here, ignored)).encode()
        socket.send_fds(connection, [len(request).to_bytes(_LENGTH, "big")], [0, 1, 2])
        connection.sendall(request)
        answer = connection.recv(_LENGTH)
    code = int(answer or -signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _connected(folder: str) -> socket.socket | None:
    """A connection to the server in `folder`; None where there is none any more."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _address(folder) as address:
            connection.connect(address)
    except OSError:
        return None
    return connection


@contextmanager
def _address(folder: str) -> Generator[str]:
    """The socket in `folder`, however long its path: an address has 108 bytes."""
    opened = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{opened}/{_NAME}"
    finally:
        os.close(opened)


# The server -----------------------------------------------------------------------------------------------------------


@contextmanager
def fork_server(folder: str) -> Generator[None]:
    """A server whose stand-ins find it in `folder`, until the block ends; what it imports nobody waits for here."""
    with socket.socket(socket.AF_UNIX) as listener, _address(folder) as address:
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-m", "selftaught.campaign.step_forks", str(listener.fileno())]
        server = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield
    finally:
        server.kill()
        server.wait()


def serve(listener: socket.socket) -> None:
    """Fork a step for each stand-in that connects."""
    from selftaught.core.processes import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the steps
    _import_what_steps_import()
    gc.freeze()  # a collection in a fork would copy every page that it looks at
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for what was forked
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            die_with_parent()
            return _supervise(connection)
        connection.close()


def _import_what_steps_import() -> None:
    os.environ["_KFP_RUNTIME"] = "true"  # as it is for steps: KFP leaves out what compiles
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for module in IMPORTED:
        importlib.import_module(module)


def _supervise(connection: socket.socket) -> None:
    """Fork the step and say how it ended; it ends when its stand-in does."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = _received(connection)
    if (step := os.fork()) == 0:
        connection.close()
        return _be(*request, streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(step)
    if ended not in select.select([connection, ended], [], [])[0]:
        os.kill(step, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(step, 0)[1])
    try:
        connection.send(str(code).encode())
    finally:
        os._exit(0)


def _received(connection: socket.socket) -> tuple[Request, list[int]]:
    length, streams, _, _ = socket.recv_fds(connection, _LENGTH, 3)
    request = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
    return json.loads(request), streams


def _be(arguments: list[str], environment: dict[str, str], folder: str, ignored: bool, streams: list[int]) -> None:
    """Be the process that the stand-in was asked for, instead of a copy of the server."""
    from selftaught.core.processes import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    for stream, number in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [EXECUTOR, *arguments]
    runpy.run_module(EXECUTOR, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(socket.socket(fileno=int(sys.argv[1])))
    else:
        sys.exit(stand_in(sys.argv[1], sys.argv[2], sys.argv[3:]))
