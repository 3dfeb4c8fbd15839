"""One data set on disk: a folder with `data.parquet` and `manifest.json`.

Writes complete data sets atomically and reads them back as records, checking what was read against the manifest; both
go row by row, so that a data set may be larger than the memory. The digest is over canonical rows in order, not over
file bytes, so another Parquet writer gives the same digest. Where data sets are kept and how they are shared is
`selftaught.state.store`'s business.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from selftaught import __version__
from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput, StoreError
from selftaught.core.files import replacing
from selftaught.records.arrow import schema_of
from selftaught.records.base import Record, Upgrade
from selftaught.records.kinds import RECORDS

R = TypeVar("R", bound=Record)
T = TypeVar("T")


class Manifest(BaseModel):
    """What a data set is and what it was made from. `parents` maps a name (`tasks`, `groups`) to a digest."""

    model_config = ConfigDict(frozen=True)

    kind: str
    digest: str
    rows: int
    schema_version: int = 1
    parents: Mapping[str, str] = {}
    recipe: str = ""
    code: str = __version__
    counts: Mapping[str, float] = {}


def digest_of(rows: Iterable[Record]) -> str:
    """SHA-256 (hex) over the canonical JSON of `rows` in order."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(_canonical(row))
    return sha.hexdigest()


def _canonical(row: Record) -> bytes:
    return canonical(row.to_row()) + b"\n"


def write(
    folder: Path,
    rows: Iterable[Record],
    kind: str,
    *,
    parents: Mapping[str, str] | None = None,
    recipe: str = "",
    counts: Mapping[str, float] | None = None,
) -> Manifest:
    """Write `rows` to `folder` atomically and return the manifest.

    Raises OSError when the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    with writing(folder, kind) as into:
        for row in rows:
            into.add(row)
        return into.end(parents or {}, recipe, counts or {})


@contextmanager
def writing(folder: Path, kind: str) -> Generator["Writer"]:
    """Write a data set row by row: `add` each, then `end` it; without that, or on an error, nothing is written."""
    with replacing(folder) as scratch, Writer(scratch, kind) as into:
        yield into


MANIFEST = "manifest.json"
GROUP = 8_000_000
"""Bytes of canonical rows in a row group: what is in memory at once, a few times over."""


class Writer:
    """Rows on their way into a data set, some megabytes of them in memory."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind = folder, kind
        self._sha = hashlib.sha256()
        self._held: list[dict[str, Any]] = []
        self._bytes = self._rows = 0
        self._schema = schema_of(RECORDS[kind])
        self._file: Any = cast(Any, pq).ParquetWriter(folder / "data.parquet", self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Record) -> None:
        """Take one row. Raises OSError when the disk is full."""
        plain = row.to_row()
        text = canonical(plain) + b"\n"
        self._sha.update(text)
        self._held.append(plain)
        self._bytes, self._rows = self._bytes + len(text), self._rows + 1
        if self._bytes > GROUP:
            self._flush()

    @property
    def rows(self) -> "Rows[Any]":
        """What has been written, once it has been ended, for a last look at it while it can still be thrown away."""
        return Rows(self._folder, RECORDS[self._kind])

    def end(self, parents: Mapping[str, str], recipe: str, counts: Mapping[str, float]) -> Manifest:
        """Say what the data set was made from; returns its manifest."""
        self._flush()
        self._file.close()
        manifest = Manifest(
            kind=self._kind,
            digest=self._sha.hexdigest(),
            rows=self._rows,
            schema_version=RECORDS[self._kind].SCHEMA,
            parents=parents,
            recipe=recipe,
            counts=counts,
        )
        (self._folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return manifest

    def _flush(self) -> None:
        if self._held:
            self._file.write_table(pa.Table.from_pylist(self._held, schema=self._schema))
        self._held, self._bytes = [], 0


def manifest(folder: Path) -> Manifest:
    """The manifest of the data set in `folder`.

    Raises BadInput when there is none or it cannot be read.
    """
    path = Path(folder) / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{folder}: not a data set (no manifest.json). Was the step that writes it run?") from None
    except ValidationError as error:
        raise BadInput(
            f"{path}: broken manifest ({error.error_count()} errors). Remove the folder and run again."
        ) from None


def proven(folder: Path, digest: str) -> Path:
    """`folder`, whose manifest states `digest` (`read` holds the rows to it). Raises StoreError for another one."""
    if (found := manifest(folder).digest) != digest:
        raise StoreError(
            f"{folder}: is data set {found[:8]}, not {digest[:8]}, which it is kept as. Somebody has replaced it: "
            "remove the folder, find out who writes to the store, and run the step that makes it again."
        )
    return folder


def read(folder: Path, record: type[R]) -> list[R]:
    """All rows of the data set in `folder` as `record`s. Raises as `rows` does."""
    return list(rows(folder, record))


def rows(folder: Path, record: type[R]) -> Iterator[R]:
    """The rows of the data set in `folder` as `record`s, one after the other, checked against the manifest's digest.

    Raises BadInput when the folder holds another kind, another schema, or a truncated or altered file: the last is
    known at the end, and what was made of the rows by then is to be thrown away.
    """
    stated = manifest(folder)
    path = Path(folder) / "data.parquet"
    if RECORDS.get(stated.kind) is not record:
        raise BadInput(f"{folder}: holds {stated.kind}, not {record.__name__} rows.")
    older = record.UPGRADES.get(stated.schema_version)
    if stated.schema_version != record.SCHEMA and not older:
        raise BadInput(
            f"{folder}: has schema {stated.schema_version} of {stated.kind}, and this is {record.SCHEMA}. "
            f"Read it with selftaught {stated.code}, or make it again."
        )
    sha, count = hashlib.sha256(), 0
    for plain, row in _naming_errors(folder, path, _both(path, record, older)):
        sha.update(canonical(plain) + b"\n" if older else _canonical(row))
        count += 1
        yield row
    if (sha.hexdigest(), count) != (stated.digest, stated.rows):
        raise BadInput(f"{path}: its rows are not those of its manifest. Remove {folder} and run again.")


def _both(path: Path, record: type[R], older: Upgrade | None) -> Iterator[tuple[dict[str, Any], R]]:
    """Each row as it is stored, and as a record of today."""
    return ((plain, record.from_row(older(plain) if older else plain)) for plain in _plain(path))


class Rows(Sequence[R]):
    """The rows of a data set, reread by whoever iterates; one by its index is found by reading up to it."""

    def __init__(self, folder: Path, record: type[R]) -> None:
        self._folder, self._record = folder, record

    @override
    def __len__(self) -> int:
        return manifest(self._folder).rows

    @override
    def __iter__(self) -> Iterator[R]:
        return rows(self._folder, self._record)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    @override
    def __getitem__(self, index: int | slice) -> R | list[R]:
        return list(self)[index]


def column(folder: Path, name: str) -> Iterator[Any]:
    """One column of the data set in `folder`, unchecked, one plain value a row: None in a set that is older than it."""
    path = Path(folder) / "data.parquet"
    return (row.get(name) for row in _naming_errors(folder, path, _plain(path, [name])))


def _naming_errors(folder: Path, path: Path, values: Iterable[T]) -> Iterator[T]:
    """`values`; what damaged bytes look like to their reader becomes words."""
    try:
        yield from values
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: cannot be read ({reason}). Remove {folder} and run again.") from None


def _plain(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    with cast(Any, pq).ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            yield from batch.to_pylist()


BATCH = 16
"""Rows that are plain Python at once: one of groups may hold thousands of tokens."""
