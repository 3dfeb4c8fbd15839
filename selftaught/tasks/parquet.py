"""Parquet: tasks from the rows of one Parquet file."""

from pathlib import Path
from typing import Any, cast

import pyarrow.parquet as pq

from selftaught.errors import BadInput
from selftaught.tasks.files import FileSource
from selftaught.tasks.rows import Table


class Parquet(FileSource, type="parquet"):
    """Tasks from the rows of `path`."""

    def read(self, path: Path) -> Table:
        """All rows. Raises BadInput on a file of another format, or a truncated one."""
        return read_parquet(path, str(path))


def read_parquet(path: Path, name: str) -> Table:
    """The rows of the file at `path`, which messages call `name`."""
    try:
        rows: list[dict[str, Any]] = cast(Any, pq).read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise BadInput(f"{name}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from None
    return Table(name, rows, [f"{name}: row {number}" for number in range(1, len(rows) + 1)])
