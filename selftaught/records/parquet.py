"""Rows as one Parquet file, for others to read. What rounds keep are data sets with a manifest: `dataset.py`."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

AT_ONCE = 1000
"""Rows in memory at once, and in a row group of the file."""


def write_rows(to: Path | BinaryIO, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` of `schema`, and return how many there were. Raises OSError when the disk is full."""
    count, left = 0, iter(rows)
    with cast(Any, pq).ParquetWriter(to, schema, compression="zstd") as file:
        while some := [dict(each) for each in islice(left, AT_ONCE)]:
            file.write_table(pa.Table.from_pylist(some, schema=schema))
            count += len(some)
    return count
