"""Training data in TRL's conversational format, for others to train on.

A row has `prompt` and `completion` as chat messages, and the other side of a pair as `rejected`. Tokens and weights of
single tokens stay in the store: they are of one model and one objective.
"""

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from selftaught.records import Example, Regress
from selftaught.records.parquet import MESSAGES, write_rows

SCHEMA = pa.schema(
    [
        *((side, MESSAGES) for side in ("prompt", "completion", "rejected")),
        ("target", pa.string()),
        ("label", pa.float64()),
        ("weight", pa.float64()),
        ("task", pa.string()),
        ("rollout", pa.string()),
    ]
)


def parquet(examples: Iterable[Example]) -> bytes:
    """`examples` as a Parquet file of rows of `SCHEMA`."""
    file = io.BytesIO()
    write_rows(file, SCHEMA, map(row, examples))
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
