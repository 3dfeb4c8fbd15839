"""The worker: another process, whose faults are reported here, and which does not keep this one's loop waiting."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selftaught.core.computing_time import CALL_S, limited, share
from selftaught.core.errors import Unavailable
from selftaught.core.worker import WorkerDied, in_worker
from tests.waiting import until


class Odd(Exception):
    """One that pickles and cannot be read again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def odd() -> None:
    raise Odd("this", "that")


def unavailable() -> None:
    raise Unavailable("http://judge: connection refused")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def compare(seconds: float) -> None:
    with limited():
        begin = time.process_time()
        while time.process_time() - begin < seconds:
            pass


def wait_for(path: Path) -> bool:
    while not path.exists():
        time.sleep(0.01)
    return True


async def test_it_is_another_process_and_stays_the_same_one() -> None:
    one, two = await in_worker(os.getpid), await in_worker(os.getpid)
    assert one == two != os.getpid()


def test_one_worker_serves_one_event_loop_after_the_other() -> None:
    assert asyncio.run(in_worker(os.getpid)) == asyncio.run(in_worker(os.getpid))


async def test_the_loop_goes_on_while_it_works(tmp_path: Path) -> None:
    """What is waited for here comes from the loop itself: blocked, it would wait for ever."""
    waiting = asyncio.ensure_future(in_worker(wait_for, tmp_path / "there"))
    await asyncio.sleep(0.05)
    (tmp_path / "there").touch()
    async with asyncio.timeout(30):
        assert await waiting


async def test_what_it_raises_is_raised_here() -> None:
    with pytest.raises(Unavailable, match="connection refused"):
        await in_worker(unavailable)
    with pytest.raises(RuntimeError, match="Odd: this and that"):
        await in_worker(odd)
    with pytest.raises(TypeError, match="positional argument"):
        await in_worker(compare)  # pyright: ignore[reportCallIssue]


async def test_one_that_dies_is_told_and_replaced() -> None:
    before = await in_worker(os.getpid)
    with pytest.raises(WorkerDied, match="status -9"):
        await in_worker(die)
    assert await in_worker(os.getpid) != before


async def test_comparisons_there_take_of_the_shares_here() -> None:
    with share(10) as step:
        await in_worker(compare, 0.05)
        assert 0.05 <= step.spent < 5
        before = step.spent
        with pytest.raises(WorkerDied):
            await in_worker(die)
        assert step.spent == before + CALL_S


ORPHAN = """
import asyncio, os, sys
from selftaught.core.worker import in_worker
print(asyncio.run(in_worker(os.getpid)), flush=True)
{ending}
"""


@pytest.mark.parametrize("ending", ["", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_it_ends_with_its_parent(ending: str) -> None:
    ended = subprocess.run([sys.executable, "-c", ORPHAN.format(ending=ending)], capture_output=True, check=False)
    assert not ended.stderr
    worker = Path("/proc") / ended.stdout.decode().strip()
    until(lambda: not worker.exists() or "zombie" in (worker / "status").read_text())
