"""A worker: a clean interpreter that forks a process for each program and says how it ended.

It is the first process of its process namespace, so what a program leaves behind ends with it, and no program can
signal or trace it. Each program gets an empty folder in memory of its own. Requests and answers are lines of JSON on a
socket that no program has. Nothing is imported here but the standard library. `python -m` is not how it is started:
`selftaught.sandbox.process` does that.
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

from selftaught.sandbox import isolation, kernel
from selftaught.sandbox.syscalls import program_filter

READY = {"ready": True}
_STDIN, _STDOUT, _STDERR = range(3)
_FILE = "program.py"
_OTHERS = 2
"""Processes of a worker that the kernel counts among those of a program."""
_THREADS = 32
"""Threads that a program of one process may have."""
_STACK, _FILES = 8 << 20, 64
_READ = 1 << 16
_COMMON = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("heapq", "io", "itertools", "math", "operator", "random", "re", "statistics", "string", "typing"),
)


def main(descriptor: int) -> None:
    """Answer requests on the socket `descriptor` until its other end is closed; in a fork, be the program."""
    control = socket.socket(fileno=descriptor)
    try:
        isolation.enter()
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
    program = _serve(control, filters)
    program()


def _serve(control: socket.socket, filters: list[bytes]) -> Callable[[], None]:
    """Returns in the fork that is to be a program, with what runs it."""
    with control.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            pipes = [os.pipe() for _ in range(3)]
            stdin = _sealed(base64.b64decode(request["stdin"]))
            began = time.monotonic()
            if (pid := os.fork()) == 0:
                control.detach()  # its descriptor is closed below, and its number will be the program's
                return _prepared(request, [stdin, *(write for _, write in pipes)], filters)
            os.close(stdin)
            for _, write in pipes:
                os.close(write)
            answer = _watch(pid, [read for read, _ in pipes], request["limits"], control)
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


def _watch(pid: int, outputs: list[int], limits: dict[str, Any], control: socket.socket) -> dict[str, Any]:
    """Let `pid` run until it ends or has to, end all that it started, and say how it went."""
    ended = os.pidfd_open(pid)
    received = {descriptor: bytearray() for descriptor in outputs}
    why = _follow(ended, received, limits, control)
    _kill_all()
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
    if why is None and any(len(text) > limits["output"] for text in received.values()):
        why = "output"
    return {
        "ended": why or ("signalled" if code < 0 else "exited"),
        "exit": code if code >= 0 else None,
        "signal": -code if code < 0 else None,
        "cpu_s": cpu_s,
        "outputs": [base64.b64encode(text[: limits["output"]]).decode() for text in received.values()],
    }


def _follow(ended: int, received: dict[int, bytearray], limits: dict[str, Any], control: socket.socket) -> str | None:
    """Read what the program writes until it ends; why it has to, where it does not on its own."""
    deadline = time.monotonic() + limits["wall_s"]
    poll = select.poll()
    poll.register(control, select.POLLRDHUP)
    for descriptor in (ended, *received):
        os.set_blocking(descriptor, False) if descriptor in received else None
        poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(math.ceil(left * 1000)):
            if descriptor == control.fileno():
                os._exit(0)  # nobody is left to report to, and all ends with this process
            if descriptor == ended:
                return None
            if not _take(descriptor, received[descriptor]):
                poll.unregister(descriptor)
            if len(received[descriptor]) > limits["output"]:
                return "output"
    return "wall"


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


def _kill_all() -> None:
    """End every process of the namespace but this one, at one stroke: none can fork in between."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def _reap() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


# The program ----------------------------------------------------------------------------------------------------------


def _prepared(request: dict[str, Any], descriptors: list[int], filters: list[bytes]) -> Callable[[], None]:
    """Give up, for good, all that a worker has and a program has not."""
    limits = request["limits"]
    os.setsid()
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(
        "work",
        isolation.WORK,
        "tmpfs",
        kernel.MS_NOSUID | kernel.MS_NODEV,
        f"mode=700,size={limits['disk']},nr_inodes=4096",
    )
    os.chdir(isolation.WORK)
    files = {name: base64.b64decode(data) for name, data in request["files"].items()}
    for name, data in {**files, _FILE: request["source"].encode("utf-8", "surrogateescape")}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)
    for there, here in enumerate([os.dup2(each, 100 + at) for at, each in enumerate(descriptors)]):
        os.dup2(here, there)
    os.closerange(len(descriptors), os.sysconf("SC_OPEN_MAX"))
    _limit(limits)
    kernel.set_capabilities(0)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.set_filter(filters[int(limits["processes"] > 1)])
    return lambda: _run(request["source"], request["args"])


def _limit(limits: dict[str, Any]) -> None:
    processes = limits["processes"]
    for which, most in (
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NPROC, _OTHERS + (processes if processes > 1 else _THREADS)),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_STACK, _STACK),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = most + 1 if which == resource.RLIMIT_CPU else most
        resource.setrlimit(which, (most, hard))


def _run(source: str, args: list[str]) -> None:
    """Be `python program.py`, as far as a program sees."""
    gc.enable()
    os.environ.clear()
    os.environ.update(HOME=isolation.WORK, TMPDIR=isolation.WORK, LANG="C.UTF-8", PYTHONHASHSEED="0")
    sys.argv = [_FILE, *args]
    sys.path.insert(0, isolation.WORK)
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
