"""Strategy: how often any inference strategy answers right: search, vote or best of n, at whatever it costs.

Runs any sampler, search included, and looks at one answer a task. With equal token budgets (`limits.tokens` of a
search, `budget` samples for a vote) strategies are compared at the same cost; `tokens` of the scores say what it was.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selftaught.evaluation.labelled import Labelled, share
from selftaught.evaluation.majority import voted_right
from selftaught.records import Group


class Strategy(Labelled, type="strategy"):
    """1 when the strategy's answer is right, or the share of its answers that are."""

    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)
    label: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9@._-]*$", description="the metric's name")]
    pick: Literal["answer", "vote", "any", "each"] = "answer"
    """`answer`: the one that the search stands by (its own choice, made without the gold answer), or the first where
    there is no tree; `vote`: the most common final answer; `any`: whether one is right at all, which nobody would
    know; `each`: all of them, the share that is right, as in mean@k."""

    def value(self, group: Group) -> float:
        """Whether what is picked of the task's answers passed, or how much of it."""
        right = [group.passed(index) for index in range(len(group.rollouts))]
        if self.pick == "any":
            return float(any(right))
        if self.pick == "each":
            return share(right)
        if self.pick == "vote":
            return voted_right(group)
        chosen = group.tree.answer if group.tree else 0
        return float(any(ok and rollout.index == chosen for ok, rollout in zip(right, group.rollouts, strict=True)))
