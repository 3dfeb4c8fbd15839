"""Linux's calls that Python's standard library lacks, each raising OSError with the call's name.

Standard library alone: the workers of a sandbox import it in a bare interpreter.
"""

import ctypes
import fcntl
import os
import platform
import struct
from dataclasses import dataclass

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 4, 8, 22, 36, 38

_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _SECCOMP_MODE_FILTER = 2, -100, 0x8000, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER, _NOTIFY_SIZES, _NEW_LISTENER = 1, 3, 8
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_CALL, _ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")
_CONTINUE = 1
_CAPABILITY_VERSION = 0x20080522
EVERY_CAPABILITY = (1 << 41) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
MACHINE = platform.machine()


def unshare(flags: int) -> None:
    """Give this process (its children, for processes) namespaces of its own."""
    _check("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount `source` at `target`."""
    code = _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())
    _check(f"mount {target}", code)


def restrict_mount(target: str, attributes: int) -> None:
    """Set `attributes` on the mount at `target` and on all below it."""
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    syscall(f"mount_setattr {target}", _MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, wanted, len(wanted))


def change_root(new: str, old: str) -> None:
    """Make the mount at `new` the root; what was it lies at `old`, a folder below."""
    syscall("pivot_root", _PIVOT_ROOT[MACHINE], new.encode(), old.encode())


def detach(target: str) -> None:
    """Unmount `target` with all that is mounted below it."""
    _check(f"umount {target}", _libc.umount2(target.encode(), _MNT_DETACH))


def prctl(option: int, value: int) -> None:
    """Set one of this process's own attributes."""
    _check("prctl", _libc.prctl(option, *(ctypes.c_ulong(each) for each in (value, 0, 0, 0))))


def set_capabilities(mask: int) -> None:
    """Have the capabilities of `mask` and no others."""
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    syscall("capset", _CAPSET[MACHINE], header, struct.pack("6I", low, low, 0, high, high, 0))


def set_filter(instructions: bytes) -> None:
    """Have the kernel ask the BPF program `instructions` before each system call, for good."""
    program, kept = _program(instructions)
    code = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program, ctypes.c_ulong(0))
    del kept
    _check("seccomp", code)


def set_asking_filter(instructions: bytes) -> int:
    """As `set_filter`; calls that it does not decide on wait for whoever reads the descriptor that is returned."""
    program, kept = _program(instructions)
    descriptor = syscall("seccomp", _SECCOMP[MACHINE], _SET_FILTER, _NEW_LISTENER, program)
    del kept
    return descriptor


def seccomp_asks() -> None:
    """Raises OSError where the kernel has filters that ask no process."""
    sizes = ctypes.create_string_buffer(6)
    syscall("seccomp notifications", _SECCOMP[MACHINE], _NOTIFY_SIZES, 0, ctypes.addressof(sizes))


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that waits for an answer."""

    id: int
    pid: int
    """The thread that makes it."""
    number: int
    first: int
    """Its first argument, where that is a process: negative for a group."""


def asked_call(descriptor: int) -> Call:
    """The next call that waits. Raises FileNotFoundError where it waits no more."""
    received = bytearray(_CALL.size)
    fcntl.ioctl(descriptor, _RECEIVE, received)
    identity, pid, _, number, _, _, first, *_ = _CALL.unpack(received)
    return Call(identity, pid, number, ctypes.c_int(first & 0xFFFFFFFF).value)


def answer_call(descriptor: int, call: Call, error: int) -> None:
    """Let the call be made, or fail with `error` where that is not 0. Raises FileNotFoundError as `asked_call` does."""
    fcntl.ioctl(descriptor, _SEND, _ANSWER.pack(call.id, 0, -error, 0 if error else _CONTINUE))


def syscall(call: str, number: int, *arguments: int | bytes) -> int:
    """What the system call of `number` gives, which errors name `call`."""
    given = (each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments)
    if (result := _libc.syscall(ctypes.c_long(number), *given)) < 0:
        _check(call, result)
    return result


def _program(instructions: bytes) -> tuple[bytes, ctypes.Array[ctypes.c_char]]:
    """How the kernel takes a BPF program, and what has to be kept until it has taken it."""
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    return struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(kept)), kept


def _check(call: str, code: int) -> None:
    if code:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")
