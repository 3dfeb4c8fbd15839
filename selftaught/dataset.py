"""One data set on disk: a folder with `data.parquet` and `manifest.json`.

Writes whole data sets atomically and reads them back as records, checking what was read against the manifest. The
digest is over canonical rows in order, not over file bytes, so another Parquet writer gives the same digest. Where
data sets are kept and how they are shared is `selftaught.store`'s business.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from selftaught import __version__
from selftaught.errors import BadInput, StoreError
from selftaught.records import RECORDS, Record, canonical

R = TypeVar("R", bound=Record)


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
        sha.update(canonical(row.to_row()))
        sha.update(b"\n")
    return sha.hexdigest()


def write(
    folder: Path,
    rows: Sequence[Record],
    kind: str,
    *,
    parents: Mapping[str, str] | None = None,
    recipe: str = "",
    counts: Mapping[str, float] | None = None,
) -> Manifest:
    """Write `rows` to `folder`, whole or not at all, and return the manifest.

    Raises OSError when the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    digest = digest_of(rows)
    manifest = Manifest(
        kind=kind,
        digest=digest,
        rows=len(rows),
        schema_version=RECORDS[kind].SCHEMA,
        parents=parents or {},
        recipe=recipe,
        counts=counts or {},
    )
    table = pa.Table.from_pylist([row.to_row() for row in rows], schema=RECORDS[kind].ARROW)
    with replacing(folder) as scratch:
        pq.write_table(  # pyright: ignore[reportUnknownMemberType]
            table, scratch / "data.parquet", compression="zstd"
        )
        (scratch / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest


class replacing:  # noqa: N801 (used as a function)
    """A scratch folder beside `folder` that takes its place when the block ends well, and is removed otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.scratch = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.part")

    def __enter__(self) -> Path:
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        return self.scratch

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.scratch.rename(self.folder)
        else:
            shutil.rmtree(self.scratch, ignore_errors=True)


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
    """All rows of the data set in `folder` as `record`s, checked against the manifest's digest.

    Raises BadInput when the folder holds another kind, a truncated or altered file, or another schema.
    """
    stated = manifest(folder)
    path = Path(folder) / "data.parquet"
    if RECORDS.get(stated.kind) is not record:
        raise BadInput(f"{folder}: holds {stated.kind}, not {record.__name__} rows.")
    if stated.schema_version != record.SCHEMA:
        raise BadInput(
            f"{folder}: has schema {stated.schema_version} of {stated.kind}, and this is {record.SCHEMA}. "
            f"Read it with selftaught {stated.code}, or make it again."
        )
    try:
        rows = [record.from_row(row) for row in _rows(path)]
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:  # what damaged bytes may look like
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: cannot be read ({reason}). Remove {folder} and run again.") from None
    if (digest_of(rows), len(rows)) != (stated.digest, stated.rows):
        raise BadInput(f"{path}: its rows are not those of its manifest. Remove {folder} and run again.")
    return rows


def _rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()  # pyright: ignore[reportUnknownMemberType]
