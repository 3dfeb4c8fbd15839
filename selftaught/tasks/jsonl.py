"""JSONL: tasks from a file with one JSON object a line. Blank lines are skipped; nothing else is forgiven."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from selftaught.errors import BadInput
from selftaught.tasks.files import FileSource
from selftaught.tasks.rows import Table


class Jsonl(FileSource, type="jsonl"):
    """Tasks from the lines of `path`."""

    def read(self, path: Path) -> Table:
        """One row a line. Raises BadInput, naming the line, on anything that is no JSON object."""
        return read_jsonl(path, str(path))


def read_jsonl(path: Path, name: str) -> Table:
    """The rows of the file at `path`, which messages call `name`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would also split at U+2028 in a text
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not UTF-8 text (byte {error.start}). Is it a JSONL file?") from None
    places = {f"{name}:{number}": line for number, line in enumerate(lines, 1) if line.strip()}
    return Table(name, [_row(place, line) for place, line in places.items()], list(places))


def _row(place: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{place}: no JSON ({error.msg}, column {error.colno}). Each line is to be an object.") from None
    if not isinstance(row, dict):
        raise BadInput(f"{place}: {type(row).__name__} {line[:40]!r}, where each line is to be a JSON object.")
    return cast(dict[str, Any], row)
