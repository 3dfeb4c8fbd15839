"""Accuracy: the share of tasks answered right, by greedy decoding or on average over samples.

A task is answered right when its gold answer is given, or where the metric names verifiers, when all of them pass.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Drawing, Metric, Sampler
from selftaught.core.errors import BadInput
from selftaught.evaluation.strategies import iid
from selftaught.records import Group

_NOISE = 1 / 6
"""The mean of p (1 - p) over Beta(1, 2)."""


class Accuracy(Drawing, Metric, type="accuracy"):
    """The pass rate of one greedy answer a task; with `greedy: false`, the mean pass rate of `k` samples (pass@1).

    Scores are named `accuracy` when greedy and `mean@k` otherwise.
    """

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    greedy: Annotated[bool, Field(description="one greedy answer a task, not `k` samples")] = True
    k: Annotated[PositiveInt, Field(description="samples a task when not greedy")] = 1
    temperature: Annotated[float, Field(gt=0, description="of the samples when not greedy")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 96

    @property
    def name(self) -> str:
        """The metric as its scores name it."""
        return "accuracy" if self.greedy else f"mean@{self.k}"

    def sampler(self) -> Sampler:
        """Greedy decoding, or `k` independent samples."""
        return iid(self.k, 0.0 if self.greedy else self.temperature, self.max_tokens, self.drawn())

    @property
    def variance(self) -> float | None:
        """Sampling noise of rates from Beta(1, 2), as in a first round, and gains that differ between tasks by .1."""
        return None if self.k == 1 else 2 * _NOISE / self.k + 0.01

    def value(self, group: Group) -> float:
        """The share of the task's rollouts that passed. Raises BadInput where the engine gave none."""
        if not group.rollouts:
            raise BadInput(f"{self.name}: task {group.id} has no answer to measure. Evaluate it again.")
        return sum(1 for _ in group.accepted()) / len(group.rollouts)

    @model_validator(mode="after")
    def _greedy_is_single(self) -> Self:
        if self.greedy and self.k > 1:
            raise ValueError(
                f"greedy: true takes one answer a task, k: {self.k} several; leave out k, or set greedy: false"
            )
        return self
