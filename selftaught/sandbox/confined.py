"""Programs in processes of a pod, held by what a process may put on itself: one worker for each folder of scratch.

Without namespaces all of them are in sight of each other (`confinement`), so what a lost worker has left running is
ended here before another takes its place. Meant for a pod that does nothing else; it is not run as root.
"""

import os
from collections.abc import Sequence

from selftaught.sandbox import kernel, landlock
from selftaught.sandbox.family import descendants, end_descendants
from selftaught.sandbox.pool import Pool, Worker

_FIX = (
    "Run the server as a user other than root, on Linux 5.14 or later, with the runtime's default seccomp profile; "
    "gVisor has no filters that ask."
)


class ConfinedSandbox(Pool):
    """A pool of workers in this pod; this process takes in what they leave behind, and nobody may read its memory."""

    def __init__(self, scratch: Sequence[str]) -> None:
        """With a worker for each folder of `scratch`, a volume of its own that nobody else uses.

        Where the kernel has no Landlock, programs could open each other's files: one runs at a time.
        """
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        workers: list[Worker] = []
        workers += [_Worker(each, workers) for each in (scratch if landlock.version() else scratch[:1])]
        super().__init__(workers)


class _Worker(Worker):
    """One of `workers`: what is left of it is whatever none of the others has started."""

    def __init__(self, scratch: str, workers: Sequence[Worker]) -> None:
        super().__init__(["confinement", scratch], _FIX)
        self._workers = workers

    def end(self) -> None:
        """End the worker and all that it has started."""
        super().end()
        others = frozenset(each.pid for each in self._workers if each.pid)
        end_descendants(os.getpid(), others)
        for each in descendants(os.getpid()):
            if each.parent == os.getpid() and each.pid not in others:
                os.waitpid(each.pid, 0)
