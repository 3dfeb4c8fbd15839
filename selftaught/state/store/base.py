"""The interface of every store: folders by kind and digest, claims by key."""

from abc import ABC, abstractmethod
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from selftaught.core.errors import StoreError
from selftaught.core.files import replacing
from selftaught.state.store.files import MARKER, Marker, StoredFile, disk_errors, parsed, sha256_of, write_marker


class Stored(BaseModel):
    """What takes room in the store: a folder under its digest, or a claim under its key. Nothing is read to tell.

    `written` is in seconds since the epoch: when a complete folder was marked as such, when anything last came to
    another.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    written: float
    complete: bool = True


class Store(ABC):
    """Folders by kind and digest, and claims by key. All of it is safe to call from several processes at once."""

    root: str
    """Where the store is, as people name it."""

    @abstractmethod
    def put(self, kind: str, digest: str, folder: Path) -> str:
        """Store the files of `folder` and return their URI; what is there already is not sent again.

        Of two writers of one digest the first wins; a folder whose marker is damaged is rewritten. A writer that
        was killed leaves nothing that readers see, and the next `put` resumes it. Raises BadInput when the folder is
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
        """The digests of all complete folders of `kind`, sorted."""

    @abstractmethod
    def stored(self, kind: str) -> "list[Stored]":
        """Every folder of `kind` by name, incomplete ones too: being written, or of a killed process."""

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
        """What the marker of a folder holds, or None when there is no complete folder."""

    @abstractmethod
    def _fetch(self, kind: str, digest: str, path: str, target: Path) -> None:
        """Copy one stored file to `target`."""

    def has(self, kind: str, digest: str) -> bool:
        """Whether the entire folder is there. Raises StoreError when its marker is damaged; `put` heals that."""
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
        """Copy a folder to `into` atomically, with every file checked against its stored SHA-256.

        Raises StoreError when it is not there, when a file is damaged or when `into` cannot be written.
        """
        marker = self._complete(kind, digest)
        with disk_errors(into), replacing(into) as scratch:
            for file in marker.files:
                target = scratch / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                self._fetch(kind, digest, file.path, target)
                if sha256_of(target) != file.sha256:
                    raise self._damaged(kind, digest, file)
            write_marker(scratch, marker)
        return into

    def _complete(self, kind: str, digest: str) -> Marker:
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
