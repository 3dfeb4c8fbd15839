"""Advantages: every verified rollout with how much better it was than expected, for policy gradients to learn from.

A rollout's reward is what its verdicts say; its advantage is the reward minus a baseline: the group's mean, as in GRPO
(Shao et al. 2024, arXiv 2402.03300), the mean of the group's other rollouts, as in RLOO (Ahmadian et al. 2024,
arXiv 2402.14740), the mean over all tasks, or a constant. All of a rollout's tokens share it. How it is learnt from,
and whether long answers count for more, is the objective's business (`selftaught.training.policy_gradient`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from selftaught.curation.base import PerGroupCurator, is_own, sampled, thread
from selftaught.records import Example, Group, Reinforce, Rollout, Segment, TargetType, Turn

ROUNDING = 1e-6
"""Added to a standard deviation before it divides, as in GRPO: the rounding of equal rewards is no difference."""
FLAT = 1e-9
"""What rewards that are equal may differ by."""


class Advantages(PerGroupCurator, type="advantages"):
    """A `reinforce` example each rollout, cut off or not. Equal rollouts of a task are one, of their number's weight.

    Rollouts that were hinted, or that a verifier could not judge, are left out.
    """

    gives: ClassVar[TargetType | None] = "reinforce"
    on_policy: ClassVar[bool] = True
    rewards: Annotated[
        Mapping[str, float],
        Field(description="weight of each verifier's score in the reward; empty: 1 if all passed, else 0"),
    ] = {}
    baseline: Annotated[
        Literal["group", "leave_one_out", "batch"] | float,
        Field(description="subtracted from rewards: the mean of the task's, of the task's others, of all, or a number"),
    ] = "group"
    scale: Annotated[
        Literal["none", "std"], Field(description="std: divide by the standard deviation of the task's rewards")
    ] = "none"
    drop_flat: Annotated[
        bool, Field(description="leave out tasks whose rewards are all equal, where baselines are a task's own")
    ] = True

    @property
    @override
    def verifiers(self) -> tuple[str, ...]:
        return tuple(self.rewards)

    @override
    def curate(self, groups: Sequence[Group], seed: int) -> Iterator[Example]:
        if self.baseline != "batch":
            return super().curate(groups, seed)
        rewards = [reward for group in groups for _, reward in self.rewarded(group)]
        return self.model_copy(update={"baseline": fmean(rewards or [0.0])}).curate(groups, seed)

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """The rollouts of `group` in order, each once."""
        found = self.rewarded(group)
        rewards = [reward for _, reward in found]
        compared = self.baseline in ("group", "leave_one_out")  # by another baseline, they differ from the others'
        if not rewards or (self.drop_flat and compared and is_flat(rewards)):
            return
        made = [
            reinforced(group, rollout, advantage, fmean(rewards))
            for (rollout, _), advantage in zip(found, self.advantages(rewards), strict=True)
        ]
        yield from _counted(made)

    def rewarded(self, group: Group) -> list[tuple[Rollout, float]]:
        """The rollouts of `group` that have a reward, with it: all verifiers that give it could judge them."""
        return [
            (rollout, self._reward(group, at))
            for at, rollout in enumerate(group.rollouts)
            if not rollout.hinted
            and any(is_own(turn) and not turn.scripted for turn in rollout.turns)
            and not any(
                verdict.is_missing or (verdict.verifier in self.rewards and verdict.error is not None)
                for verdict in group.verdicts_on(at)
            )
        ]

    def _reward(self, group: Group, at: int) -> float:
        if not self.rewards:
            return float(group.passed(at))
        said = group.verdicts_on(at)
        return sum(self.rewards.get(verdict.verifier, 0.0) * (verdict.score or 0.0) for verdict in said)

    def advantages(self, rewards: Sequence[float]) -> list[float]:
        """The advantage of each of a task's rollouts, by their `rewards`."""
        if self.scale == "std" and is_flat(rewards):  # there is nothing to scale by
            return [0.0] * len(rewards)
        deviation = pstdev(rewards) + ROUNDING if self.scale == "std" else 1.0
        return [(reward - self._baseline(rewards, reward)) / deviation for reward in rewards]

    def _baseline(self, rewards: Sequence[float], own: float) -> float:
        match self.baseline:
            case "group" | "batch":
                return fmean(rewards)
            case "leave_one_out":
                return (sum(rewards) - own) / (len(rewards) - 1) if len(rewards) > 1 else own
            case constant:
                return constant


def is_flat(rewards: Sequence[float]) -> bool:
    """Whether `rewards` are all equal, but for rounding."""
    return max(rewards) - min(rewards) < FLAT


def reinforced(group: Group, rollout: Rollout, advantage: float, mean_reward: float) -> Example:
    """`rollout` with the same advantage on every token that the model said, as its engine gave them.

    What the recipe put into its mouth (`say`) is context: it was no choice of the policy's.
    """
    example = sampled(group, rollout, as_asked=True)
    asked, *turns = example.sequences[0]
    own = filter(is_own, thread(rollout))
    said = (_scored(each, next(own), advantage) if each.weights else each for each in turns)
    return example.model_copy(update={"sequences": ((asked, *said),), "target": Reinforce(mean_reward=mean_reward)})


def _scored(segment: Segment, turn: Turn, advantage: float) -> Segment:
    if turn.scripted:
        return segment.model_copy(update={"weights": (0.0,)})
    logprobs = turn.logprobs if len(turn.logprobs) == len(turn.token_ids) else ()
    return segment.model_copy(update={"advantages": (advantage,), "logprobs": logprobs})


def _counted(made: Sequence[Example]) -> Iterator[Example]:
    """Each of `made` once, in order, its weight the number of times that it is there."""
    times = Counter(example.id for example in made)
    first = {example.id: example for example in reversed(made)}
    for id in dict.fromkeys(example.id for example in made):
        yield first[id].model_copy(update={"weight": float(times[id])})
