"""Identification of our processes: by pid, start time and boot id.

A pid alone names whatever runs under that number today. This module finds and kills the session of an engine, and
reaps what a killed campaign left behind. It reads /proc, so it is for Linux only.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught.core.files import sweep, write_atomically

M = TypeVar("M", bound=BaseModel)

BOOT = Path("/proc/sys/kernel/random/boot_id")


class Stat(NamedTuple):
    """What /proc/PID/stat says: state letter, session id, start time (clock ticks since boot)."""

    state: str
    session: int
    started: int


class Process(BaseModel):
    """One process, distinguished from any other that has had or will have its pid."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The running process `pid`. Raises ProcessLookupError when there is none."""
        if (stat := _stat(pid)) is None:
            raise ProcessLookupError(pid)
        return cls(pid=pid, started=stat.started, boot=BOOT.read_text(encoding="utf-8").strip())

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self._same_boot and (stat := _stat(self.pid)) is not None and stat.started == self.started

    def terminate(self) -> None:
        """Ask the process to end, without waiting; nothing happens when it has."""
        with suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> None:
        """Return once the process has ended, whosever child it is."""
        try:
            ended = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive:
                # Not select(), which takes no descriptor above 1023.
                poll = select.poll()
                poll.register(ended, select.POLLIN)
                poll.poll()
        finally:
            os.close(ended)

    def session(self) -> list[int]:
        """The pids in the session that this process leads, it included.

        A session whose leader has died keeps its id until its last member ends, and the kernel gives the number to
        nobody else: a pid with another start time means that the entire session is gone.
        """
        leader = _stat(self.pid)
        if not self._same_boot or (leader is not None and leader.started != self.started):
            return []
        return [pid for pid, stat in _processes() if stat.session == self.pid and stat.started >= self.started]

    def kill_session(self) -> None:
        """Kill every process of the session, this one included; nothing happens when they are gone."""
        for pid in self.session():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    @property
    def _same_boot(self) -> bool:
        return BOOT.read_text(encoding="utf-8").strip() == self.boot


class PidFile(BaseModel):
    """What a campaign writes down of each engine it starts."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    port: int
    engine: Process
    owner: Process

    def write(self, path: Path) -> None:
        """Write this to `path` atomically."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")


def pid_files(folder: Path) -> Iterator[tuple[Path, PidFile]]:
    """The pid files in `folder`; one that its owner takes away meanwhile is none, nor is one that cannot be read."""
    for path in sorted(folder.glob("*.json")):
        if (noted := said(path, PidFile)) is not None:
            yield path, noted


def said(path: Path, kind: type[M]) -> M | None:
    """What the small file at `path` says of a process; None where it is not there, or damaged (by a power cut)."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def reap(folder: Path) -> list[str]:
    """Kill the engines in `folder` whose owner is gone, drop their pid files, and return their names.

    Pid files that cannot be read go as well: they are intact until the machine goes down, and its processes with it.
    """
    sweep(folder)
    reaped: list[str] = []
    for path in folder.glob("*.json"):
        if said(path, PidFile) is None:
            path.unlink(missing_ok=True)
    for path, noted in pid_files(folder):
        if noted.owner.alive:
            continue
        noted.engine.kill_session()
        path.unlink(missing_ok=True)
        reaped.append(noted.name)
    return reaped


def _processes() -> Iterator[tuple[int, Stat]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None:
            yield int(entry.name), stat


def _stat(pid: int) -> Stat | None:
    """The stat of `pid`, or None when there is no such process or it is a zombie (ended, not yet waited for)."""
    try:
        # The command name is in parentheses and may hold anything, so fields are counted from the last one.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Stat(fields[0], int(fields[3]), int(fields[19]))
