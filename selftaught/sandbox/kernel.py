"""Linux's calls that Python's standard library lacks, each raising OSError with the call's name.

Standard library alone: the workers of a sandbox import it in a bare interpreter.
"""

import ctypes
import os
import platform
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 8, 22, 38

_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _SECCOMP_MODE_FILTER = 2, -100, 0x8000, 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442
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
    code = _syscall(_MOUNT_SETATTR, _AT_FDCWD, target.encode(), _AT_RECURSIVE, wanted, len(wanted))
    _check(f"mount_setattr {target}", code)


def change_root(new: str, old: str) -> None:
    """Make the mount at `new` the root; what was it lies at `old`, a folder below."""
    _check("pivot_root", _syscall(_PIVOT_ROOT[MACHINE], new.encode(), old.encode()))


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
    _check("capset", _syscall(_CAPSET[MACHINE], header, struct.pack("6I", low, low, 0, high, high, 0)))


def set_filter(instructions: bytes) -> None:
    """Have the kernel ask the BPF program `instructions` before each system call, for good."""
    program = struct.pack("HxxxxxxP", len(instructions) // 8, ctypes.addressof(kept := _buffer(instructions)))
    code = _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program, ctypes.c_ulong(0))
    del kept
    _check("seccomp", code)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def _syscall(number: int, *arguments: int | bytes) -> int:
    return _libc.syscall(
        ctypes.c_long(number), *(each if isinstance(each, bytes) else ctypes.c_long(each) for each in arguments)
    )


def _check(call: str, code: int) -> None:
    if code:
        error = ctypes.get_errno()
        raise OSError(error, f"{call}: {os.strerror(error)}")
