"""Files and folders: when a stored folder is complete, valid names, and locks for writers."""

import errno
import fcntl
import hashlib
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from selftaught.core.errors import BadInput, StoreError

MARKER = ".complete.json"
_FIXES = {errno.ENOSPC: "Free some space on its disk", errno.EDQUOT: "Free some of its quota"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


class StoredFile(BaseModel):
    """One file of a stored folder: path relative to the folder, size in bytes, SHA-256 (hex)."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        """Markers may come from elsewhere: one that led out of its folder would have files written anywhere."""
        if "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} leads out of the folder")
        return path


class Marker(BaseModel):
    """What a stored folder consists of; written last, so that its presence means that the folder is complete."""

    model_config = ConfigDict(frozen=True)

    files: tuple[StoredFile, ...]


def visible_files(folder: Path) -> list[Path]:
    """Every file under `folder`, sorted by its path relative to it; hidden files and folders are left out."""
    files = (path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())
    shown = (path for path in files if not any(part.startswith(".") for part in path.parts))
    return [folder / path for path in sorted(shown, key=Path.as_posix)]


def stats_of(path: Path) -> os.stat_result | None:
    """Size and times of a file, or None when it is gone by now, or a link to itself."""
    try:
        return path.stat()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None


def sha256_of(path: Path) -> str:
    """The SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(folder: Path) -> Marker:
    """The marker of `folder` as it is now. Raises BadInput when it is missing or holds no files."""
    files = visible_files(folder)
    if not files:
        raise BadInput(f"{folder}: {'holds no files' if folder.is_dir() else 'no such folder'}; nothing to store.")
    return Marker(
        files=tuple(
            StoredFile(path=file.relative_to(folder).as_posix(), size=file.stat().st_size, sha256=sha256_of(file))
            for file in files
        )
    )


def read_marker(folder: Path) -> Marker | None:
    """The marker in a local `folder`, or None when there is none that can be read."""
    return parsed(content_of(folder / MARKER) or b"")


def parsed(marking: bytes) -> Marker | None:
    """A marker from what its file holds, or None when that is damaged."""
    try:
        return Marker.model_validate_json(marking)
    except ValidationError:
        return None


def content_of(path: Path) -> bytes | None:
    """What a file holds, or None when there is none; what is no regular file (a pipe, a folder) is none."""
    try:
        return path.read_bytes() if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_marker(folder: Path, marker: Marker) -> None:
    """Mark a local `folder` as complete."""
    (folder / MARKER).write_text(marker.model_dump_json(indent=2) + "\n", encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Whether a local `folder` is marked as complete and its files have the sizes that the marker states."""
    marker = read_marker(folder)
    return marker is not None and all(has_size(folder, file) for file in marker.files)


def checked(name: str) -> str:
    """`name` when it is fit for a path and an object key: no separators, not hidden. Raises BadInput when it is not."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r}: not a name for the store. Letters, digits and ._=+- only, the first no dot.")
    return name


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the one writer's lock of `folder` (made if need be); the system frees it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def disk_errors(target: Path) -> Generator[None]:
    """Say an OSError of the block (disk full, read-only, not permitted …) as a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Make it a directory that can be written")
        raise StoreError(
            f"{error.filename2 or error.filename or target}: {error.strerror or error}. {fix}, or choose another "
            "location."
        ) from error


def has_size(folder: Path, file: StoredFile) -> bool:
    """Whether `file` is in `folder` with the size that its marker states."""
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size
