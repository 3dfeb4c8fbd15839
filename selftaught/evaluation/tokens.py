"""Tokens: the length of the answers, in new tokens per rollout. A cost, independent of correctness."""

from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from selftaught.blocks import Drawing, Metric, Sampler
from selftaught.evaluation.strategies import iid
from selftaught.records import Group


class Tokens(Drawing, Metric, type="tokens"):
    """Mean new tokens a rollout; its values are not in [0, 1].

    With the fields of another metric's sampling (the defaults are greedy accuracy's) it costs nothing: they share
    rollouts.
    """

    higher_is_better: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = True  # it counts them
    k: Annotated[PositiveInt, Field(description="samples a task")] = 1
    temperature: Annotated[float, Field(ge=0, description="0 is greedy decoding")] = 0.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 96

    def sampler(self) -> Sampler:
        """`k` independent samples; one greedy answer by default."""
        return iid(self.k, self.temperature, self.max_tokens, self.drawn())

    def value(self, group: Group) -> float:
        """New tokens a rollout of this task, as the engine counted them."""
        return sum(rollout.completion_tokens for rollout in group.rollouts) / len(group.rollouts)
