"""Probes: sample some tasks at several temperatures, so that the round shows what another would have given.

All tasks are sampled at the sampler's own temperature, and a share of them, chosen by their ids, at the others too. It
compares nothing: the control `adapt` does, which puts it around a stage's sampler.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from selftaught.blocks import Context, Sampler
from selftaught.blocks.loading import OnAxis
from selftaught.records import Group, Message, Rollout, Task

_HASHES = 16**8
"""Values of the first eight hexadecimal digits of an id."""


class Probes(Sampler, type="probes"):
    """What `sampler` gives, and on a share of the tasks what it gives at each of other temperatures."""

    sampler: Annotated[Sampler, OnAxis("sample"), Field(description="a sampler with a field `temperature`")]
    temperatures: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(description="the others")]
    share: Annotated[float, Field(gt=0, le=1, description="share of the tasks that are sampled at them too")] = 0.2

    @property
    def asks_verifiers(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] (depends on the sampler)
        """Whether the sampler may use the stage's verifiers."""
        return self.sampler.asks_verifiers

    async def sample(self, task: Task, context: Context) -> Group:
        """The sampler's rollouts of `task`, then those at each other temperature, with indexes from 0."""
        first = await self.sampler.sample(task, context)
        if int(task.id[:8], 16) >= self.share * _HASHES:
            return first
        others = [await each.sample(task, context) for each in self._others()]
        rollouts = [*first.rollouts, *(rollout for group in others for rollout in group.rollouts)]
        return first.model_copy(update={"rollouts": tuple(_numbered(rollouts))})

    def asked(self, task: Task) -> Sequence[Message]:
        """The sampler's first request."""
        return self.sampler.asked(task)

    def prompts(self, task: Task) -> Mapping[str, Sequence[Message]]:
        """The sampler's."""
        return self.sampler.prompts(task)

    def cost(self) -> int:
        """New tokens of a task at most, on average over the tasks."""
        return self.sampler.cost() + round(self.share * sum(each.cost() for each in self._others()))

    def longest(self) -> int:
        """New tokens of the sampler's longest request."""
        return self.sampler.longest()

    def _others(self) -> list[Sampler]:
        return [self.sampler.model_copy(update={"temperature": each}) for each in self.temperatures]


def _numbered(rollouts: Sequence[Rollout]) -> Iterable[Rollout]:
    return (rollout.model_copy(update={"index": index}) for index, rollout in enumerate(rollouts))
