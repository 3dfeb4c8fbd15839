"""A sandbox on this machine, and users to ask it as: whoever runs the tests, and nobody where that is root."""

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from selftaught.sandbox.process import ProcessSandbox, refusal
from selftaught.sandbox.protocol import Limits, Outcome, Program

Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def _held() -> None:
    """Skips by name where the kernel gives this user no namespaces; nothing can be asked there."""
    if said := refusal():
        pytest.skip(said)


@pytest.fixture(scope="module")
def runner(_held: None) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def sandbox(runner: asyncio.Runner) -> Iterator[ProcessSandbox]:
    """One worker for all tests of a module: what one program leaves behind, the next one would meet."""
    sandbox = ProcessSandbox(workers=1)
    runner.run(sandbox.__aenter__())
    yield sandbox
    runner.run(sandbox.__aexit__(None, None, None))


@pytest.fixture
def run(runner: asyncio.Runner, sandbox: ProcessSandbox) -> Iterator[Run]:
    """Run a program with some limits; afterwards an honest program has to run as on the first day."""

    def run(source: str, **options: object) -> Outcome:
        options.setdefault("wall_s", 300.0)  # a program that computes is to meet its own limit on a busy machine, too
        limits = {name: options.pop(name) for name in Limits.__slots__ if name in options}
        return runner.run(sandbox.run(Program(source, limits=Limits(**limits), **options)))  # pyright: ignore[reportArgumentType]

    yield run
    honest = run("import os\nprint(sum(range(10)), os.listdir('.'), os.getpriority(0, 0))")
    expected = f"45 ['program.py'] {os.getpriority(os.PRIO_PROCESS, 0)}\n"
    assert (honest.stdout.decode(), honest.stderr) == (expected, b"")
