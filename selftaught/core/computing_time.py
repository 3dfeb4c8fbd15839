"""Limits of sympy's CPU time per comparison, per answer and per step, and of its memory.

Seconds are of this process's own computing, so that a busy machine changes no verdict. A stopped comparison is a fact
about the answer (too much to compare), not a failure of the step. Memory has a limit of its own because one
multiplication of numbers with a billion digits is a single call, which no signal stops. The limits hold in the main
thread only, where a signal can stop sympy: verifiers run in that of a worker (`selftaught.core.worker`), which is given
what is left of the shares here. Garbage is collected between comparisons: a collection looks at all that the process
has, which takes seconds in a large one, and they would be the answer's.
"""

import gc
import math
import resource
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

CALL_S, ANSWER_S = 2.0, 4.0
"""At most for one comparison, and for all comparisons of one answer."""
STEP_S, ROLLOUT_S = 60.0, 0.1
"""A step has this, and so much more a rollout; an ordinary formula takes a tenth of it."""
ROOM = 1 << 30
"""Bytes that a comparison may take beyond what the process has."""
LEAST_S = 0.1
"""What a comparison has when step or answer have used their share: enough for an ordinary formula."""


class TooSlow(BaseException):
    """The time is up. No Exception: sympy and math-verify catch all of those and continue."""


@dataclass(slots=True)
class Share:
    """Seconds that several comparisons share, and what they have spent of them."""

    seconds: float
    spent: float = 0.0

    @property
    def left(self) -> float:
        """Seconds that are left; none when less than 0."""
        return self.seconds - self.spent


_SHARES: ContextVar[tuple[Share, ...]] = ContextVar("shares", default=())


@contextmanager
def share(seconds: float) -> Generator[Share]:
    """What is compared inside has `seconds` in all, and of each share around it no more than what is left."""
    own = Share(seconds)
    token = _SHARES.set((*_SHARES.get(), own))
    try:
        yield own
    finally:
        _SHARES.reset(token)


def left() -> float:
    """Seconds that are left of the shares around this; infinity where there is none."""
    return min((each.left for each in _SHARES.get()), default=math.inf)


def spend(seconds: float) -> None:
    """Take `seconds` of every share around this."""
    for each in _SHARES.get():
        each.spent += seconds


@contextmanager
def limited() -> Generator[None]:
    """Raises TooSlow inside when a comparison has taken `CALL_S` or `ROOM`, or what is left of the shares around it."""
    began = time.process_time()
    try:
        with _uncollected(), _alarm(max(LEAST_S, min(CALL_S, left()))), _room():
            yield
    finally:
        spend(time.process_time() - began)


@contextmanager
def _uncollected() -> Generator[None]:
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _alarm(seconds: float) -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _ring)
    # Again every tenth of a second: a bare except may swallow the first.
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def _room() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    used = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (used if before == resource.RLIM_INFINITY else min(used, before), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))


def _ring(number: int, frame: FrameType | None) -> None:
    raise TooSlow
