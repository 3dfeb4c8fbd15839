"""The models of a line, as people name them: list, find, roll back; and freeing what can be made again."""

import fcntl
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selftaught.errors import BadInput, did_you_mean
from selftaught.serving.backend import Backend
from selftaught.serving.pointer import move
from selftaught.serving.processes import pid_files, reap
from selftaught.tracking import Tracker, Version

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ALIASES = ("champion", "challenger", "head", "base", "previous")
REMAKEABLE = ("cache", "scratch", "engines")
"""Folders of the home that hold nothing that is not elsewhere."""


def rows(tracker: Tracker, line: str = "") -> list[dict[str, Any]]:
    """Every version of `line` (of every line when empty) as a row for people and machines."""
    return [row for name in ([known(tracker, line)] if line else tracker.lines()) for row in _line_rows(tracker, name)]


def _line_rows(tracker: Tracker, line: str) -> list[dict[str, Any]]:
    pointers = tracker.aliases(line)
    return [
        _row(version, tags, [a for a, p in pointers.items() if p.version == version.version])
        for version, tags in tracker.tagged_versions(line)
    ]


def _row(version: Version, tags: Mapping[str, str], aliases: list[str]) -> dict[str, Any]:
    return {
        "line": version.line,
        "version": version.version,
        "digest": version.digest,
        "short": version.digest[:8],
        "uri": version.uri,
        "aliases": ", ".join(sorted(aliases)),
        **{key: tags.get(f"selftaught.{key}", "") for key in ("outcome", "recipe", "round")},
    }


def find(tracker: Tracker, line: str, model: str) -> Version:
    """The version of `line` that `model` names: an alias, a version number, or the start of a digest.

    Raises BadInput when there is no such line or version, naming those that there are.
    """
    known(tracker, line)
    aliased = tracker.aliases(line).get(model)
    if aliased is not None:
        return aliased
    versions = tracker.versions(line)
    found = [v for v in versions if v.version == model or (len(model) >= 6 and v.digest.startswith(model))]
    if len(found) != 1:
        there = [*tracker.aliases(line), *(f"{v.version} ({v.digest[:8]})" for v in versions)]
        wrong = f"has no '{model}' yet" if model in ALIASES else f"'{model}' is no version of it"
        close = did_you_mean(model, tracker.aliases(line))
        raise BadInput(f"{line}: {wrong}.{close}\n  accepted: {', '.join(there)}")
    return found[0]


def known(tracker: Tracker, line: str) -> str:
    """`line`, when there is such a line. Raises BadInput, naming those that there are."""
    lines = tracker.lines()
    if line not in lines:
        there = ", ".join(lines) or f"none yet in {tracker.uri}: `selftaught run` makes one"
        raise BadInput(f"'{line}' is no model line.{did_you_mean(line, lines)}\n  accepted: {there}")
    return line


def named(name: str, option: str) -> str:
    """`name`, when a line or campaign may be called that: it becomes part of paths, addresses and MLflow's names."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{option} '{name}': letters, digits, dashes, dots and underscores only, the first no dot.")
    return name


def rollback(
    tracker: Tracker, backend: Backend, line: str, to: str, expected: str | None = None
) -> tuple[Version, Version]:
    """Make the version that `to` names the champion again. Returns the champion before and the one now.

    With `expected`, a champion of another digest is not replaced: RoundFailed.
    """
    old, new = find(tracker, line, "champion"), find(tracker, line, to)
    if old == new:
        raise BadInput(f"{line}: version {new.version} is the champion already. Name another with --to.")
    if new.removed:
        raise BadInput(
            f"{line}: the files of version {new.version} were removed on {new.removed} (`selftaught gc`). "
            "Name a version that is kept."
        )
    move(tracker, backend, new, expected)
    return old, new


def clean_home(home: Path, everything: bool) -> int:
    """Stop engines that a killed run left, remove what can be made again or the whole home; returns bytes freed.

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
