"""Scores: the value of one metric for a model on one task."""

from functools import cached_property
from typing import Any, Self

from typing_extensions import override

from selftaught.records.base import Record, content_id
from selftaught.records.task import Split


class TaskScore(Record):
    """One metric of one model on one task, with the rollouts that it was measured on, to read and to pair.

    `value` is in [0, 1] unless the metric says otherwise; `texts` are the answers in index order. `errors` counts the
    rollouts that could not be judged: `value` takes them for wrong, so nothing is decided by it where there are any.
    """

    model: str
    metric: str
    split: Split
    task: str
    value: float
    question: str = ""
    answer: str | None = None
    source: str = ""
    template: str | None = None
    texts: tuple[str, ...] = ()
    passed: tuple[bool, ...] = ()
    completion_tokens: int = 0
    errors: int = 0

    @override
    def to_row(self) -> dict[str, Any]:
        """As of before errors were counted where there are none, so that the digests of older scores stand."""
        return self.model_dump(mode="json", exclude=None if self.errors else {"errors"})

    @classmethod
    @override
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls.model_validate({name: value for name, value in row.items() if (name, value) != ("errors", None)})

    @cached_property
    def id(self) -> str:
        """Content id over what was measured on what: one score a model, metric, split and task."""
        return content_id([self.model, self.metric, self.split, self.task])
