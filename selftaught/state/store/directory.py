"""The store in a directory, of one machine or of a file system that several share."""

import os
import shutil
import stat
import uuid
from pathlib import Path

from typing_extensions import override

from selftaught.core.files import flush, replacing
from selftaught.state.store.base import Store, Stored
from selftaught.state.store.files import (
    MARKER,
    Marker,
    checked,
    content_of,
    disk_errors,
    fingerprint,
    has_size,
    locked,
    stats_of,
    write_marker,
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
        for file in self._complete(kind, digest).files:
            if not has_size(home, file):
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
        with disk_errors(self.directory):
            return content_of(self._claim_path(key))

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
        return content_of(self._home(kind, digest) / MARKER)

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


def _stored_folder(folder: Path) -> Stored:
    files = [stats for path in folder.rglob("*") if (stats := stats_of(path)) and stat.S_ISREG(stats.st_mode)]
    marker = stats_of(folder / MARKER)
    written = marker.st_mtime if marker else max((file.st_mtime for file in files), default=0.0)
    return Stored(
        name=folder.name, bytes=sum(file.st_size for file in files), written=written, complete=marker is not None
    )


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
    """Create `path` with `value` atomically, only if it is new (hard links are atomic); False if it is not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{uuid.uuid4().hex}")  # not of `tempfile`: such a file is its writer's alone to read
    try:
        with scratch.open("xb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    return True
