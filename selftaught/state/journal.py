"""The journal: records are saved as they finish, so that a killed step resumes where it stopped.

In a directory store it is a file with one JSON line a record; elsewhere it is a row of segments, each created
conditionally under the next number. There is one live writer: a file is locked, and a row of segments is fenced (who
opens it later writes a fence at the next number, so the earlier writer's next segment is refused). A journal is not a
data set: it has no order and no digest, and the step that reads it makes its output from it.
"""

import fcntl
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import stamina
from pydantic import ValidationError
from typing_extensions import override

from selftaught.core.canonical import canonical
from selftaught.core.errors import StoreError
from selftaught.records import Example, Group, Judged, Task, TaskScore
from selftaught.state.store import DirectoryStore, Store, Stored, checked, disk_errors, stats_of

LOCK_WAIT = 10.0
"""Seconds to wait for the file of a writer that is about to die (its parent was killed a moment ago)."""

SEGMENT_RECORDS, SEGMENT_SECONDS = 32, 1.0
"""A segment is written when it holds so many records, or with the first record that comes so long after its first."""


R = TypeVar("R", bound=Task | Group | Judged | Example | TaskScore)


class Journal(ABC, Generic[R]):
    """Records by id, the first of each id. One thread at a time may use a journal; close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._records: dict[str, R] = {}

    def read(self) -> dict[str, R]:
        """Every record so far by its id: those of earlier attempts and those of this one."""
        return dict(self._records)

    def append(self, record: R) -> None:
        """Keep `record`, unless one of its id is kept already. Raises StoreError when it cannot be written."""
        if record.id not in self._records:
            self._write(record)
            self._records[record.id] = record

    @abstractmethod
    def close(self) -> None:
        """Write what is not written yet and let the next writer in."""

    @abstractmethod
    def _write(self, record: R) -> None: ...

    def _load(self, lines: Iterable[bytes], parse: Callable[[bytes], R], where: str) -> None:
        for number, line in enumerate(lines, start=1):
            try:
                record = parse(line)
            except ValidationError:
                raise StoreError(f"{where}:{number}: damaged line. Remove it to keep the others.") from None
            self._records.setdefault(record.id, record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FileJournal(Journal[R]):
    """A journal in a file. A torn last line is forgotten on opening.

    A record survives the process when `append` returns. It is not synced: on a busy disk that costs 8 ms a record, to
    spare a power cut the last seconds of sampling.
    """

    def __init__(self, path: Path, record: type[R], *, wait: float = LOCK_WAIT) -> None:
        """Open and lock `path`, waiting up to `wait` seconds for another writer to end.

        Raises StoreError when another writer lives, when a line inside the file is damaged, or when `path` cannot be
        written.
        """
        super().__init__()
        self.path = path
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock(wait)
            self._recover(record)
        except BaseException:
            os.close(self._file)
            raise

    @override
    def close(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)  # closing alone would leave it locked while a forked child lives
        os.close(self._file)

    def _lock(self, wait: float) -> None:
        try:
            for attempt in stamina.retry_context(BlockingIOError, attempts=None, timeout=wait, wait_max=0.5):
                with attempt:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"{self.path}: another process is writing it. Wait until that one ends, or stop it, and run again."
            ) from None

    def _recover(self, record: type[R]) -> None:
        with disk_errors(self.path):
            content = self.path.read_bytes()
            complete = (
                content.rfind(b"\n") + 1
            )  # a record is complete with its newline: kill -9 may have torn the last one
            os.ftruncate(self._file, complete)
        self._load(content[:complete].split(b"\n")[:-1], record.model_validate_json, str(self.path))

    @override
    def _write(self, record: R) -> None:
        size = os.fstat(self._file).st_size
        with disk_errors(self.path):
            try:
                _write_all(self._file, canonical(record.to_row()) + b"\n")
            except OSError:
                os.ftruncate(self._file, size)  # half a line must not stand before the next one
                raise


class SegmentJournal(Journal[R]):
    """A journal in the claims of a store, one object a segment, numbered as they come.

    `append` writes a segment when `SEGMENT_RECORDS` are waiting or the first has waited `SEGMENT_SECONDS`: a kill loses
    what waits, and the next attempt does it again.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        record: type[R],
        *,
        segment_records: int = SEGMENT_RECORDS,
        segment_seconds: float = SEGMENT_SECONDS,
    ) -> None:
        """Open the journal and fence off every earlier writer. Raises StoreError or Unavailable."""
        super().__init__()
        self.store, self.key = store, f"journals/{key}"
        self.segment_records, self.segment_seconds = segment_records, segment_seconds
        self._attempt = uuid.uuid4().hex
        self._waiting: list[bytes] = []
        self._tried = 0
        """How many of those that wait were in a segment that the store did not answer for: it may be there."""
        self._since = 0.0
        parts = (key.rpartition("/") for key in store.claims(self.key))
        numbers = [int(number) for folder, _, number in parts if folder == self.key]  # and not of a journal below it
        self._next = 1 + max(numbers, default=-1)  # not how many: one that somebody removed leaves a gap
        while not self._claim([]):  # an earlier writer, still alive, was faster: the fence goes behind its segment
            self._next += 1
        self._recover(record)

    @override
    def close(self) -> None:
        self._flush()

    @override
    def _write(self, record: R) -> None:
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.append(canonical(record.to_row()))
        if len(self._waiting) >= self.segment_records or time.monotonic() - self._since >= self.segment_seconds:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            self._tried = self._tried or len(self._waiting)
            if not self._claim(self._waiting[: self._tried]):
                raise StoreError(
                    f"{self.store.root}: journal {self.key} was taken over by a newer attempt of this step; "
                    "this one stops."
                )
            self._next += 1
            self._waiting, self._tried = self._waiting[self._tried :], 0

    def _claim(self, lines: list[bytes]) -> bool:
        """Write a segment under the next number; its first line, the attempt, tells it from everybody else's."""
        segment = b"\n".join([self._attempt.encode(), *lines])
        return self.store.claim(self._segment(self._next), segment) == segment

    def _recover(self, record: type[R]) -> None:
        names = [self._segment(number) for number in range(self._next)]
        self._next += 1
        with ThreadPoolExecutor(8) as pool:
            for name, segment in zip(names, pool.map(self.store.claimed, names), strict=True):
                _attempt, *lines = (segment or b"").split(b"\n")
                self._load(lines, record.model_validate_json, f"{self.store.root}: {name}")

    def _segment(self, number: int) -> str:
        return f"{self.key}/{number:08d}"


