"""Content-addressed store: models, data sets and reports under `<kind>/<digest>/`, in a directory or in S3.

A folder is whole or absent: its files come first and the marker `.complete.json`, which lists them with size and
SHA-256, comes last; without a marker a folder does not exist for readers. Files lie under a plain prefix, so that
KServe, MLflow and people can read them without this code. The store also keeps claims: small values of which the first
writer wins. It does not compute digests (`selftaught.records.dataset` and `selftaught.state.weights` do), keeps no
hidden files, and leaves `s3://` to `selftaught.state.store.s3`.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from typing_extensions import override

from selftaught.core.errors import BadInput, StoreError
from selftaught.core.files import flush, replacing

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
    """What a stored folder consists of; written last, so that its presence means that the folder is whole."""

    model_config = ConfigDict(frozen=True)

    files: tuple[StoredFile, ...]


class Stored(BaseModel):
    """What takes room in the store: a folder under its digest, or a claim under its key. Nothing is read to tell.

    `written` is in seconds since the epoch: when a whole folder was marked as such, when anything last came to another.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    written: float
    whole: bool = True


class Store(ABC):
    """Folders by kind and digest, and claims by key. All of it is safe to call from several processes at once."""

    root: str
    """Where the store is, as people name it."""

    @abstractmethod
    def put(self, kind: str, digest: str, folder: Path) -> str:
        """Store the files of `folder` and return their URI; what is there already is not sent again.

        Of two writers of one digest the first wins; a folder whose marker is damaged is written anew. A writer that
        was killed leaves nothing that readers see, and the next `put` goes on. Raises BadInput when the folder is
        missing or empty, StoreError or Unavailable when the store cannot be written.
        """

    @abstractmethod
    def local(self, kind: str, digest: str, cache: Path) -> Path:
        """A folder on this machine with the stored files, to be read only; `cache` is used if they are elsewhere.

        File sizes are checked, contents when they are downloaded. Raises as `get` does.
        """

    @abstractmethod
    def uri(self, kind: str, digest: str) -> str:
        """Where the folder is, or would be, as `file://` or `s3://`."""

    @abstractmethod
    def list(self, kind: str) -> list[str]:
        """The digests of all whole folders of `kind`, sorted."""

    @abstractmethod
    def stored(self, kind: str) -> "list[Stored]":
        """Every folder of `kind` by name, those too that are no whole ones: being written, or of a killed process."""

    @abstractmethod
    def stored_claims(self, prefix: str) -> "list[Stored]":
        """The claims under `prefix/`, by key."""

    @abstractmethod
    def read(self, kind: str, digest: str, path: str) -> bytes:
        """The content of one small file of a folder, unchecked. Raises StoreError when it is not there."""

    @abstractmethod
    def remove(self, kind: str, digest: str) -> None:
        """Remove a folder, its marker first; nothing happens when it is not there."""

    @abstractmethod
    def claim(self, key: str, value: bytes) -> bytes:
        """Set `key` to `value` unless it is set; returns the value that it has, which is the first writer's."""

    @abstractmethod
    def claimed(self, key: str) -> bytes | None:
        """The value of `key`, or None while nobody has claimed it."""

    @abstractmethod
    def claims(self, prefix: str) -> "list[str]":
        """The claimed keys under `prefix/`, sorted."""

    @abstractmethod
    def release(self, key: str) -> None:
        """Forget `key`, so that it can be claimed again."""

    @abstractmethod
    def _marking(self, kind: str, digest: str) -> bytes | None:
        """What the marker of a folder holds, or None when there is no whole folder."""

    @abstractmethod
    def _fetch(self, kind: str, digest: str, path: str, target: Path) -> None:
        """Copy one stored file to `target`."""

    def has(self, kind: str, digest: str) -> bool:
        """Whether the whole folder is there. Raises StoreError when its marker is damaged; `put` heals that."""
        return self._marker(kind, digest) is not None

    def _marker(self, kind: str, digest: str) -> Marker | None:
        marking = self._marking(kind, digest)
        marker = None if marking is None else parsed(marking)
        if marking is not None and marker is None:
            uri = self.uri(kind, digest)
            raise StoreError(f"{uri}/{MARKER}: damaged. Remove {uri} and run the step that makes it again.")
        return marker

    def _is_sound(self, kind: str, digest: str) -> bool:
        """Whether the folder is there with a marker that can be read."""
        marking = self._marking(kind, digest)
        return marking is not None and parsed(marking) is not None

    def get(self, kind: str, digest: str, into: Path) -> Path:
        """Copy a folder to `into`, whole or not at all, every file checked against its stored SHA-256.

        Raises StoreError when it is not there, when a file is damaged or when `into` cannot be written.
        """
        marker = self._whole(kind, digest)
        with disk_errors(into), replacing(into) as scratch:
            for file in marker.files:
                target = scratch / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(kind, digest, file.path, target)
                if sha256_of(target) != file.sha256:
                    raise self._damaged(kind, digest, file)
            write_marker(scratch, marker)
        return into

    def _whole(self, kind: str, digest: str) -> Marker:
        marker = self._marker(kind, digest)
        if marker is None:
            raise StoreError(f"{self.uri(kind, digest)}: not in the store. Run the step that makes it again.")
        return marker

    def _lost(self, kind: str, digest: str, path: str) -> StoreError:
        return StoreError(
            f"{self.uri(kind, digest)}/{path}: missing though it was stored. Remove the folder and run the step "
            "that makes it again."
        )

    def _damaged(self, kind: str, digest: str, file: StoredFile) -> StoreError:
        uri = self.uri(kind, digest)
        return StoreError(
            f"{uri}/{file.path}: damaged, its content is not what was stored ({file.size} bytes, sha256 "
            f"{file.sha256[:12]}…). Remove {uri} and run the step that makes it again."
        )


