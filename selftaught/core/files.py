"""Atomic writes of small files and folders, for concurrent readers.

What a killed writer leaves is a scratch file or folder (`.NAME.PID.part`), which the next writer of the name removes,
or whoever opens a folder of ours (`sweep`). Stored folders and journals have rules of their own besides: see
`selftaught.state.store` and `selftaught.state.journal`.
"""

import os
import re
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_SCRATCH = re.compile(r"\.(.+)\.(\d{1,9})\.part")
OLD = 24 * 3600.0
"""Seconds that no writer takes: what is older is swept though its process's number may be another's by now."""


def scratch_name(name: str) -> str:
    """What this process calls what becomes `name`, or goes."""
    return f".{name}.{os.getpid()}.part"


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed writers left in `folder`: of all names, or of `name` and what begins with it and a point."""
    for path in folder.iterdir() if folder.is_dir() else ():
        found = _SCRATCH.fullmatch(path.name)
        ours = found and (not name or f"{found[1]}.".startswith(f"{name}."))
        if found and ours and (not _lives(int(found[2])) or _is_old(path)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's
        pass
    return True


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.lstat().st_mtime > OLD
    except FileNotFoundError:
        return False


def write_atomically(path: Path, content: str) -> None:
    """Write `content` to `path`: a reader finds all of it, or what was there before.

    It is this user's alone to read. The last writer wins. Raises OSError when it cannot be written.
    """
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Generator[TextIO]:
    """A file to write to that replaces `path` when the block ends well; as `write_atomically`, bit by bit."""
    sweep(path.parent, path.name)
    scratch = path.with_name(scratch_name(path.name))
    try:
        scratch.touch(mode=0o600)  # some hold a key
        with scratch.open("w", encoding="utf-8") as file:
            yield file
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
    """A scratch folder beside `folder` that replaces it when the block ends well, and is removed otherwise."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.scratch = self.folder.with_name(scratch_name(self.folder.name))

    def __enter__(self) -> Path:
        sweep(self.folder.parent, self.folder.name)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        return self.scratch

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.scratch.rename(self.folder)
        else:
            shutil.rmtree(self.scratch, ignore_errors=True)