def open_journal(store: Store, key: str, record: type[R]) -> Journal[R]:
    """The journal `key` (a file-like name, `/` allowed) beside what `store` holds. Raises as the two kinds do."""
    if isinstance(store, DirectoryStore):
        folder, name = store.directory / "journals", "/".join(map(checked, key.split("/")))
        return FileJournal(folder / f"{name}.jsonl", record)
    return SegmentJournal(store, key, record)


def stored_journals(store: Store) -> list[Stored]:
    """Every journal beside what `store` holds, by its key; `written` is when a record last came to it."""
    found = _files(store.directory / "journals") if isinstance(store, DirectoryStore) else _segments(store)
    return sorted(found, key=lambda stored: stored.name)


def _files(root: Path) -> Iterator[Stored]:
    for path in root.rglob("[!.]*.jsonl"):
        if stats := stats_of(path):
            name = path.relative_to(root).as_posix().removesuffix(".jsonl")
            yield Stored(name=name, bytes=stats.st_size, written=stats.st_mtime)


def _segments(store: Store) -> Iterator[Stored]:
    journals: dict[str, list[Stored]] = {}
    for segment in store.stored_claims("journals"):
        journals.setdefault(segment.name.removeprefix("journals/").rpartition("/")[0], []).append(segment)
    for key, parts in journals.items():
        yield Stored(name=key, bytes=sum(each.bytes for each in parts), written=max(each.written for each in parts))


def remove_journal(store: Store, key: str) -> None:
    """Forget the journal `key`, unless a live process is writing its file; nothing happens when there is none.

    Segments go from the last to the first, so that what a killed removal leaves is a shorter journal without gaps.
    """
    if isinstance(store, DirectoryStore):
        _remove_file(store.directory / "journals" / f"{key}.jsonl")
        return
    for segment in reversed(store.claims(f"journals/{key}")):
        if segment.rpartition("/")[0] == f"journals/{key}":  # and not of a journal below it
            store.release(segment)


def _remove_file(path: Path) -> None:
    with suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with disk_errors(path):
            path.unlink(missing_ok=True)


def _write_all(file: int, content: bytes) -> None:
    """os.write may write less than it was given (a disk that fills up); the next call then says why."""
    while content:
        content = content[os.write(file, content) :]
