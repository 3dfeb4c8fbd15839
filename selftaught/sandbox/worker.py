"""A worker: a clean interpreter that forks a process for each program and says how it ended.

What a program leaves behind ends with it, and no program can signal or trace its worker; how that is held, and where
each program's empty folder is, a `Hold` says: `isolation` or `confinement`. Requests and answers are lines of JSON on a
socket that no program has. Nothing is imported here but the standard library. `python -m` is not how it is started:
`selftaught.sandbox.pool` does that.
"""

import atexit
import base64
import builtins
import fcntl
import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, cast

from selftaught.sandbox import kernel
from selftaught.sandbox.confinement import Confinement
from selftaught.sandbox.hold import Hold
from selftaught.sandbox.isolation import Namespaces
from selftaught.sandbox.syscalls import program_filter

READY = {"ready": True}
HOLDS: dict[str, Callable[..., Hold]] = {"namespaces": Namespaces, "confinement": Confinement}
_STDIN, _STDOUT, _STDERR = range(3)
_FILE = "program.py"
_STACK, _FILES = 8 << 20, 64
_READ = 1 << 16
_COMMON = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("heapq", "io", "itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
)


def main(descriptor: int, kind: str, *options: str) -> None:
    """Answer requests on the socket `descriptor` until its other end is closed; in a fork, be the program.

    Programs are held as `HOLDS` has it for `kind` and its `options`.
    """
    control, hold = socket.socket(fileno=descriptor), HOLDS[kind](*options)
    try:
        hold.enter()
    except OSError as error:
        control.sendall(_line({"refused": str(error.strerror)}))
        os._exit(0)
    for number in range(1, signal.NSIG):
        if signal.getsignal(number) is not None and number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    filters = [program_filter(kernel.MACHINE, forks) for forks in (False, True)]
    _preload()
    gc.collect()
    gc.freeze()
    control.sendall(_line(READY))
    program = _serve(control, hold, filters)
    program()


