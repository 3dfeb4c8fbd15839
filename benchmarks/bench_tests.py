"""Programs a second that the verifier `tests` judges, and how long it keeps an event loop from continuing meanwhile.

Groups of eight different programs with twelve cases each, as many groups in flight as a step has. A task that does
nothing but tick runs beside them; a pause is the processor time of its thread between two ticks. The baseline is a
fresh `python -I -S` for each program, as many at once as there are cores. Prints programs a second, the longest pause
(ms) and the machine's load. Usage: `python benchmarks/bench_tests.py [--groups 50]`.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress

from selftaught.blocks import Context
from selftaught.records import Group, Message, Rollout, Task, Turn
from selftaught.verification.runner import IN_FLIGHT
from selftaught.verification.unit_tests import UnitTests

SAMPLES, CASES = 8, 12
SOURCE = "def solve(xs):\n    kept = [x for x in xs if x % 2 == 0]\n    return sorted(x * x for x in kept)  # {}\n"


def main() -> None:
    """Measure and print, twice: the machine may be others' as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--groups", type=int, default=50)
    groups = [group(number) for number in range(parser.parse_args().groups)]
    for _ in range(2):
        asyncio.run(measured(groups))
    print(f"fresh interpreters: {baseline(len(groups)):.0f} programs/s; load {os.getloadavg()[0]:.1f}")


def group(number: int) -> Group:
    """Right programs, each a text of its own."""
    hidden = [[[[*range(n)]], [x * x for x in range(0, n, 2)]] for n in range(CASES)]
    check = {"type": "tests", "entry": "solve", "hidden": hidden}
    task = Task(messages=(Message(role="user", content=f"Which? {number}"),), source="bench", check=check)  # pyright: ignore[reportArgumentType]
    rollouts = (
        Rollout(task=task.id, index=at, model="m", turns=(Turn(content=SOURCE.format(at)),), temperature=1.0)
        for at in range(SAMPLES)
    )
    return Group(task=task, rollouts=tuple(rollouts))


async def measured(groups: list[Group]) -> None:
    """Judge them all, `IN_FLIGHT` at once."""
    await UnitTests().judge(groups[0], Context())  # which starts the sandbox
    free, pauses = asyncio.Semaphore(IN_FLIGHT), list[float]()
    ticking = asyncio.create_task(tick(pauses))
    began = time.monotonic()
    said = await asyncio.gather(*(judged(each, free) for each in groups))
    took = time.monotonic() - began
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    assert all(said)
    programs = len(groups) * SAMPLES
    print(f"tests: {programs / took:.0f} programs/s; longest pause {1e3 * max(pauses):.1f} ms; "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip


async def judged(group: Group, free: asyncio.Semaphore) -> bool:
    async with free:
        return all(verdict.passed for verdict in await UnitTests().judge(group, Context()))


async def tick(pauses: list[float]) -> None:
    while True:
        began = time.thread_time()
        await asyncio.sleep(0)
        pauses.append(time.thread_time() - began)
        await asyncio.sleep(0.005)


def baseline(programs: int) -> float:
    """Programs a second of interpreters that hold nothing, and check nothing."""
    began, workers = time.monotonic(), len(os.sched_getaffinity(0))
    for start in range(0, programs, workers):
        command = [sys.executable, "-I", "-S", "-c", SOURCE.format(0)]
        going = [subprocess.Popen(command) for _ in range(start, min(programs, start + workers))]
        assert not any(process.wait() for process in going)
    return programs / (time.monotonic() - began)


if __name__ == "__main__":
    main()
