"""What a sandbox is asked and what it answers, whatever runs behind it.

An outcome says how a program ended, never whether it was right: all that a program writes is a claim of whoever wrote
it. A sandbox that cannot run a program raises `SandboxFailed`, so its own failure is no program's.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Protocol

from selftaught.core.errors import BadInput, SelftaughtError

KIB, MIB = 2**10, 2**20


class SandboxRefused(SelftaughtError):
    """This machine cannot hold a program as a sandbox has to."""


class SandboxFailed(SelftaughtError):
    """The sandbox itself failed (killed, out of memory): nothing is known about the program."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take. Passing one ends it, or makes the call fail that would pass it."""

    cpu_s: int = 5
    """Seconds of computing, for each process."""
    wall_s: float = 10.0
    memory: int = 512 * MIB
    """Bytes of address space for each process; Python itself takes some 40 MiB of them."""
    output: int = 64 * KIB
    """Bytes on each of standard output, standard error and the results."""
    disk: int = 16 * MIB
    """Bytes of all files together."""
    processes: int = 1
    """Processes at once. With more than one, threads count as well, and each process may take `memory`."""

    def __post_init__(self) -> None:
        """Raises BadInput for a limit that is not above zero."""
        for name in self.__slots__:
            if not (value := getattr(self, name)) > 0:
                raise BadInput(f"limits.{name}: {value}: a sandbox has to give more than nothing.")


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program of one file, run in an empty folder with `files` beside it.

    It has the standard library and no other package, no variable of this process, and descriptor 3 for results.
    """

    source: str
    stdin: bytes = b""
    args: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    """By path, relative and with `/`; they are written as they are, never unpacked."""
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Raises BadInput for a file that would not lie in the program's folder."""
        for name in self.files:
            path = PurePosixPath(name)
            if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
                raise BadInput(f"files: {name!r}: a program's files lie in its own folder. Give a relative path.")


class Termination(StrEnum):
    """Why a program is not running any more."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    """By a signal of its own making, a crash among them."""
    CPU = "cpu"
    WALL = "wall"
    OUTPUT = "output"
    DISK = "disk"
    """Where the sandbox looks at the disk; in one that has the kernel do it, the write fails."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended and what it wrote. A limit on memory or disk shows as the program's own error."""

    ended: Termination
    exit: int | None
    """The exit status, where it exited."""
    signal: int | None
    stdout: bytes
    """At most `limits.output` bytes, as `stderr` and `results`."""
    stderr: bytes
    results: bytes
    """What was written to descriptor 3: nothing says that it was not forged."""
    cpu_s: float
    """Of the program's first process, and of those whose end it awaited."""
    wall_s: float


class Sandbox(Protocol):
    """Runs programs, as many at once as it has workers for; the others wait."""

    async def run(self, program: Program) -> Outcome:
        """Run `program` to its end. Raises SandboxFailed where the sandbox and not the program failed."""
        ...

    async def run_all(self, programs: Iterable[Program]) -> list[Outcome]:
        """Run each of `programs`; the outcomes in their order."""
        return list(await asyncio.gather(*map(self.run, programs)))
