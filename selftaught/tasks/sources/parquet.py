"""Parquet: tasks from the rows of one Parquet file, some thousand at a time.

Only the columns that are asked for are read: what Python has no word for in another is nobody's business.
"""

from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from selftaught.core.errors import BadInput
from selftaught.tasks.sources.cells import as_written, reason
from selftaught.tasks.sources.file_source import FileSource
from selftaught.tasks.sources.rows import Row, Table

_KINDS = {"float": "float32", "halffloat": "float16"}
"""What Arrow calls them."""
BATCH = 1_000
"""Rows that are in memory at once."""


class Parquet(FileSource, type="parquet"):
    """Tasks from the rows of `path`."""

    def read(self, path: Path) -> Table:
        """All rows. Raises BadInput on a file of another format, or a truncated one."""
        return read_parquet(path, str(path), self.wanted)


def read_parquet(path: Path, name: str, columns: Collection[str]) -> Table:
    """The rows of the file at `path`, which messages call `name`, with those of `columns` that they have.

    Raises BadInput when it is no Parquet file.
    """
    try:
        schema: Any = cast(Any, pq).read_schema(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadInput(f"{name}: cannot be read as Parquet ({reason(error)}).") from None
    known = [column for column in columns if column in schema.names]
    if twice := [column for column in known if schema.names.count(column) > 1]:
        raise BadInput(f"{name}: has several columns '{twice[0]}'. Rename all but the right one.")
    return Table(name, lambda: _rows(path, name, known, _texts(schema, known)), dict.fromkeys(schema.names))


def _texts(schema: Any, columns: Collection[str]) -> list[str]:
    """Columns of text stay encoded: a long text that stands in every row is then in memory once."""
    return [column for column in columns if pa.types.is_string(schema.field(column).type)]


def _rows(path: Path, name: str, columns: Collection[str], encoded: Collection[str]) -> Iterator[tuple[str, Row]]:
    with cast(Any, pq).ParquetFile(path, read_dictionary=list(encoded)) as file:
        numbers = count(1)
        for batch in file.iter_batches(batch_size=BATCH, columns=list(columns)):
            cells = [batch.column(column) for column in columns]
            kinds = [_KINDS.get(str(cell.type), "") for cell in cells]
            for row in range(batch.num_rows):
                written = map(as_written, (cell[row].as_py() for cell in cells), kinds)
                yield f"{name}: row {next(numbers)}", dict(zip(columns, written, strict=True))
