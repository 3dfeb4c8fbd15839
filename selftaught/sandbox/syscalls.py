"""Which system calls a program may make: a seccomp filter in the kernel's own BPF, for x86-64 and 64-bit ARM.

Namespaces hold most of what a program could reach; the filter holds what they do not: socket families that no network
namespace knows (vsock, netlink, AF_ALG), memory that no limit counts (memfd, System V), calls on other processes of the
same user, and what made up most of the kernel's holes that unprivileged users found (nested user namespaces, io_uring,
bpf, userfaultfd, keyrings: what Docker's, Flatpak's and systemd's filters deny). Calls newer than this list do not
exist for a program. What is denied fails with an error that programs know.
"""

import errno
import struct

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_NEWEST = 462
"""mseal, Linux 6.10. x86-64's second table (x32) begins far above it."""

# name: its number on x86-64, and on 64-bit ARM; from Linux' arch/x86/entry/syscalls/syscall_64.tbl and
# include/uapi/asm-generic/unistd.h
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # sockets: none is made but a pair within the program (below)
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # memory and queues that outlive a process, or that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "personality": (135, 92),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
}
_FORK, _VFORK = (57, None), (58, None)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_SOCKETPAIR, _PRLIMIT = (53, 199), (302, 261)
_CLONE_THREAD, _CLONE_NEW = 0x00010000, 0x7E020000
MAKES_TASKS = {
    machine: tuple(number for call in (_FORK, _VFORK, _CLONE) if (number := call[column]) is not None)
    for column, machine in enumerate(ARCHITECTURES)
}
"""The numbers of the calls that make a process or a thread, by machine."""
_SOCK_STREAM, _SOCK_TYPE = 1, 0xF

_LOAD, _EQUALS, _GREATER, _HAS, _AND, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERRNO, _ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

# What is nobody's business but a program's in a process namespace of its own, and reaches others without one.
_KILL_CALL, _TGKILL, _SIGQUEUE, _TGSIGQUEUE = (62, 129), (234, 131), (129, 138), (297, 240)
_UNSEEN: list[tuple[int | None, int | None]] = [(200, 130), (424, 424)]
"""tkill and pidfd_send_signal: whom they reach cannot be told from their numbers."""
_WATCHES: list[tuple[int | None, int | None]] = [(253, None), (294, 26)]
"""inotify_init: the names of files in a folder that others write to."""
_FCNTL, _IOCTL = (72, 25), (16, 29)
_SIGNAL_OWNERS = (8, 10, 15)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: a signal to any process, once there is something to read."""
_IOCTL_OWNERS = (0x8901, 0x8902)
"""FIOSETOWN, SIOCSPGRP: the same."""


def program_filter(machine: str, forks: bool) -> bytes:
    """The filter as BPF instructions of 8 bytes each; without `forks` a program may have threads, no other process."""
    column = list(ARCHITECTURES).index(machine)
    one_process = [] if forks else _denied([_FORK, _VFORK], column, errno.EAGAIN)
    instructions = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_EQUALS, ARCHITECTURES[machine], 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        _op(_GREATER, _NEWEST, 0, 1),
        _op(_RETURN, _ERRNO | errno.ENOSYS),
        *_denied(list(_DENIED.values()), column, errno.EPERM),
        # its flags cannot be seen from here: the C library uses clone instead
        *_denied([_CLONE3], column, errno.ENOSYS),
        *one_process,
        *_argument(_CLONE, column, 0, [_op(_HAS, _CLONE_NEW, 0, 1), _op(_RETURN, _ERRNO | errno.EPERM)]),
        *([] if forks else _argument(_CLONE, column, 0, _unless(_HAS, _CLONE_THREAD, errno.EAGAIN))),
        *_argument(_PRLIMIT, column, 0, _unless(_EQUALS, 0, errno.EPERM)),
        # a pair of datagram sockets could still be sent from to an address
        *_argument(_SOCKETPAIR, column, 1, [_op(_AND, _SOCK_TYPE), *_unless(_EQUALS, _SOCK_STREAM, errno.EPERM)]),
        _op(_RETURN, _ALLOW),
    ]
    return b"".join(instructions)


def confined_filter(machine: str, forks: bool, pid: int) -> bytes:
    """What the other filter leaves to namespaces, for a program that has none and begins as the process `pid`.

    Signals reach the program alone: with `forks` its worker is asked whose process it is. The worker is also asked
    before each process and thread, for it has to count them.
    """
    column = list(ARCHITECTURES).index(machine)
    own = (pid, 0, -pid)
    ask, nobody = _op(_RETURN, _ASK), _op(_RETURN, _ERRNO | errno.ESRCH)
    instructions = [
        _op(_LOAD, _NUMBER),
        *_argument(_KILL_CALL, column, 0, _unless_one_of(own[1:2] if forks else own, ask if forks else nobody)),
        *(
            instruction
            for call in (_TGKILL, _SIGQUEUE, _TGSIGQUEUE)
            for instruction in _argument(call, column, 0, _unless_one_of((pid,), ask if forks else nobody))
        ),
        *_denied(_UNSEEN, column, errno.ESRCH),
        *_denied(_WATCHES, column, errno.EPERM),
        *_argument(_FCNTL, column, 1, _if_one_of(_SIGNAL_OWNERS, errno.EPERM)),
        *_argument(_IOCTL, column, 1, _if_one_of(_IOCTL_OWNERS, errno.EPERM)),
        *(instruction for number in MAKES_TASKS[machine] for instruction in (_op(_EQUALS, number, 0, 1), ask)),
        _op(_RETURN, _ALLOW),
    ]
    return b"".join(instructions)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _denied(calls: list[tuple[int | None, int | None]], column: int, error: int) -> list[bytes]:
    return [
        each
        for call in calls
        if (number := call[column]) is not None
        for each in (_op(_EQUALS, number, 0, 1), _op(_RETURN, _ERRNO | error))
    ]


def _argument(call: tuple[int | None, int | None], column: int, index: int, checks: list[bytes]) -> list[bytes]:
    """`checks` on the low half of an argument of `call`; without a decision, the call's number is loaded again."""
    number = call[column]
    assert number is not None
    body = [_op(_LOAD, _ARGUMENTS + 8 * index), *checks, _op(_LOAD, _NUMBER)]
    return [_op(_EQUALS, number, 0, len(body)), *body]


def _unless(code: int, value: int, error: int) -> list[bytes]:
    return [_op(code, value, 1, 0), _op(_RETURN, _ERRNO | error)]


def _unless_one_of(values: tuple[int, ...], otherwise: bytes) -> list[bytes]:
    """`otherwise` decides, but for `values`, about which nothing is decided."""
    return [*(_op(_EQUALS, value, len(values) - at, 0) for at, value in enumerate(values)), otherwise]


def _if_one_of(values: tuple[int, ...], error: int) -> list[bytes]:
    return [each for value in values for each in (_op(_EQUALS, value, 0, 1), _op(_RETURN, _ERRNO | error))]