class DirectoryStore(Store):
    """A store in a directory. Needs a file system with hard links and `flock`, as local disks and NFS 4 have."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).resolve()
        self.root = str(self.directory)

    @override
    def put(self, kind: str, digest: str, folder: Path) -> str:
        home = self._home(kind, digest)
        if not self._is_sound(kind, digest):
            marker = fingerprint(folder)
            with disk_errors(self.directory), locked(home.parent):
                if not self._is_sound(kind, digest):
                    _sweep(home.parent)
                    _copy_folder(folder, marker, home)
        return self.uri(kind, digest)

    @override
    def local(self, kind: str, digest: str, cache: Path) -> Path:
        home = self._home(kind, digest)
        for file in self._whole(kind, digest).files:
            if not _has_size(home, file):
                raise self._damaged(kind, digest, file)
        return home

    @override
    def uri(self, kind: str, digest: str) -> str:
        return self._home(kind, digest).as_uri()

    @override
    def list(self, kind: str) -> list[str]:
        markers = (self.directory / checked(kind)).glob(f"*/{MARKER}")
        return sorted(marker.parent.name for marker in markers if not marker.parent.name.startswith("."))

    @override
    def stored(self, kind: str) -> "list[Stored]":
        folders = (path for path in (self.directory / checked(kind)).glob("[!.]*") if path.is_dir())
        return sorted(map(_stored_folder, folders), key=lambda stored: stored.name)

    @override
    def stored_claims(self, prefix: str) -> "list[Stored]":
        root = self.directory / "claims"
        found = ((key, stats_of(root / key)) for key in self.claims(prefix))
        return [Stored(name=key, bytes=stats.st_size, written=stats.st_mtime) for key, stats in found if stats]

    @override
    def read(self, kind: str, digest: str, path: str) -> bytes:
        try:
            return (self._home(kind, digest) / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise self._lost(kind, digest, path) from None

    @override
    def remove(self, kind: str, digest: str) -> None:
        home = self._home(kind, digest)
        if home.exists():
            with disk_errors(self.directory), locked(home.parent):
                (home / MARKER).unlink(missing_ok=True)
                if home.exists():  # and was not removed by another process meanwhile
                    shutil.rmtree(home)

    @override
    def claim(self, key: str, value: bytes) -> bytes:
        path = self._claim_path(key)
        with disk_errors(self.directory):
            while not _create(path, value):
                winner = self.claimed(key)
                if winner is not None:  # None: released since; try again
                    return winner
        return value

    @override
    def claimed(self, key: str) -> bytes | None:
        return _content(self._claim_path(key))

    @override
    def claims(self, prefix: str) -> "list[str]":
        root = self.directory / "claims"
        found = (path.relative_to(root) for path in self._claim_path(prefix).rglob("[!.]*") if path.is_file())
        return sorted(path.as_posix() for path in found)

    @override
    def release(self, key: str) -> None:
        with disk_errors(self.directory):
            self._claim_path(key).unlink(missing_ok=True)

    @override
    def _marking(self, kind: str, digest: str) -> bytes | None:
        return _content(self._home(kind, digest) / MARKER)

    @override
    def _fetch(self, kind: str, digest: str, path: str, target: Path) -> None:
        source = self._home(kind, digest) / path
        if source.exists() and not source.is_file():  # a device or a pipe, which may have no end
            raise self._lost(kind, digest, path)
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:
            raise self._lost(kind, digest, path) from None

    def _home(self, kind: str, digest: str) -> Path:
        return self.directory / checked(kind) / checked(digest)

    def _claim_path(self, key: str) -> Path:
        return self.directory.joinpath("claims", *map(checked, key.split("/")))


def open_store(location: str) -> Store:
    """The store at `location`: a directory, or `s3://bucket/prefix`.

    `minio://` is what Kubeflow Pipelines calls the same thing; the store's own URIs are `s3://`, because KServe knows
    no other. S3 endpoint, region and credentials come from where every AWS tool takes them (AWS_ENDPOINT_URL_S3,
    AWS_REGION, AWS_CA_BUNDLE, AWS_ACCESS_KEY_ID … or the instance's role). Nothing is contacted yet. Raises BadInput
    on any other scheme.
    """
    scheme, separator, rest = location.partition("://")
    if not separator and re.match(r"(s3|minio|file):", location):
        meant = re.sub(r"^(\w+):/*", r"\1://", location)
        raise BadInput(f"{location}: neither a directory nor a URL. Is {meant} meant?")
    if not separator or scheme == "file":
        return DirectoryStore(Path(rest or location))
    if scheme in ("s3", "minio"):
        from selftaught.state.store.s3 import S3Store

        bucket, _, prefix = rest.partition("/")
        return S3Store(bucket, prefix)
    raise BadInput(f"{location}: no store that is known here. Accepted: a directory, or s3://bucket/prefix.")


# Files and folders ----------------------------------------------------------------------------------------------------


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
    return parsed(_content(folder / MARKER) or b"")


def parsed(marking: bytes) -> Marker | None:
    """A marker from what its file holds, or None when that is damaged."""
    try:
        return Marker.model_validate_json(marking)
    except ValidationError:
        return None


def _content(path: Path) -> bytes | None:
    """What a file holds, or None when there is none; what is no regular file (a pipe, a folder) is none."""
    try:
        return path.read_bytes() if path.is_file() else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_marker(folder: Path, marker: Marker) -> None:
    """Mark a local `folder` as whole."""
    (folder / MARKER).write_text(marker.model_dump_json(indent=2) + "\n", encoding="utf-8")


def is_whole(folder: Path) -> bool:
    """Whether a local `folder` is marked as whole and its files have the sizes that the marker states."""
    marker = read_marker(folder)
    return marker is not None and all(_has_size(folder, file) for file in marker.files)


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
def disk_errors(place: Path) -> Generator[None]:
    """Say an OSError of the block (disk full, read-only, not permitted …) as a StoreError that names the file."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Make it a directory that can be written")
        raise StoreError(
            f"{error.filename2 or error.filename or place}: {error.strerror or error}. {fix}, or choose another place."
        ) from error


