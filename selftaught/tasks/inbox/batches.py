"""Batches: files of tasks and feedback that teams upload to a folder or a bucket, atomically.

A batch is a folder of a store, `<where>/drops/<date>-<anything>/`: JSON Lines and Parquet files first, and last the
store's marker `.complete.json`, which lists them with size and SHA-256. Without its marker a batch is not there; with
another size or content than the marker says it is broken. The date stands in the name and not in a file beside the
rows: a listing tells what there is, how old it is and what was used before, without a file being fetched, and there is
one manifest to get right. The name is the batch's identity: what lies under a name that was used is not read again.
Which batches were used is not known here (`selftaught.round.intake`).
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path

from selftaught.core.canonical import canonical
from selftaught.core.errors import BadInput
from selftaught.state.store import DirectoryStore, fingerprint, open_store, visible_files
from selftaught.tasks.sources.jsonl import read_jsonl
from selftaught.tasks.sources.parquet import read_parquet
from selftaught.tasks.sources.rows import Row, Table

KIND = "drops"
READERS: Mapping[str, Callable[[Path, str, Collection[str]], Table]] = {".jsonl": read_jsonl, ".parquet": read_parquet}
"""What a file is read with, by how its name ends."""

MOST_BYTES, MOST_ROWS, MOST_CHARACTERS = 256_000_000, 100_000, 256_000_000
"""What a batch may be at most: bytes as they lie there, rows, and characters in what is read of them."""


def names(where: str) -> list[str]:
    """The complete batches in `where`, by date.

    Raises BadInput when it is a folder that is not there, and store errors.
    """
    if "://" not in where and not Path(where).is_dir():
        raise BadInput(
            f"{where}: no such folder (looked for {Path(where).absolute()}). Check tasks.path, or make it with a first "
            f"upload: selftaught tasks upload FILE --to {where}"
        )
    return open_store(where).list(KIND)


def sizes(where: str) -> Mapping[str, int]:
    """The bytes of each batch in `where` as they lie there, whatever its marker says."""
    return {stored.name: stored.bytes for stored in open_store(where).stored(KIND)}


@contextmanager
def opened(where: str, name: str, size: int, columns: Collection[str]) -> Generator[list[Table]]:
    """The files of one batch of `size` bytes, each checked against its marker, with those of `columns` that each has.

    Raises BadInput when its name has no date, its marker is none, it is larger than a batch may be, or a file is of no
    known kind or cannot be read; StoreError when a file is missing or damaged; Unavailable when the store does not
    answer.
    """
    store = open_store(where)
    dated(name)
    _require_small(f"batch '{name}'", size)
    if isinstance(store, DirectoryStore):
        _require_own(store.directory / KIND / name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = store.get(KIND, name, Path(scratch) / name)
        shown = f"{_shown(where)}/{KIND}/{name}"
        files = [read_file(file, f"{shown}/{file.name}", columns) for file in visible_files(folder)]
        yield bounded(f"batch '{name}'", files)


def _require_small(what: str, size: int) -> None:
    if size > MOST_BYTES:
        raise BadInput(f"{what}: {size:,} bytes, but a batch has {MOST_BYTES:,} at most. Upload it in parts.")


def _require_own(folder: Path) -> None:
    """Raise BadInput when something in `folder` is a link that leads out of it."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{path}: a link that points outside its batch. Upload the file itself.")


def bounded(what: str, tables: Sequence[Table]) -> list[Table]:
    """`tables`, whose rows raise BadInput when they become more, all together, than a batch may have."""
    rows, characters = Counter[str](), Counter[str]()

    def read(table: Table) -> Iterator[tuple[str, Row]]:
        rows[table.name] = characters[table.name] = 0  # it may be read again
        for location, row in table.read():
            rows[table.name] += 1
            characters[table.name] += sum(len(cell) for cell in row.values() if isinstance(cell, str | bytes))
            if rows.total() > MOST_ROWS or characters.total() > MOST_CHARACTERS:
                most = f"{MOST_ROWS:,} rows and {MOST_CHARACTERS:,} characters"
                raise BadInput(f"{what}: more than a batch may have ({most}). Upload it in parts.")
            yield location, row

    return [Table(table.name, partial(read, table), table.columns) for table in tables]


def read_file(path: Path, name: str, columns: Collection[str]) -> Table:
    """The rows of the file at `path`, which messages call `name`. Raises BadInput when it is none of rows."""
    reader = READERS.get(path.suffix)
    if reader is None:
        raise BadInput(f"{name}: no file of rows that is known here. Accepted: {', '.join(READERS)}.")
    if not path.is_file():
        raise BadInput(f"{name}: no such file (looked for {path.absolute()}).")
    return reader(path, name, columns)


def dated(name: str) -> date:
    """The date that a batch's name begins with. Raises BadInput when it begins with none."""
    try:
        return date.fromisoformat(name[:10])
    except ValueError:
        raise BadInput(
            f"batch '{name}': its name does not start with a date. Name it {date(2026, 11, 21)}-{name}."
        ) from None


def write(files: Sequence[Path], where: str, on: date) -> str:
    """Upload `files`, which have been checked, to `where` as of the day `on`; returns the batch's name.

    Equal files on one day are one batch, so that a call that was killed is simply repeated. Raises BadInput when two
    files have one name, StoreError or Unavailable when `where` cannot be written.
    """
    by_name = {file.name: file for file in files}
    if len(by_name) < len(files):
        raise BadInput(f"{', '.join(map(str, files))}: two files of one name. Rename one, or upload them one by one.")
    if hidden := [name for name in by_name if name.startswith(".")]:
        raise BadInput(f"{hidden[0]}: a hidden file, which no store keeps. Rename it.")
    _require_small(", ".join(by_name), sum(file.stat().st_size for file in files))
    with tempfile.TemporaryDirectory() as scratch:
        for name, file in by_name.items():
            (Path(scratch) / name).symlink_to(file.absolute())
        stated = [(file.path, file.sha256) for file in fingerprint(Path(scratch)).files]
        batch = f"{on.isoformat()}-{hashlib.sha256(canonical(stated)).hexdigest()[:12]}"
        open_store(where).put(KIND, batch, Path(scratch))
    return batch


def _shown(where: str) -> str:
    return where.rstrip("/")
