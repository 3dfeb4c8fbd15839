"""The versions of a line: list, find, roll back."""

from collections.abc import Mapping
from typing import Any

from selftaught.core.errors import BadInput, did_you_mean
from selftaught.serving.backend import Backend
from selftaught.serving.promotion import move
from selftaught.state.tracking import Tracker, Version

ALIASES = ("champion", "challenger", "head", "base", "previous")


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
        wrong = f"has no '{model}' yet" if model in ALIASES else f"unknown version '{model}'"
        close = did_you_mean(model, tracker.aliases(line))
        raise BadInput(f"{line}: {wrong}.{close}\n  accepted: {', '.join(there)}")
    return found[0]


def known(tracker: Tracker, line: str) -> str:
    """`line`, when there is such a line. Raises BadInput, naming those that there are."""
    lines = tracker.lines()
    if line not in lines:
        there = ", ".join(lines) or f"none yet in {tracker.uri}: `selftaught run` makes one"
        raise BadInput(f"unknown model line '{line}'.{did_you_mean(line, lines)}\n  accepted: {there}")
    return line


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
