"""What stands between a program and the machine, as a worker asks for it: two ways have the same steps.

`isolation` gives a worker namespaces of its own, `confinement` is what a process may put on itself in a pod. Standard
library alone: the workers of a sandbox import it in a bare interpreter.
"""

from collections.abc import Sequence
from typing import Any, Protocol

_THREADS = 32
"""Threads that a program of one process may have."""


class Hold(Protocol):
    """One worker's, which runs one program after the other."""

    folder: str
    """The folder of the program that is run."""
    asked: Sequence[int]
    """The descriptor on which the kernel asks about the program's calls; none where it never does."""
    look_every_s: float
    """Seconds after which a running program has to be looked at."""

    def enter(self) -> None:
        """In the worker, once. Raises OSError where the kernel allows it not."""
        ...

    def make_room(self) -> list[int]:
        """In the worker, before each program; what the program's process has to keep open until `close`."""
        ...

    def furnish(self, limits: dict[str, Any]) -> None:
        """In the program's process: be in the program's folder, which is empty."""
        ...

    def close(self, limits: dict[str, Any], kept: list[int]) -> None:
        """In the program's process, last: give up, for good, what a worker may do and a program may not."""
        ...

    def attend(self, pid: int) -> None:
        """In the worker, once the program's first process is there, which is `pid`."""
        ...

    def answer(self, limits: dict[str, Any]) -> None:
        """In the worker: decide on a call that the kernel asks about."""
        ...

    def exceeded(self, limits: dict[str, Any]) -> bool:
        """In the worker: whether the program has taken more disk than it may, where no write of it would fail."""
        ...

    def end_program(self) -> None:
        """In the worker: end every process that the program has started; none can start another meanwhile."""
        ...

    def clear(self) -> None:
        """In the worker: remove what the program has left behind."""
        ...


def most_tasks(limits: dict[str, Any]) -> int:
    """Processes and threads that a program may have at once."""
    processes: int = limits["processes"]
    return processes if processes > 1 else _THREADS
