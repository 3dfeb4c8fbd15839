"""Programs in processes of this machine, held by the kernel: for whoever may make a user namespace, root or not.

Each worker (`selftaught.sandbox.worker`) is an interpreter in namespaces of its own that forks a program at a time. A
machine that allows no such namespaces is refused: nothing runs with less. docs/security.md has what is held.
"""

import asyncio
import base64
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from selftaught.sandbox.protocol import Limits, Outcome, Program, SandboxFailed, SandboxRefused, Termination
from selftaught.sandbox.syscalls import ARCHITECTURES

_PACKAGES = str(Path(__file__).parents[2])
_START = """import sys
sys.path.append(sys.argv[1])
from selftaught.sandbox.worker import main
sys.path.pop()
main(int(sys.argv[2]))"""
_STARTED_WITHIN_S, _ANSWERED_WITHIN_S = 60.0, 30.0
"""Seconds that a worker may take to start, and to answer beyond a program's own wall time: a loaded machine's."""
_FIX = (
    "Use a machine or container that lets its users make user namespaces: sysctl user.max_user_namespaces above 0, on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0, in Docker --security-opt seccomp=unconfined."
)


class ProcessSandbox:
    """A pool of workers on this machine; `async with` starts and ends it.

    One event loop's: a `run` that is cancelled ends its program.
    """

    def __init__(self, workers: int | None = None) -> None:
        """With `workers` programs at once: as many as there are cores, unless configured otherwise."""
        self._workers = [_Worker() for _ in range(workers or len(os.sched_getaffinity(0)))]
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        """Raises SandboxRefused where this machine cannot hold what a program may not do."""
        try:
            await asyncio.gather(*(worker.start() for worker in self._workers))
        except BaseException:
            self._end()
            raise
        for worker in self._workers:
            self._idle.put_nowait(worker)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()

    async def run(self, program: Program) -> Outcome:
        """Run `program` to its end. Raises SandboxFailed where its worker was lost; the next run gets a new one."""
        worker = await self._idle.get()
        try:
            return await worker.run(program)
        finally:
            self._idle.put_nowait(worker)

    async def run_all(self, programs: Iterable[Program]) -> list[Outcome]:
        """Run each of `programs`; the outcomes in their order."""
        return list(await asyncio.gather(*map(self.run, programs)))


def refusal() -> str:
    """Why this machine cannot hold a program and what to do about it; empty where it can. Starts a worker."""

    async def start() -> None:
        async with ProcessSandbox(workers=1):
            pass

    try:
        asyncio.run(start())
    except SandboxRefused as error:
        return str(error)
    return ""


class _Worker:
    """The end on this side of one worker, which is started when it is needed and was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        if platform.machine() not in ARCHITECTURES:
            raise SandboxRefused(
                f"sandbox: {platform.machine()}: no filter of system calls is written for it. "
                f"Use one of {', '.join(ARCHITECTURES)}."
            )
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a millisecond, seldom
                [sys.executable, "-S", "-s", "-P", "-X", "utf8", "-c", _START, _PACKAGES, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PYTHONHASHSEED": "0"},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                cwd="/",
            )
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=1 << 30)
        said = await self._answer(_STARTED_WITHIN_S)
        if "refused" in said:
            self.end()
            raise SandboxRefused(f"sandbox: this machine cannot hold a program ({said['refused']}). {_FIX}")

    async def run(self, program: Program) -> Outcome:
        if self._process is not None and self._process.poll() is not None:  # lost while it was idle
            self.end()
        if self._writer is None:
            await self.start()
        assert self._writer is not None
        try:
            self._writer.write(_request(program))
            return _outcome(await self._answer(program.limits.wall_s + _ANSWERED_WITHIN_S))
        except BaseException:  # cancelled, too: whatever the worker was at, it is at it no more
            self.end()
            raise

    async def _answer(self, within: float) -> dict[str, Any]:
        assert self._reader is not None
        try:
            line = await asyncio.wait_for(self._reader.readline(), within)
        except (OSError, TimeoutError):
            line = b""
        if not line.endswith(b"\n"):
            self.end()
            raise SandboxFailed(f"sandbox: a worker ended, or did not answer within {within:.0f} s. Try again.")
        return json.loads(line)

    def end(self) -> None:
        """End the worker, and with it, by the kernel, all that it has started."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._reader = self._writer = None


def _request(program: Program) -> bytes:
    limits = program.limits
    request = {
        "source": program.source,
        "stdin": base64.b64encode(program.stdin).decode(),
        "args": program.args,
        "files": {name: base64.b64encode(data).decode() for name, data in program.files.items()},
        "limits": {name: getattr(limits, name) for name in Limits.__slots__},
    }
    return json.dumps(request).encode() + b"\n"


def _outcome(said: dict[str, Any]) -> Outcome:
    stdout, stderr, results = map(base64.b64decode, said["outputs"])
    ended = Termination(said["ended"])
    return Outcome(
        ended, said["exit"], said["signal"], stdout, stderr, results, cpu_s=said["cpu_s"], wall_s=said["wall_s"]
    )
