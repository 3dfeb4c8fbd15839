"""Run a command so that it cannot outlive its owner: `python -m selftaught.serving.launch OWNER_PID COMMAND...`.

The launcher is started as the leader of a session, in which the command and all its descendants stay. It ends the
whole session when the owner dies, however it dies, and when the command does; should the launcher itself be killed,
the kernel kills the command (parent-death signal), and `selftaught.serving.processes.reap` finds the rest. It watches
the owner by pidfd: a parent-death signal would also fire when only the thread that started the engine ends. Linux
only. Standard library only, so that it starts at once and stays small.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1
GRACE = 3.0
"""Seconds that the command has to end by itself (freeing shared memory) before its session is killed."""


def main(owner: int, command: list[str]) -> None:
    """Run `command` until it or `owner` ends or SIGTERM comes, then end the session, this process with it."""
    signal.signal(signal.SIGTERM, _leave)
    owner_fd = os.pidfd_open(owner)
    if os.getppid() != owner:
        return
    child = subprocess.Popen(command, preexec_fn=_die_with_parent)  # noqa: PLW1509 (there are no threads here)
    try:
        select.select([owner_fd, os.pidfd_open(child.pid)], [], [])
    finally:
        _end(child)


def _leave(signum: int, frame: object) -> None:
    sys.exit(128 + signum)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    print(f"launch: the engine ends (exit status {child.poll()})", file=sys.stderr, flush=True)
    child.terminate()
    try:
        child.wait(GRACE)
    finally:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
