"""Waiting for what other processes do, for tests of processes."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from selftaught.serving.engines.sessions import Process


def outage(quick: float) -> float:
    """How long a server is away (s): `quick`, or what SELFTAUGHT_TEST_OUTAGE says (60 takes half an hour in all)."""
    return float(os.environ.get("SELFTAUGHT_TEST_OUTAGE", quick))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether `condition` comes true within `seconds`, which is how long a busy machine may stand still."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    """Whether `pid` is a live process (a zombie is not)."""
    try:
        return Process.of(pid).alive
    except ProcessLookupError:
        return False


def end(pid: int) -> None:
    """Kill `pid`, unless it has just ended on its own."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def parent(pid: int) -> int:
    """The pid of the process that `pid` is a child of."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
