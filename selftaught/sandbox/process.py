"""Programs in processes of this machine, held by the kernel: for whoever may make a user namespace, root or not.

Each worker is an interpreter in namespaces of its own (`isolation`). A machine that allows no such namespaces is
refused: nothing runs with less. docs/security.md has what is held.
"""

import asyncio
import os

from selftaught.sandbox.pool import Pool, Worker
from selftaught.sandbox.protocol import SandboxRefused

_FIX = (
    "Use a machine or container that lets its users make user namespaces: sysctl user.max_user_namespaces above 0, on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0, in Docker --security-opt seccomp=unconfined. On a cluster, "
    "have programs run in pods of their own: set sandbox.enabled in the chart's values, or sandbox_url "
    "(SELFTAUGHT_SANDBOX_URL) to a sandbox server's address."
)


class ProcessSandbox(Pool):
    """A pool of workers on this machine, each in namespaces of its own."""

    def __init__(self, workers: int | None = None) -> None:
        """With `workers` programs at once: as many as there are cores, unless configured otherwise."""
        super().__init__([Worker(["namespaces"], _FIX) for _ in range(workers or len(os.sched_getaffinity(0)))])


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
