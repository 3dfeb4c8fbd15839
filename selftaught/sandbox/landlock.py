"""Landlock: which files a process and all that it starts may open, as the kernel has let anyone give up since 5.13.

Nothing but opening, making, renaming and removing is held: what a path is (`stat`), and the attributes of a file that
belongs to the same user, are not its business. Signals and abstract sockets out of the domain are, since 6.12. Standard
library alone.
"""

import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from selftaught.sandbox import kernel

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << at for at in range(4))
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""By version of the interface, how many rights there are."""
_SCOPES = 0b11
"""Signals and abstract sockets stay within the domain."""
READ = _READ_FILE | _READ_DIR
USE = _READ_FILE | _WRITE_FILE | _TRUNCATE


def version() -> int:
    """The newest version of the interface that this kernel has; 0 where it has none."""
    try:
        return kernel.syscall("landlock_create_ruleset", _CREATE, 0, 0, _VERSION)
    except OSError:
        return 0


def restrict(interface: int, own: str, others: Iterable[tuple[str, int]]) -> None:
    """Open nothing from now on but what lies below `own`, and below `others` by their rights."""
    every = (1 << _KNOWN[min(interface, max(_KNOWN))]) - 1
    attributes = struct.pack("QQQ", every, 0, _SCOPES)[: 24 if interface >= 6 else 8]
    rules = kernel.syscall("landlock_create_ruleset", _CREATE, attributes, len(attributes), 0)
    for path, rights in ((own, every), *others):
        _allow(rules, path, rights & every)
    kernel.syscall("landlock_restrict_self", _RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    if not stat.S_ISDIR(Path(path).stat().st_mode):
        rights &= _OF_FILES
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    kernel.syscall(f"landlock_add_rule {path}", _ADD, rules, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    os.close(descriptor)
