r"""maj@k: is the most common answer among k samples the right one?

Samples vote together where `answer_match` would call their answers equal (1/2, 0.5 and \frac12; Rome and **Rome**),
right and wrong ones alike. An answer is right when one of the samples that gave it passed. Ties go to the answer that
was sampled first, which is fair because samples come in no order.

Source: Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning in Language Models.
"""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from selftaught.blocks import Drawing, Metric, Sampler
from selftaught.evaluation.strategies import iid
from selftaught.records import Group
from selftaught.verification.votes import same_answers


class Majority(Drawing, Metric, type="maj_at_k"):
    """1 when the most common final answer of `k` samples is right; scores are named `maj@8` and so on."""

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    k: Annotated[PositiveInt, Field(description="samples a task, which vote")] = 8
    temperature: Annotated[float, Field(gt=0, description="of the samples")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 96

    @property
    def name(self) -> str:
        """The metric as its scores name it."""
        return f"maj@{self.k}"

    def sampler(self) -> Sampler:
        """`k` independent samples."""
        return iid(self.k, self.temperature, self.max_tokens, self.drawn())

    def value(self, group: Group) -> float:
        """1 when the answer with the most votes is right, else 0."""
        return voted_right(group)


def voted_right(group: Group) -> float:
    """1 when the answer with the most votes among a verified group's rollouts is right, else 0."""
    votes = max(same_answers(group), key=len, default=list[int]())
    return float(any(group.passed(index) for index in votes))
