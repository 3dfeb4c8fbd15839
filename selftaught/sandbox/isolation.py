"""A root and namespaces of its own for a worker: how it holds programs where the kernel allows that.

Inside are Python's standard library, the system's shared libraries, four devices and nothing else; the network has no
interface at all. A worker started by root is someone else inside and outside. Standard library alone.
"""

import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from selftaught.sandbox import kernel
from selftaught.sandbox.hold import most_tasks

NOBODY = 65534
"""Whom a worker is inside; outside it is whoever started it, or this where that is root."""

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
"""What a program may read beside Python, and the devices that it may use."""

_WORK = "/work"
_OTHERS = 2
"""Processes of a worker that the kernel counts among those of a program."""
_BASE, _OLD = "/tmp", "/old"  # noqa: S108 - what is mounted over it is this process's own
_NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)


class Namespaces:
    """Programs in memory of their own, each in a process namespace whose first process the worker is. See `Hold`."""

    folder = _WORK
    asked: Sequence[int] = ()
    look_every_s = math.inf

    def enter(self) -> None:
        _enter()

    def make_room(self) -> list[int]:
        return []

    def furnish(self, limits: dict[str, Any]) -> None:
        kernel.unshare(kernel.CLONE_NEWNS)
        flags, options = kernel.MS_NOSUID | kernel.MS_NODEV, f"mode=700,size={limits['disk']},nr_inodes=4096"
        kernel.mount("work", _WORK, "tmpfs", flags, options)
        os.chdir(_WORK)

    def close(self, limits: dict[str, Any], kept: list[int]) -> None:
        del kept
        most = _OTHERS + most_tasks(limits)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        kernel.set_capabilities(0)

    def attend(self, pid: int) -> None:
        del pid

    def answer(self, limits: dict[str, Any]) -> None:
        del limits  # the kernel asks nothing

    def exceeded(self, limits: dict[str, Any]) -> bool:
        del limits
        return False  # the write fails that would

    def end_program(self) -> None:
        """At one stroke: none can fork in between."""
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)

    def clear(self) -> None:
        pass  # its folder went with its last process


def _enter() -> None:
    """Return as the first process of new namespaces, in the new root, with every capability there and none outside.

    The processes that called this wait for that one and end with it. Raises OSError where the kernel allows it not.
    """
    ours, theirs = socket.socketpair()
    if pid := os.fork():
        theirs.close()
        _name(pid, ours)
    ours.close()
    kernel.unshare(_NAMESPACES)
    theirs.send(b"m")
    if not theirs.recv(1):
        os._exit(1)
    _build_root()
    _be_nobody()
    if pid := os.fork():
        _wait_and_end(pid)
    theirs.close()


def _name(pid: int, waiting: socket.socket) -> NoReturn:
    """Say who is who in the user namespace of `pid`, once it has one, and wait for its end."""
    if waiting.recv(1):
        if os.geteuid():
            Path(f"/proc/{pid}/setgroups").write_text("deny", encoding="ascii")
            users, groups = f"{NOBODY} {os.geteuid()} 1", f"{NOBODY} {os.getegid()} 1"
        else:
            users = groups = f"0 0 1\n{NOBODY} {NOBODY} 1"
        Path(f"/proc/{pid}/gid_map").write_text(groups, encoding="ascii")
        Path(f"/proc/{pid}/uid_map").write_text(users, encoding="ascii")
        waiting.send(b"m")
    _wait_and_end(pid)


def _wait_and_end(pid: int) -> NoReturn:
    """Hold nothing open meanwhile: whoever waits for `pid` to close a socket waits for nobody else."""
    os.closerange(0, os.sysconf("SC_OPEN_MAX"))
    os.waitpid(pid, 0)
    os._exit(0)


def _build_root() -> None:
    shown = {folder: os.path.realpath(folder) for folder in (*LIBRARIES, *sys.path) if Path(folder).is_dir()}
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("root", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    Path(_BASE + _OLD).mkdir()
    kernel.change_root(_BASE, _BASE + _OLD)
    os.chdir("/")
    os.umask(0o022)
    for folder, source in shown.items():
        _show(folder, source)
    for device in DEVICES:
        Path(device).parent.mkdir(exist_ok=True)
        Path(device).touch()
        kernel.mount(_OLD + device, device, flags=kernel.MS_BIND)
    Path(_WORK).mkdir()
    Path(_BASE).symlink_to(_WORK)
    kernel.detach(_OLD)
    Path(_OLD).rmdir()
    kernel.restrict_mount("/", kernel.MOUNT_ATTR_RDONLY)


def _show(folder: str, source: str) -> None:
    """Have `source` of the old root as `folder`, to be read alone."""
    if Path(folder).exists():  # below one that is shown already
        return
    Path(folder).mkdir(parents=True)
    kernel.mount(_OLD + source, folder, flags=kernel.MS_BIND | kernel.MS_REC)
    kernel.restrict_mount(folder, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV)


def _be_nobody() -> None:
    """Root of the user namespace no more, which takes no capability in it."""
    kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    if not os.geteuid():
        os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    kernel.set_capabilities(kernel.EVERY_CAPABILITY)
