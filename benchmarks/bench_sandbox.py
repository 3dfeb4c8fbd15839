"""Programs a second in the process sandbox, beside a fresh `python -I -S` for each, with the machine's load.

Each program makes ten calls of a small function and returns their values. Prints programs a second, the processor time
that each took, and the ratio to the baseline. Usage: `python benchmarks/bench_sandbox.py [--programs 400]`.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable

from selftaught.sandbox.calls import Returned, answers, calling
from selftaught.sandbox.process import ProcessSandbox

SOURCE = "def f(xs):\n    return sorted(x * x for x in xs if x % 2)\n"
CALLS = [([*range(n)],) for n in range(10)]
PLAIN = SOURCE + f"for (xs,) in {CALLS}: print(f(xs))"
EXPECTED = [Returned(sorted(x * x for x in xs if x % 2)) for (xs,) in CALLS]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    asyncio.run(measure(options.programs, options.workers))


async def measure(programs: int, workers: int) -> None:
    """Both, in turns, twice: the machine may be others' as well."""
    print(f"{workers} workers, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    async with ProcessSandbox(workers) as sandbox:
        for _ in range(2):
            ours = await timed(sandboxed(sandbox, programs))
            theirs = await timed(asyncio.to_thread(plain, programs // 10, workers)) * 10
            print(f"sandbox {programs / ours:.0f} programs/s; fresh interpreters {programs / theirs:.0f}/s; "
                  f"{theirs / ours:.1f} x as many; load {os.getloadavg()[0]:.1f}")  # fmt: skip


async def timed(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def sandboxed(sandbox: ProcessSandbox, programs: int) -> None:
    """Run them, and see that each was right."""
    began = time.process_time()
    outcomes = await sandbox.run_all(calling(SOURCE, "f", CALLS) for _ in range(programs))
    assert all(answers(outcome, len(CALLS)) == EXPECTED for outcome in outcomes)
    theirs, ours = sum(outcome.cpu_s for outcome in outcomes), time.process_time() - began
    print(
        f"  ms of processor time a program: {1000 * theirs / programs:.1f} its own, {1000 * ours / programs:.1f} here"
    )


def plain(programs: int, workers: int) -> None:
    """The baseline holds nothing: an interpreter for each program, as many at once."""
    for start in range(0, programs, workers):
        command = [sys.executable, "-I", "-S", "-c", PLAIN]
        going = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(start, min(programs, start + workers))
        ]
        assert not any(process.wait() for process in going)


if __name__ == "__main__":
    main()
