"""Curriculum: attempt the kinds of task that the model learns most from at the time, found by a bandit.

Self-Evolving Curriculum, Chen et al. 2025 (arXiv 2505.14970): the arms are kinds of task. An arm's reward is the mean
absolute advantage of its rollouts, its value Q follows that by TD(0), and tasks are drawn from arms by a Boltzmann
distribution over Q. For right and wrong answers, normalised by their standard deviation, a task's mean absolute
advantage is 2 sqrt(p (1 - p)) at pass rate p: most at one half, nothing where all rollouts are right or all are wrong.

The paper draws with replacement in each step of an online training. Here a round draws as many tasks at once, each at
most once, from those that the source gives; an arm that has none left is passed over.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile
from math import exp, sqrt
from random import Random
from statistics import fmean
from typing import Annotated, Literal, cast

from pydantic import Field, PositiveInt

from selftaught.blocks import Control, Explanation, Observed, State
from selftaught.records import ANSWERS, Group, Rollout, Task

Arm = Literal["level", "source", "template"]


class Curriculum(Control, type="curriculum"):
    """Draw training tasks by kind, those kinds most often that are neither solved nor out of reach (a bandit).

    `tasks.train` is how many the source gives to draw from: several times the `tasks` that a round attempts.
    """

    arms: Annotated[Arm, Field(description="the kinds of task between which it chooses")] = "level"
    tasks: Annotated[PositiveInt | None, Field(description="training tasks a round attempts; null is all given")] = None
    learning_rate: Annotated[float, Field(gt=0, le=1, description="share of a new reward in an arm's value")] = 0.5
    temperature: Annotated[
        float, Field(gt=0, description="of the draw of arms: low takes the best, high takes all alike")
    ] = 0.4

    def choose(self, tasks: Sequence[Task], count: int, state: State, seed: int) -> list[Task]:
        """`count` of `tasks`, at most the field's own, in the order given."""
        drawn = islice(self._draws(tasks, state, Random(seed)), min(count, self.tasks or count))
        picked = {task.id for task in drawn}
        return [task for task in tasks if task.id in picked]

    def observe(self, state: State, seen: Observed) -> State:
        """Q <- Q + learning_rate (r - Q) of every arm that was attempted, which begins at 0."""
        rewards = defaultdict[str, list[float]](list)
        for group in seen.groups:
            if (rate := pass_rate(group)) is not None:
                rewards[self.arm(group.task)].append(2 * sqrt(rate * (1 - rate)))
        values = arm_values(state)
        moved = {arm: values.get(arm, 0.0) for arm in sorted(rewards)}
        moved = {arm: value + self.learning_rate * (fmean(rewards[arm]) - value) for arm, value in moved.items()}
        return {"values": {**values, **moved}}

    def explain(self, state: State) -> Explanation | None:
        """The value of each arm, and its chance of being drawn while it has tasks left; nothing before it has one."""
        if not (values := arm_values(state)):
            return None
        weights = self._weights(list(values.values()))
        shares = (weight / sum(weights) for weight in weights)
        return Explanation(
            f"Tasks by {self.arms}, most often those that were neither solved nor out of reach.",
            ("value", "chance of a draw"),
            {f"{self.arms} {arm}": (value, share) for (arm, value), share in zip(values.items(), shares, strict=True)},
        )

    def arm(self, task: Task) -> str:
        """The kind that `task` is of; one without a template goes by its source."""
        named = {"level": str(task.level), "source": task.source, "template": task.template or task.source}
        return named[self.arms]

    def _draws(self, tasks: Sequence[Task], state: State, random: Random) -> Iterator[Task]:
        """All of `tasks` in the order drawn: an arm by its chance, then one of its tasks."""
        left, values = defaultdict[str, list[Task]](list), arm_values(state)
        for task in random.sample(tasks, len(tasks)):
            left[self.arm(task)].append(task)
        while left:
            arms = sorted(left)
            (arm,) = random.choices(arms, self._weights([values.get(arm, 0.0) for arm in arms]))
            yield left[arm].pop()
            if not left[arm]:
                del left[arm]

    def _weights(self, values: Sequence[float]) -> list[float]:
        """exp(Q / temperature) of each arm, the best one's set to 1."""
        return [exp((value - max(values)) / self.temperature) for value in values]


def arm_values(state: State) -> dict[str, float]:
    """Q of every arm that was observed."""
    return cast(dict[str, float], dict(cast(State, state.get("values", {}))))


def pass_rate(group: Group) -> float | None:
    """The share that passed of the attempts at the group's own task that could be judged; None if none could.

    Of one in which the answer was given away, what counts is the last answer before.
    """
    judged = [
        group.passed(index, turn)
        for index, rollout in enumerate(group.rollouts)
        if rollout.task == group.id and (turn := _unaided(rollout)) is not None and group.was_judged(index, turn)
    ]
    return fmean(judged) if judged else None


def _unaided(rollout: Rollout) -> str | None:
    """The turn of the last answer that was not given away, empty where that is the rollout's; None if there is none."""
    if not rollout.hinted:
        return ""
    before = list(takewhile(lambda turn: not turn.hinted, rollout.turns))
    names = [turn.name for turn in before if turn.kind in ANSWERS and turn.role == "assistant" and turn.name]
    return names[-1] if names else None
