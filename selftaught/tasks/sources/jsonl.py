"""JSONL: tasks from a file with one JSON object a line. Blank lines are skipped; nothing else is forgiven.

A file is UTF-8, with a byte order mark or without. One line is read after the other.
"""

import json
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

from selftaught.core.errors import BadInput
from selftaught.tasks.sources.cells import shown
from selftaught.tasks.sources.file_source import FileSource
from selftaught.tasks.sources.rows import Row, Table

LONGEST = 16_000_000
"""Bytes of a line."""

BOM = b"\xef\xbb\xbf"


class Jsonl(FileSource, type="jsonl"):
    """Tasks from the lines of `path`."""

    def read(self, path: Path) -> Table:
        """One row a line; a line that is not a JSON object is reported with the rows."""
        return read_jsonl(path, str(path), self.wanted)


def read_jsonl(path: Path, name: str, columns: Collection[str]) -> Table:
    """The rows of the file at `path`, which messages call `name`, with those of `columns` that they have."""
    met: dict[str, None] = {}

    def rows() -> Iterator[tuple[str, Row]]:
        for location, line in _lines(path, name):
            row = _row(location, line)
            if len(met) < MOST_COLUMNS:
                met.update(dict.fromkeys(row))
            yield location, {column: row[column] for column in columns if column in row}

    return Table(name, rows, met)


MOST_COLUMNS = 1_000
"""Names of columns that are remembered for messages."""


def _lines(path: Path, name: str) -> Iterator[tuple[str, str]]:
    """The lines that are not blank. A line ends at a line feed: texts that people typed hold other separators."""
    with path.open("rb") as file:
        for number in count(1):
            begin, line = file.tell(), file.readline(LONGEST + 1)
            if not line:
                return
            if len(line) > LONGEST:
                raise BadInput(f"{name}:{number}: is longer than {LONGEST:,} bytes. Is it a JSONL file?")
            bare = line.removeprefix(BOM)  # which files that were put together have in their middle
            if bare.strip():
                yield f"{name}:{number}", _text(bare, name, begin + len(line) - len(bare))


def _text(line: bytes, name: str, begin: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: not UTF-8 text (byte {begin + error.start}). Is it a JSONL file?") from None


def _row(location: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line.rstrip())  # else what is missing at its end is missing in the next line
    except json.JSONDecodeError as error:
        raise BadInput(
            f"{location}: not JSON ({error.msg}, column {error.colno}). Each line should be an object."
        ) from None
    except ValueError:
        raise BadInput(f"{location}: has a number with more digits than are read. Put it in quotes.") from None
    except RecursionError:
        raise BadInput(f"{location}: is nested too deeply to be read. Each line should be an object.") from None
    if not isinstance(row, dict):
        start = shown(line.strip()[:40])
        raise BadInput(f"{location}: {type(row).__name__} {start}, where each line should be a JSON object.")
    return cast(dict[str, Any], row)
