"""The sandbox's two runners: processes of this machine, and a pod's server; each asked the same.

The server is a process of an ordinary user under what Pod Security `restricted` and the runtime's default seccomp
profile leave (`pod.py`); in a cluster's own pod tests/cluster/test_sandbox.py has it.
"""

import asyncio
import os
from collections.abc import Callable, Iterator

import pytest

from selftaught.sandbox.process import ProcessSandbox, refusal
from selftaught.sandbox.protocol import Limits, Outcome, Program
from selftaught.sandbox.remote import RemoteSandbox

from .pod import Pod, pod_like

Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def _held() -> None:
    """Skips by name where the kernel gives this user no namespaces; nothing can be asked there."""
    if said := refusal():
        pytest.skip(said)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def pod() -> Iterator[Pod]:
    """A server with one worker for all tests: what one program leaves behind, the next one would meet."""
    with pod_like(workers=1) as pod:
        yield pod


@pytest.fixture(scope="module", params=["process", "pod"])
def where(request: pytest.FixtureRequest) -> str:
    """Which runner: a test that takes it says what differs."""
    return request.param


@pytest.fixture(scope="module")
def sandbox(
    where: str, request: pytest.FixtureRequest, runner: asyncio.Runner
) -> Iterator[ProcessSandbox | RemoteSandbox]:
    """One worker for all tests of a module."""
    if where == "process":
        request.getfixturevalue("_held")
        sandbox = ProcessSandbox(workers=1)
    else:
        sandbox = RemoteSandbox(request.getfixturevalue("pod").url)
    runner.run(sandbox.__aenter__())
    yield sandbox
    runner.run(sandbox.__aexit__(None, None, None))


@pytest.fixture
def user(where: str) -> int:
    """Whom a program is run as."""
    return 65534 if where == "process" or not os.geteuid() else os.geteuid()


@pytest.fixture
def run(where: str, runner: asyncio.Runner, sandbox: ProcessSandbox | RemoteSandbox) -> Iterator[Run]:
    """Run a program with some limits; afterwards an honest program has to run as on the first day."""

    def run(source: str, **options: object) -> Outcome:
        options.setdefault("wall_s", 300.0)  # a program that computes is to meet its own limit on a busy machine, too
        limits = {name: options.pop(name) for name in Limits.__slots__ if name in options}
        return runner.run(sandbox.run(Program(source, limits=Limits(**limits), **options)))  # pyright: ignore[reportArgumentType]

    yield run
    honest = run("import os\nprint(sum(range(10)), os.listdir('.'), os.getpriority(0, 0))")
    expected = f"45 ['program.py'] {os.getpriority(os.PRIO_PROCESS, 0)}\n"
    assert (honest.stdout.decode(), honest.stderr) == (expected, b"")