def _serve(control: socket.socket, hold: Hold, filters: list[bytes]) -> Callable[[], None]:
    """Returns in the fork that is to be a program, with what runs it."""
    with control.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            kept = hold.make_room()
            pipes = [os.pipe() for _ in range(3)]
            stdin = _sealed(base64.b64decode(request["stdin"]))
            began = time.monotonic()
            if (pid := os.fork()) == 0:
                control.detach()  # its descriptor is closed below, and its number will be the program's
                return _prepared(request, hold, [stdin, *(write for _, write in pipes)], kept, filters)
            os.close(stdin)
            for _, write in pipes:
                os.close(write)
            hold.attend(pid)
            answer = _watch(pid, [read for read, _ in pipes], request["limits"], hold, control)
            hold.clear()
            control.sendall(_line({**answer, "wall_s": time.monotonic() - began}))
    os._exit(0)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _sealed(data: bytes) -> int:
    """A descriptor to read `data` from, which cannot be changed."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(
        descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    )
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# Watching -------------------------------------------------------------------------------------------------------------


def _watch(pid: int, outputs: list[int], limits: dict[str, Any], hold: Hold, control: socket.socket) -> dict[str, Any]:
    """Let `pid` run until it ends or has to, end all that it started, and say how it went."""
    ended = os.pidfd_open(pid)
    received = {descriptor: bytearray() for descriptor in outputs}
    for descriptor in outputs:
        os.set_blocking(descriptor, False)
    why = _follow(ended, received, limits, hold, control)
    hold.end_program()
    _, status, used = os.wait4(pid, 0)
    _reap()
    os.close(ended)
    for descriptor, text in received.items():
        _drain(descriptor, text, limits["output"])
        os.close(descriptor)
    code, cpu_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
    # The limit is counted in ticks, so its signal may come a little early by what was used.
    if why is None and (-code == signal.SIGXCPU or (-code == signal.SIGKILL and cpu_s >= limits["cpu_s"])):
        why = "cpu"
    why = why or _too_much(received, hold, limits)
    return {
        "ended": why or ("signalled" if code < 0 else "exited"),
        "exit": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "cpu_s": cpu_s,
        "outputs": [base64.b64encode(text[: limits["output"]]).decode() for text in received.values()],
    }


def _follow(
    ended: int, received: dict[int, bytearray], limits: dict[str, Any], hold: Hold, control: socket.socket
) -> str | None:
    """Read what the program writes until it ends; why it has to, where it does not on its own."""
    deadline = time.monotonic() + limits["wall_s"]
    poll = select.poll()
    poll.register(control, select.POLLRDHUP)
    for descriptor in (ended, *received, *hold.asked):
        poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        for descriptor, event in poll.poll(math.ceil(min(left, hold.look_every_s) * 1000)):
            if descriptor == control.fileno():  # nobody is left to report to
                hold.end_program()
                os._exit(0)
            if descriptor == ended:
                return None
            text = received.get(descriptor)
            if not (_answered(event, hold, limits) if text is None else _take(descriptor, text)):
                poll.unregister(descriptor)
        if why := _too_much(received, hold, limits):
            return why
    return "wall"


def _too_much(received: dict[int, bytearray], hold: Hold, limits: dict[str, Any]) -> str | None:
    if any(len(text) > limits["output"] for text in received.values()):
        return "output"
    return "disk" if hold.exceeded(limits) else None


def _answered(event: int, hold: Hold, limits: dict[str, Any]) -> bool:
    """Answer what the kernel asks about the program; false where there is nobody left to ask about."""
    if not event & select.POLLIN:
        return False
    hold.answer(limits)
    return True


def _take(descriptor: int, text: bytearray) -> bool:
    """Add what can be read now; false at the end."""
    try:
        read = os.read(descriptor, _READ)
    except BlockingIOError:
        return False
    text += read
    return bool(read)


def _drain(descriptor: int, text: bytearray, most: int) -> None:
    while len(text) <= most and _take(descriptor, text):
        pass


def _reap() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


# The program ----------------------------------------------------------------------------------------------------------


def _prepared(
    request: dict[str, Any], hold: Hold, descriptors: list[int], kept: list[int], filters: list[bytes]
) -> Callable[[], None]:
    """Give up, for good, all that a worker has and a program has not."""
    limits = request["limits"]
    os.setsid()
    hold.furnish(limits)
    files = {name: base64.b64decode(data) for name, data in request["files"].items()}
    for name, data in {**files, _FILE: request["source"].encode("utf-8", "surrogateescape")}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    there = [*descriptors, *kept]
    for at, here in enumerate([os.dup2(each, 100 + at) for at, each in enumerate(there)]):
        os.dup2(here, at)
    os.closerange(len(there), os.sysconf("SC_OPEN_MAX"))
    _limit(limits)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    hold.close(limits, list(range(len(descriptors), len(there))))
    kernel.set_filter(filters[int(limits["processes"] > 1)])
    return lambda: _run(request["source"], request["args"], hold.folder)


def _limit(limits: dict[str, Any]) -> None:
    for which, most in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_STACK, _STACK),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = most + 1 if which == resource.RLIMIT_CPU else most
        resource.setrlimit(which, (most, hard))


def _run(source: str, args: list[str], folder: str) -> None:
    """Be `python program.py`, as far as a program sees."""
    gc.enable()
    os.environ.clear()
    os.environ.update(HOME=folder, TMPDIR=folder, LANG="C.UTF-8", PYTHONHASHSEED="0")
    sys.argv = [_FILE, *args]
    sys.path.insert(0, folder)
    for name in [name for name in sys.modules if name.startswith("selftaught")]:
        del sys.modules[name]
    sys.stdin = sys.__stdin__ = os.fdopen(_STDIN, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(_STDOUT, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(_STDERR, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=_FILE, __builtins__=builtins)
    sys.modules["__main__"] = main
    _end(_status(lambda: exec(compile(source, _FILE, "exec", dont_inherit=True), main.__dict__)))  # noqa: S102 - for this


def _status(run: Callable[[], None]) -> int:
    """The exit status of a program, what it raised shown as Python shows it."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:  # noqa: BLE001 - the program's
        own = error.__traceback__ and error.__traceback__.tb_next and error.__traceback__.tb_next.tb_next
        traceback.print_exception(error.with_traceback(own))
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """What Python does at its end but for tearing itself down, as `multiprocessing` ends its processes."""
    cast(Any, threading)._shutdown()
    cast(Any, atexit)._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # whatever the program has put there
            stream.flush()
    os._exit(status)


def _preload() -> None:
    """What many programs import, for once instead of in each."""
    for name in _COMMON:
        importlib.import_module(name)
