"""A worker process for long computations, so that the event loop is not blocked.

A thread would not do: threads share the interpreter's lock, which a regular expression keeps until it has ended. There
is one worker, started when it is first asked and again after it has died. It does one thing at a time, in its main
thread, where signals can limit it, and ends with this process. It is asked for functions that can be imported, on
arguments that can be pickled; what functions keep between calls, the worker keeps. It is no sandbox: it may do whatever
this process may. Linux only.
"""

import asyncio
import atexit
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar, TypeVarTuple, cast

from selftaught.core.computing_time import CALL_S, left, share, spend
from selftaught.core.processes import die_with_parent
from selftaught.core.validation import described

T = TypeVar("T")
Args = TypeVarTuple("Args")

# The path is this process's before anything is imported from it.
_MAIN = "import sys; sys.path[:] = sys.argv[2:]; from selftaught.core.worker import main; main(int(sys.argv[1]))"
_WAITS = ThreadPoolExecutor(1, thread_name_prefix="worker")
"""The one thread that starts the worker and waits for it. It lasts as long as this process: the kernel ends a child
with the thread that started it."""


class WorkerDied(Exception):
    """The worker ended before it had answered: it crashed, was killed, or ended itself."""


async def in_worker(function: Callable[[*Args], T], *args: *Args) -> T:
    """What `function` gives or raises in the worker; its comparisons take of the shares of computing time around this.

    Raises WorkerDied. Who stops waiting does not stop the worker.
    """
    loop = asyncio.get_running_loop()
    try:
        spent, succeeded, result = await loop.run_in_executor(_WAITS, _answer, left(), function, *args)
    except WorkerDied:
        spend(CALL_S)
        raise
    spend(spent)
    if not succeeded:
        raise cast(BaseException, result)
    return cast(T, result)


class _Worker:
    """A started worker, and this end of what connects the two."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-c", _MAIN, str(theirs.fileno()), *sys.path]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        self._channel = Connection(ours.detach())

    def ask(self, work: bytes) -> bytes:
        """Raises OSError or EOFError when it has ended."""
        self._channel.send_bytes(work)
        return self._channel.recv_bytes()

    def close(self) -> int:
        """End it, if it has not ended; returns its exit status, negative for a signal."""
        self._channel.close()
        self._process.kill()
        return self._process.wait()


_started: list[_Worker] = []


def _answer(*work: Any) -> tuple[float, bool, Any]:
    # One by one: pickling keeps the interpreter's lock, and a group of rollouts has hundreds of thousands of numbers.
    asked = pickle.dumps([pickle.dumps(each) for each in work])
    if not _started:
        _started.append(_Worker())
    try:
        return pickle.loads(_started[0].ask(asked))  # noqa: S301 (of a process of one's own)
    except (OSError, EOFError):
        raise WorkerDied(f"its process ended with status {_started.pop().close()}") from None


@atexit.register
def _end() -> None:
    while _started:
        _started.pop().close()


# In the worker ---------------------------------------------------------------------------------------------------


def main(channel: int) -> None:
    """Answer one question after the other, until nobody can ask any more."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches it too, and nobody wants its traceback
    with Connection(channel) as asking, suppress(EOFError, ConnectionError):
        while True:
            asking.send_bytes(_answered(asking.recv_bytes()))


def _answered(work: bytes) -> bytes:
    try:
        seconds, function, *args = map(pickle.loads, pickle.loads(work))  # noqa: S301 (of who started this process)
        return pickle.dumps(_spending(seconds, function, args))
    except Exception as error:  # noqa: BLE001 (it is raised where it was asked for)
        return pickle.dumps((0.0, False, _portable(error)))


def _spending(seconds: float, function: Callable[..., Any], args: list[Any]) -> tuple[float, bool, Any]:
    """The seconds that comparisons took, of `seconds`; whether `function` succeeded; what it gave or raised."""
    with share(seconds) as mine:
        try:
            succeeded, result = True, function(*args)
        except Exception as error:  # noqa: BLE001 (it is raised where it was asked for)
            succeeded, result = False, _portable(error)
    return mine.spent, succeeded, result


def _portable(error: Exception) -> Exception:
    """`error`, or its words where it cannot be pickled, or not be read again."""
    try:
        return cast(Exception, pickle.loads(pickle.dumps(error)))  # noqa: S301 (just made)
    except Exception:  # noqa: BLE001 (an exception of others may do anything)
        return RuntimeError(described(error))
