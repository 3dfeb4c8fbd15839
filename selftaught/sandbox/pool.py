"""A pool of workers: interpreters on this machine that run a program each at a time (`selftaught.sandbox.worker`).

A worker learns from its arguments how it has to hold programs (`worker.HOLDS`); whoever makes a pool chooses them. One
that is lost is replaced when the next program is run.
"""

import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from selftaught.sandbox import wire
from selftaught.sandbox.protocol import Outcome, Program, Sandbox, SandboxFailed, SandboxRefused
from selftaught.sandbox.syscalls import ARCHITECTURES

_PACKAGES = str(Path(__file__).parents[2])
_START = """import sys
sys.path.append(sys.argv[1])
from selftaught.sandbox.worker import main
sys.path.pop()
main(int(sys.argv[2]), *sys.argv[3:])"""
_STARTED_WITHIN_S, _ANSWERED_WITHIN_S = 60.0, 30.0
"""Seconds that a worker may take to start, and to answer beyond a program's own wall time: a loaded machine's."""


class Pool(Sandbox):
    """Workers on this machine; `async with` starts and ends them.

    One event loop's: a `run` that is cancelled ends its program.
    """

    def __init__(self, workers: Sequence["Worker"]) -> None:
        """Of `workers`, each of which runs a program at a time."""
        self._workers = workers
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()

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


class Worker:
    """The end on this side of one worker, which is started when it is needed and was lost."""

    def __init__(self, hold: Sequence[str], fix: str) -> None:
        """Whose programs are held as the words `hold` say; `fix` is what to do where the machine cannot."""
        self._hold, self._fix = hold, fix
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def pid(self) -> int | None:
        """Its process, where there is one."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Raises SandboxRefused where this machine cannot hold a program as the worker has to."""
        if platform.machine() not in ARCHITECTURES:
            raise SandboxRefused(
                f"sandbox: {platform.machine()}: no filter of system calls is written for it. "
                f"Use one of {', '.join(ARCHITECTURES)}."
            )
        ours, theirs = socket.socketpair()
        arguments = [_PACKAGES, str(theirs.fileno()), *self._hold]
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a millisecond, seldom
                [sys.executable, "-S", "-s", "-P", "-X", "utf8", "-c", _START, *arguments],
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
            raise SandboxRefused(f"sandbox: this machine cannot hold a program ({said['refused']}). {self._fix}")

    async def run(self, program: Program) -> Outcome:
        """Run `program` to its end; see `Pool.run`."""
        if self._process is not None and self._process.poll() is not None:  # lost while it was idle
            self.end()
        try:
            if self._writer is None:
                await self.start()
            assert self._writer is not None
            self._writer.write(json.dumps(wire.request(program)).encode() + b"\n")
            return wire.outcome(await self._answer(program.limits.wall_s + _ANSWERED_WITHIN_S))
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
        """End the worker; where it has namespaces, all that it has started ends with it."""
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = self._reader = self._writer = None
