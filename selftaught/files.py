"""A small file that others may read at any moment is written whole or not at all.

Folders of artifacts and journals have rules of their own: see `selftaught.store` and `selftaught.journal`.
"""

import os
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Write `content` to `path`: a reader finds all of it, or what was there before.

    Of several writers the last has its way. Raises OSError when it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
