"""A recipe's named evaluation sets: tasks beside its own (out of distribution, retention, safety), and their metrics.

Champion and challenger answer them in every round. A set without a margin is for reports; with one it is the gate's:
a loss of the margin has to be excluded on it. How that is tested is `selftaught.evaluation.guard`'s business.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from selftaught.blocks import Margin, Metric, OnlyFor, TaskSource
from selftaught.blocks.loading import OnAxis, OneOrMore
from selftaught.tasks.inbox.source import Inbox

if TYPE_CHECKING:
    from selftaught.recipe import Stage


class EvaluationSet(BaseModel):
    """Tasks that champion and challenger answer beside the recipe's own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    tasks: Annotated[TaskSource, OnAxis("tasks"), OnlyFor("report")]
    """Where its `report` tasks come from, the same in every round of a campaign; other sizes may be left out."""
    metrics: Annotated[tuple[Annotated[Metric, OnAxis("evaluate")], ...], OneOrMore()] = ()
    """What is measured on it; the stage's `evaluate` unless given."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The loss that the gate has to exclude on it, as on guard tasks; without one no decision looks at it."""

    @field_validator("tasks")
    @classmethod
    def _can_be_drawn_again(cls, source: TaskSource) -> TaskSource:
        if isinstance(source, Inbox):
            raise ValueError("an inbox gives its tasks to one round each. Name a file: {type: jsonl, path: …}.")
        return source

    @field_validator("metrics")
    @classmethod
    def _metrics_differ(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        require_fair(metrics)
        names = [metric.name for metric in metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"lists {', '.join(twice)} twice. Keep one, or give it another k.")
        return metrics

    def measured(self, stage: "Stage") -> Sequence[Metric]:
        """What is measured on it in a round of `stage`."""
        return self.metrics or stage.evaluate

    def guards(self, stage: "Stage") -> bool:
        """Whether the gate of `stage` looks at it."""
        return self.margin is not None and stage.gate is not None

    def deciding(self, stage: "Stage") -> Sequence[Metric]:
        """The metrics in which the gate of `stage` has to exclude a loss: its own, else the one that the gate goes by.

        Metrics of which more is not better are measured only.
        """
        better = [metric for metric in self.measured(stage) if metric.higher_is_better]
        own = [metric for metric in better if self.metrics or metric.name == getattr(stage.gate, "metric", metric.name)]
        return own if self.guards(stage) else ()

    def allowed(self, stage: "Stage") -> Margin:
        """The loss that the gate of `stage` has to exclude on it, and in which metrics."""
        return Margin(tuple(metric.name for metric in self.deciding(stage)), self.margin or 0.0)


def require_fair(metrics: Sequence[Metric]) -> None:
    """Raise ValueError for a metric that measures answers which the gold answer has led to."""
    for metric in metrics:
        if field := metric.sampler().sees_gold():
            raise ValueError(
                f"'{metric.name}' measures a search that the gold answer leads ({field}), which nobody has who asks. "
                "Leave it out (`hints: null`, `limits: {solved: false}`), or value nodes by value_model, p_true, vote."
            )


def require_minded(sets: Mapping[str, EvaluationSet], stages: Sequence["Stage"]) -> None:
    """Raise ValueError for a margin that no gate would look at."""
    for name, each in sets.items():
        for problem in _unminded(each, stages):
            raise ValueError(f"sets.{name}.margin: {problem}")


def _unminded(each: EvaluationSet, stages: Sequence["Stage"]) -> Iterator[str]:
    deciding = [stage for stage in stages if each.guards(stage)]
    if each.margin is not None and not deciding:
        yield "no stage has a gate, which a margin is for. Leave it out."
    for stage in deciding:
        if stage.gate and not stage.gate.minds_sets:
            yield f"the gate of {stage.name}, '{stage.gate.name}', does not look at sets. Leave it out."
        if not each.deciding(stage):
            yield "of none of its metrics more is better, so there is no loss to exclude. Add accuracy to metrics."
