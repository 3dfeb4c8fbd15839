"""A small file that others may read at any moment is written whole or not at all; and a file is had on the disk.

Folders of artifacts and journals have rules of their own: see `selftaught.store` and `selftaught.journal`.
"""

import os
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
