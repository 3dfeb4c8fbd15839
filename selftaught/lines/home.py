"""Cleaning this machine's home: removes what can be recreated, unless a line is running or being served."""

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from selftaught.core.errors import BadInput
from selftaught.serving.engines.sessions import pid_files, reap

REMAKEABLE = ("cache", "scratch", "engines")
"""Folders of the home that hold nothing that is not elsewhere."""


def clean_home(home: Path, everything: bool) -> int:
    """Stop engines that a killed run left, remove what can be made again or the entire home; returns bytes freed.

    Raises BadInput while a line of the home is being run or served.
    """
    if not home.exists():
        return 0
    if used := list(_in_use(home)):
        raise BadInput(f"{home}: in use ({', '.join(used)}). Stop that first: Ctrl-C there, or `selftaught down`.")
    reap(home / "engines")
    before = _size(home)
    for folder in [home] if everything else [home / name for name in REMAKEABLE]:
        shutil.rmtree(folder, ignore_errors=True)
    return before - _size(home)


def _in_use(home: Path) -> Iterator[str]:
    """The lines that are being run (their locks are held) and the engines whose owners live."""
    for lock in home.glob("campaigns/*/lock"):
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"a run on line {lock.parent.name}"
    yield from (f"engine {note.name}" for _, note in pid_files(home / "engines") if note.owner.alive)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
