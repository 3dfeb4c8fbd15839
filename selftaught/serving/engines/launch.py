"""Run a command so that it cannot outlive its owner: `python -m selftaught.serving.engines.launch OWNER_PID
COMMAND...`.

The launcher is started as the leader of a session, in which the command and all its descendants stay. It ends the
entire session when the owner dies, however it dies, and when the command does; should the launcher itself be killed,
the kernel kills the command (parent-death signal), and `selftaught.serving.engines.sessions.reap` finds the rest. It
watches the owner by pidfd: a parent-death signal would also fire when only the thread that started the engine ends.
Linux only. Nothing but the standard library is loaded, so that it starts at once and stays small.
`selftaught.serving.engines.forkserver` supervises in the same way what it forks.
"""

import os
import select
import signal
import sys
from collections.abc import Callable

from selftaught.core.processes import die_with_parent

GRACE = 3.0
"""Seconds that the command has to end on its own (freeing shared memory) before its session is killed."""


def main(owner: int, command: list[str]) -> None:
    """Run `command` until it or `owner` ends or SIGTERM comes, then end the session, this process with it."""
    owner_fd = os.pidfd_open(owner)
    if os.getppid() == owner:
        supervise(owner_fd, lambda: os.execvp(command[0], command))  # noqa: S606 (no shell is wanted)


def supervise(owner_fd: int, serve: Callable[[], None]) -> None:
    """Run `serve` in a child until it or the owner ends or SIGTERM comes, then end the session, this process with it.

    This process has to lead a session. The call returns in the child alone, when `serve` does.
    """
    signal.signal(signal.SIGTERM, _leave)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent()
        return serve()
    child_fd = os.pidfd_open(child)
    try:
        select.select([owner_fd, child_fd], [], [])
    finally:
        _end(child, child_fd)


def _leave(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the first one's grace short
    sys.exit(128 + signum)


def _end(child: int, child_fd: int) -> None:
    ended, status = os.waitpid(child, os.WNOHANG)
    words = f"exit status {os.waitstatus_to_exitcode(status)}" if ended else "it was asked to"
    print(f"launch: the engine ends ({words})", file=sys.stderr, flush=True)
    try:
        if not ended:
            os.kill(child, signal.SIGTERM)
            select.select([child_fd], [], [], GRACE)
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
