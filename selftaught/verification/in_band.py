"""In band: judges a task that a model wrote by how often it was solved: neither always nor never.

Tasks at the edge of what the solver can do teach it most (R-Zero, Huang et al. 2025, arXiv 2508.05004, section 3.3;
Absolute Zero, 2505.03335). The shares are in the check of the task that asked for tasks: the sampler that solved them
put them there. It does not solve anything, and does not know whether the answer that most agree on is right.
"""

from collections.abc import Mapping
from typing import ClassVar, cast

from selftaught.blocks import RolloutVerifier
from selftaught.records import Rollout, Task, Verdict


class InBand(RolloutVerifier, type="in_band"):
    """Pass a rollout whose task was answered alike by at least `check.low` and at most `check.high` of its solvers.

    `check.shares` has the share of each by what was written; one that is missing is no task that was answered.
    """

    reads_answer: ClassVar[bool] = False

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed or failed, with the share as the reason."""
        shares = cast("Mapping[str, float]", task.check["shares"])
        low, high = cast(float, task.check["low"]), cast(float, task.check["high"])
        if (share := shares.get(rollout.text.strip())) is None:
            return Verdict.of(self.name, False, "no task that was answered")
        return Verdict.of(self.name, low <= share <= high, f"{share:.0%} of the solvers agree")
