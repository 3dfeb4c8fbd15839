"""Losing the sandbox: what whoever runs programs has to survive."""

import asyncio
import os
import signal
from contextlib import suppress

from selftaught.sandbox import shared
from selftaught.sandbox.process import ProcessSandbox


def lose_workers() -> None:
    """End every worker of this process's sandbox, whether it runs a program or waits for one."""

    async def running() -> list[int]:
        pool: ProcessSandbox = await shared._sandbox()
        return [worker._process.pid for worker in pool._workers if worker._process]

    for pid in asyncio.run_coroutine_threadsafe(running(), shared._loop()).result():
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
