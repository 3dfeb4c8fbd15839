"""Environments: worlds that a model acts in, shaped as in gymnasium: an episode begins, and takes a step an action.

A task names its environment with `Task.environment`: the type, and the fields that make this one world of it (a map, a
number to guess). An episode depends on that and on the actions alone, so that a verifier can play it again and trust
no reward that somebody wrote down.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import cast

from selftaught.blocks.block import Block, registered
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.records import Task


@dataclass(frozen=True, slots=True)
class Observation:
    """What an action led to: a text, the reward of this step, and whether the episode is over."""

    text: str
    reward: float = 0.0
    terminated: bool = False


class Episode(ABC):
    """One episode of an environment, under way. Equal actions give equal observations."""

    opening: str = ""
    """What is said before the first action, beside the task's own question; empty: nothing."""

    @abstractmethod
    async def step(self, action: str) -> Observation:
        """What `action` leads to. An action that makes no sense is a step too, and the observation says so."""


class Environment(Block, axis="environment"):
    """A kind of world; its fields are one world of that kind."""

    @abstractmethod
    def begin(self) -> Episode:
        """A new episode in this world."""


def environment_of(task: Task) -> Environment:
    """The world of `task`. Raises BadInput where it names none, or one that is not installed."""
    named = str(task.environment.get("type", ""))
    known = registered("environment")
    if named not in known:
        problem = f"its environment is of type '{named}', and none such is installed" if named else "has no environment"
        raise BadInput(
            f"task {task.id} ({task.source}): {problem}.{did_you_mean(named, known)} Take a task source with "
            f"environments, or install the package that has it.\n  accepted: {', '.join(known)}"
        )
    return cast(Environment, known[named].model_validate(dict(task.environment)))
