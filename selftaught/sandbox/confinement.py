"""What an unprivileged process may put on itself in a pod: how a worker holds a program that has no namespaces.

Files are held by Landlock; system calls by the filter of every sandbox and one more (`syscalls.confined_filter`), which
knows that other processes of the same user are in sight: signals reach the program's own alone, and the worker is asked
before each new process or thread, because the kernel counts those of a user on the whole machine. Disk is a volume of
its own, whose use the worker looks at. The outer boundary is the pod: its network policy, its read-only root, its lack
of a token. docs/security.md has what is held and what is not. Standard library alone.
"""

import errno
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from selftaught.sandbox import kernel, landlock
from selftaught.sandbox.family import descendants, end_descendants, process
from selftaught.sandbox.hold import most_tasks
from selftaught.sandbox.isolation import DEVICES, LIBRARIES
from selftaught.sandbox.syscalls import MAKES_TASKS, confined_filter

_NAMES = 4096
"""Files and folders that a program may have, as in the other sandbox."""


class Confinement:
    """Programs in new folders below `scratch`, which nobody else writes to. See `Hold`."""

    look_every_s = 0.02

    def __init__(self, scratch: str) -> None:
        self.folder = self._scratch = scratch
        self.asked: Sequence[int] = []
        self._program, self._alone = 0, True
        self._landlock = 0
        self._free = (0, 0)
        self._news: tuple[socket.socket, socket.socket] | None = None

    def enter(self) -> None:
        if not os.geteuid():
            raise OSError(errno.EPERM, "a worker without namespaces must not be root")
        kernel.seccomp_asks()
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        self._landlock = landlock.version()

    def make_room(self) -> list[int]:
        """The folder's name cannot be guessed: a program next door may change the mode of what it can name."""
        self.clear()
        self.folder = f"{self._scratch}/{secrets.token_hex(16)}"
        Path(self.folder).mkdir(mode=0o700)
        self._free = self._left()
        self._news = socket.socketpair()
        return [self._news[1].fileno()]

    def furnish(self, limits: dict[str, Any]) -> None:
        del limits
        os.chdir(self.folder)

    def close(self, limits: dict[str, Any], kept: list[int]) -> None:
        for news in self._news or ():
            news.detach()  # their descriptors are closed, and their numbers will be the program's
        if self._landlock:
            readable = [folder for folder in (*LIBRARIES, *sys.path) if Path(folder).is_dir()]
            others = [*((each, landlock.READ) for each in readable), *((each, landlock.USE) for each in DEVICES)]
            landlock.restrict(self._landlock, self.folder, others)
        asked = kernel.set_asking_filter(confined_filter(kernel.MACHINE, limits["processes"] > 1, os.getpid()))
        with socket.socket(fileno=kept[0]) as worker:
            socket.send_fds(worker, [b"f"], [asked])
        os.close(asked)

    def attend(self, pid: int) -> None:
        self._program, self._alone = pid, True
        assert self._news is not None
        ours, theirs = self._news
        theirs.close()
        with ours:
            _, self.asked, _, _ = socket.recv_fds(ours, 1, 1)

    def answer(self, limits: dict[str, Any]) -> None:
        (asked,) = self.asked
        with suppress(FileNotFoundError, ProcessLookupError):  # who asked may be there no more
            call = kernel.asked_call(asked)
            kernel.answer_call(asked, call, self._decided(call, limits))

    def _decided(self, call: kernel.Call, limits: dict[str, Any]) -> int:
        """The error that the call is to fail with; 0 lets it be made."""
        ours = [process(self._program)] if limits["processes"] == 1 else descendants(os.getpid())
        if call.number not in MAKES_TASKS[kernel.MACHINE]:
            return 0 if call.first in {to for each in ours for to in (each.pid, -each.group)} else errno.ESRCH
        if sum(each.threads for each in ours) >= most_tasks(limits):
            return errno.EAGAIN
        self._alone = limits["processes"] == 1
        return 0

    def exceeded(self, limits: dict[str, Any]) -> bool:
        """By what is free on the volume: a file that is open and has no name any more counts as well."""
        (space, names), (space_left, names_left) = self._free, self._left()
        return space - space_left > limits["disk"] or names - names_left > _NAMES

    def _left(self) -> tuple[int, int]:
        volume = os.statvfs(self._scratch)
        return volume.f_bfree * volume.f_frsize, volume.f_ffree

    def end_program(self) -> None:
        """With nobody to ask, the kernel lets no process be made."""
        for asked in self.asked:
            os.close(asked)
        self.asked = []
        os.kill(self._program, signal.SIGKILL)
        if not self._alone:
            end_descendants(os.getpid())

    def clear(self) -> None:
        for entry in list(os.scandir(self._scratch)):
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                Path(entry.path).unlink()


def _remove(folder: str) -> None:
    """Whatever its modes and however deep it is: what lies in a folder below is moved up, until there is none."""
    Path(folder).chmod(0o700)
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _lift(entry.path, folder)
            else:
                Path(entry.path).unlink()
    Path(folder).rmdir()


def _lift(folder: str, into: str) -> None:
    """Move what lies in `folder`, which is then removed, to names that nobody has taken."""
    Path(folder).chmod(0o700)
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            Path(entry.path).chmod(0o700)  # a folder that its owner may not write to cannot be moved
        Path(entry.path).rename(f"{into}/{secrets.token_hex(16)}")
    Path(folder).rmdir()
