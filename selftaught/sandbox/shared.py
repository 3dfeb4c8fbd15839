"""The sandbox of this process: one for whoever runs programs here, from any event loop.

It lives in a thread with an event loop of its own, is started when a program is first run, and ends with the process.
Programs run in a pool of workers of this machine (`selftaught.sandbox.process`), or in the pods of the sandbox server
that the settings name (`remote`). It is none of a fork's: a process that runs programs does not fork afterwards.
"""

import asyncio
import atexit
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait

from selftaught.sandbox.process import ProcessSandbox
from selftaught.sandbox.protocol import Outcome, Program, Sandbox, SandboxFailed
from selftaught.sandbox.remote import RemoteSandbox
from selftaught.settings import Settings

_ENDED_WITHIN_S = 5.0
_LOCK = threading.Lock()
_loops: list[asyncio.AbstractEventLoop] = []
_started: list[asyncio.Task[ProcessSandbox | RemoteSandbox]] = []
"""The sandbox, or its start that is under way: read and changed in the thread of its loop alone."""


async def run_all(programs: Sequence[Program]) -> list[Outcome | SandboxFailed]:
    """Run each of `programs`; for each in order its outcome, or how the sandbox failed that should have run it.

    As many run at once as there are cores, or as the pods have workers. Who stops waiting ends the programs. Raises
    SandboxRefused where this machine cannot hold programs.
    """
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_all(programs), _loop()))


async def outcomes(sources: Iterable[str], program: Callable[[str], Program]) -> dict[str, Outcome | SandboxFailed]:
    """What became of the `program` made of each of `sources`; equal ones run once. Raises as `run_all`."""
    distinct = list(dict.fromkeys(sources))
    return dict(zip(distinct, await run_all(list(map(program, distinct))), strict=True))


def _loop() -> asyncio.AbstractEventLoop:
    with _LOCK:
        if not _loops:
            _loops.append(asyncio.new_event_loop())
            threading.Thread(target=_loops[0].run_forever, name="sandbox", daemon=True).start()
        return _loops[0]


async def _all(programs: Sequence[Program]) -> list[Outcome | SandboxFailed]:
    sandbox = await _sandbox()
    return list(await asyncio.gather(*(_outcome(sandbox, program) for program in programs)))


async def _sandbox() -> Sandbox:
    if not _started:
        _started.append(asyncio.ensure_future(_opened()))
    start = _started[0]
    try:
        return await asyncio.shield(start)  # others wait for it too
    finally:
        if start.done() and start.exception() and start in _started:
            _started.remove(start)


async def _opened() -> ProcessSandbox | RemoteSandbox:
    settings = Settings.load()
    chosen = RemoteSandbox(settings.sandbox_url, settings.patience) if settings.sandbox_url else ProcessSandbox()
    return await chosen.__aenter__()


async def _outcome(sandbox: Sandbox, program: Program) -> Outcome | SandboxFailed:
    try:
        return await sandbox.run(program)
    except SandboxFailed as error:
        return error


@atexit.register
def _end() -> None:
    if _loops:
        wait([asyncio.run_coroutine_threadsafe(_end_workers(), _loops[0])], _ENDED_WITHIN_S)


async def _end_workers() -> None:
    for start in _started:
        await (await start).__aexit__()
