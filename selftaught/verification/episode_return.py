"""Episode return: plays a rollout's actions in the task's environment again, and adds up the rewards.

Nothing that the rollout says of itself counts: an observation or a reward in its text is only text.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from selftaught.blocks import Context, Verifier
from selftaught.blocks.environment import environment_of
from selftaught.records import Group, Rollout, Task, Verdict


class EpisodeReturn(Verifier, type="episode_return"):
    """Pass an episode whose rewards add up to `at_least`; the score is their sum, held between 0 and 1."""

    reads_answer: ClassVar[bool] = False
    at_least: Annotated[float, Field(description="the least sum of rewards that passes")] = 1.0

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict an episode."""
        return [await self._verdict(group.task, rollout) for rollout in group.rollouts]

    async def _verdict(self, task: Task, rollout: Rollout) -> Verdict:
        actions = [turn.content for turn in rollout.turns if turn.role == "assistant"]
        episode, total = environment_of(task).begin(), 0.0
        for action in actions:
            seen = await episode.step(action)
            total += seen.reward
            if seen.terminated:
                break
        reason = f"{len(actions)} actions, return {total:g}"
        score = min(max(total, 0.0), 1.0)
        return Verdict(verifier=self.name, score=score, passed=total >= self.at_least, reason=reason)
