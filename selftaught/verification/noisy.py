"""Noisy: another verifier's verdicts, a share of them the wrong way round. An instrument for experiments.

How good does a judge have to be for a method to learn from it? Here its error rate is set instead of hoped for: which
verdicts are reversed depends on the seed, the task and the answer's text alone, so equal answers to a task get equal
verdicts, in every round. A real judge's errors are not independent of what it reads; these are. Not to be measured by.
"""

from random import Random
from typing import Annotated, ClassVar

from pydantic import Field

from selftaught.blocks import Context, Verifier
from selftaught.blocks.loading import OnAxis
from selftaught.records import Group, Rollout, Verdict
from selftaught.verification.task_check import TaskCheck


class Noisy(Verifier, type="noisy"):
    """Reverse the verdicts of `verifier` with probability `noise`: passed is failed, and a score s is 1 - s."""

    reads_answer: ClassVar[bool] = False

    noise: Annotated[float, Field(ge=0, le=1, description="probability that a verdict is reversed; 0: none is")]
    verifier: Annotated[Verifier, OnAxis("verify"), Field(description="whose verdicts")] = TaskCheck()
    seed: Annotated[int, Field(description="another one reverses other verdicts")] = 0

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """The verdicts that are heard. Errors stay errors."""
        said = await self.verifier.judge(group, context)
        return [self._heard(rollout, verdict) for rollout, verdict in zip(group.rollouts, said, strict=True)]

    def _heard(self, rollout: Rollout, verdict: Verdict) -> Verdict:
        draw = Random(f"{self.seed}/{rollout.task}/{rollout.text}").random()
        if verdict.score is None:
            return verdict
        if draw >= self.noise:
            return verdict.model_copy(update={"verifier": self.name})
        reversed_ = {"passed": not verdict.passed, "score": 1 - verdict.score, "reason": f"reversed: {verdict.reason}"}
        return verdict.model_copy(update={"verifier": self.name, **reversed_})
