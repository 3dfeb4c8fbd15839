"""Processes by who has started them, as /proc shows it: for a worker that has no process namespace to itself.

It looks and never waits: what it says of a process may be over by the time that it is read. Standard library alone.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process, or what is left of it until its parent asks."""

    pid: int
    parent: int
    group: int
    threads: int
    alive: bool


def process(pid: int) -> Process:
    """What is known of `pid`. Raises FileNotFoundError or ProcessLookupError where there is none.

    Its name stands in parentheses and may hold any character; what follows are words.
    """
    words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    state, parent, group, threads = words[0], int(words[1]), int(words[2]), int(words[17])
    return Process(pid, parent, group, max(threads, 1), state not in (b"Z", b"X"))


def descendants(pid: int) -> list[Process]:
    """All that `pid` has started, and what these have."""
    children: dict[int, list[Process]] = {}
    for each in _processes():
        children.setdefault(each.parent, []).append(each)
    found, to_visit = list[Process](), [pid]
    while to_visit:
        below = children.get(to_visit.pop(), [])
        found += below
        to_visit += [each.pid for each in below]
    return found


def end_descendants(pid: int, but: frozenset[int] = frozenset()) -> None:
    """Kill all that `pid` has started until none is alive, except for the children in `but` and what those have."""
    while living := [each for each in _unspared(pid, but) if each.alive]:
        for each in living:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        time.sleep(0.001)


def _unspared(pid: int, but: frozenset[int]) -> list[Process]:
    found = descendants(pid)
    spared = but.union(*({below.pid for below in descendants(each)} for each in but))
    return [each for each in found if each.pid not in spared]


def _processes() -> Iterator[Process]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                yield process(int(entry.name))
