"""A small file that others may read at any moment is written whole or not at all, and so is a folder.

Stored folders and journals have rules of their own besides: see `selftaught.store` and `selftaught.journal`.
"""

import os
import shutil
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Write `content` to `path`: a reader finds all of it, or what was there before.

    It is this user's alone to read. Of several writers the last has its way. Raises OSError when it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        scratch.touch(mode=0o600)  # some hold a key
        with scratch.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave an empty file under the name
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have a file or folder on the disk before another that vouches for it is renamed: both survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