def _stored_folder(folder: Path) -> Stored:
    files = [stats for path in folder.rglob("*") if (stats := stats_of(path)) and stat.S_ISREG(stats.st_mode)]
    marker = stats_of(folder / MARKER)
    written = marker.st_mtime if marker else max((file.st_mtime for file in files), default=0.0)
    return Stored(
        name=folder.name, bytes=sum(file.st_size for file in files), written=written, whole=marker is not None
    )


def _has_size(folder: Path, file: StoredFile) -> bool:
    path = folder / file.path
    return path.is_file() and path.stat().st_size == file.size


def _sweep(folder: Path) -> None:
    """Remove what killed writers left; the caller holds the lock, so nobody alive writes there."""
    for scratch in folder.glob(".*.part"):
        shutil.rmtree(scratch, ignore_errors=True)


def _copy_folder(source: Path, marker: Marker, home: Path) -> None:
    with replacing(home) as scratch:
        for file in marker.files:
            target = scratch / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file.path, target)
            flush(target)
        write_marker(scratch, marker)
        flush(scratch / MARKER)


def _create(path: Path, value: bytes) -> bool:
    """Create `path` with `value`, whole and only if it is new (hard links are made atomically); False if it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as scratch:
        scratch.write(value)
        scratch.flush()
        os.fsync(scratch.fileno())
        try:
            os.link(scratch.name, path)
        except FileExistsError:
            return False
    return True
