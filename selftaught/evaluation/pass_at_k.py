"""pass@k: the chance that at least one of k samples is right.

The unbiased estimate from n >= k samples a task (Chen et al. 2021); it tells what a model can find, not what it
answers, and a perfect verifier would be needed to harvest it.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Drawing, Metric, Sampler
from selftaught.core.statistics import pass_at_k
from selftaught.evaluation.strategies import iid
from selftaught.records import Group


class PassAtK(Drawing, Metric, type="pass_at_k"):
    """pass@`k`, estimated from `n` samples a task; scores are named `pass@8` and so on."""

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    k: Annotated[PositiveInt, Field(description="samples of which one has to be right")] = 8
    n: Annotated[PositiveInt | None, Field(description="samples a task; more than k narrows the estimate")] = None
    temperature: Annotated[float, Field(gt=0, description="of the samples")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 96

    @property
    def name(self) -> str:
        """The metric as its scores name it."""
        return f"pass@{self.k}"

    def sampler(self) -> Sampler:
        """`n` independent samples, `k` where it is not given."""
        return iid(self.n or self.k, self.temperature, self.max_tokens, self.drawn())

    def value(self, group: Group) -> float:
        """The unbiased estimate from the task's rollouts."""
        return pass_at_k(len(group.rollouts), sum(1 for _ in group.accepted()), self.k)

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.n is not None and self.n < self.k:
            raise ValueError(
                f"n: {self.n} samples cannot give pass@k with k: {self.k}; raise n to {self.k} or leave it out"
            )
        return self
