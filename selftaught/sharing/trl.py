"""Training data in TRL's conversational format, for others to train on.

A row has `prompt` and `completion` as chat messages, and the other side of a pair as `rejected`. Tokens and weights of
single tokens stay in the store: they are of one model and one objective.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from selftaught.records import Example, Message, Regress, schema_of

_MESSAGES = pa.list_(pa.struct(list(schema_of(Message))))
SCHEMA = pa.schema(
    [
        *((side, _MESSAGES) for side in ("prompt", "completion", "rejected")),
        ("target", pa.string()),
        ("label", pa.float64()),
        ("weight", pa.float64()),
        ("task", pa.string()),
        ("rollout", pa.string()),
    ]
)
BATCH = 1024


def parquet(examples: Iterable[Example]) -> bytes:
    """`examples` as a Parquet file of rows of `SCHEMA`."""
    file, rows = io.BytesIO(), map(row, examples)
    with cast(Any, pq).ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for some in _batches(rows):
            writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA))
    return file.getvalue()


def row(example: Example) -> dict[str, Any]:
    """One example; `label` is what a partial solution is worth, and null elsewhere."""
    sides = {side: getattr(example, side) for side in ("prompt", "completion", "rejected")}
    return {
        **{side: [message.to_row() for message in messages] for side, messages in sides.items()},
        "target": example.target.type,
        "label": example.target.label if isinstance(example.target, Regress) else None,
        **{name: getattr(example, name) for name in ("weight", "task", "rollout")},
    }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(rows, BATCH)):
        yield some
