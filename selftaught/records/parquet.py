"""Rows as one Parquet file, for others to read. What rounds keep are data sets with a manifest: `dataset.py`.

Messages have the fields of tools where a row fills them, and elsewhere not: a reader gets null for what a row leaves
out, and chat templates that ask whether a message has `tool_calls` take null for a call.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from selftaught.records.arrow import struct_of
from selftaught.records.message import Message

AT_ONCE = 1000
"""Rows in memory at once, and in a row group of the file."""

MESSAGES = pa.list_(struct_of(Message))
"""The type of a column of messages."""

_PLAIN = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def write_rows(to: Path | BinaryIO, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` of `schema`, and return how many there were. Raises OSError when the disk is full."""
    with TemporaryFile(dir=to.parent if isinstance(to, Path) else None) as file:
        _write(file, schema, _batches(schema, rows))
        read = cast(Any, pq).ParquetFile(file)
        kept = schema if _filled(read.metadata, "tool_call") else _without_tools(schema)
        _write(to, kept, (batch.cast(kept) for batch in read.iter_batches(AT_ONCE)))
        return read.metadata.num_rows


def _batches(schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    left = iter(rows)
    while some := [dict(each) for each in islice(left, AT_ONCE)]:
        yield pa.RecordBatch.from_pylist(some, schema=schema)


def _write(to: Path | BinaryIO, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with cast(Any, pq).ParquetWriter(to, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _filled(metadata: Any, name: str) -> bool:
    """Whether any row has a value in a column in whose path `name` is."""
    groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
    columns = (group.column(at) for group in groups for at in range(group.num_columns))
    return any(name in each.path_in_schema and each.statistics.null_count < each.num_values for each in columns)


def _without_tools(schema: pa.Schema) -> pa.Schema:
    fields = cast(Iterable["pa.Field[pa.DataType]"], schema)
    return pa.schema([field.with_type(_PLAIN) if field.type == MESSAGES else field for field in fields])
