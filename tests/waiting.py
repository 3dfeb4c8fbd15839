"""Waiting for what other processes do, for tests of processes."""

import time
from collections.abc import Callable

from selftaught.serving.processes import Process


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether `condition` comes true within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def running(pid: int) -> bool:
    """Whether `pid` is a live process (a zombie is not)."""
    try:
        return Process.of(pid).alive
    except ProcessLookupError:
        return False
