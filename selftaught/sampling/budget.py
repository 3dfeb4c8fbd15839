"""Independent samples for a number of tokens instead of a number of samples.

What a search is compared with: majority vote and best-of-n at the same budget. It does not look at the answers.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Context
from selftaught.records import Group, Rollout, Task
from selftaught.sampling.iid import IID


class Budget(IID, type="budget"):
    """Ask for `k` more rollouts at a time until `tokens` new tokens have been sampled; the last request may pass it."""

    needs_tokens: ClassVar[bool] = True  # it counts them
    k: Annotated[PositiveInt, Field(description="rollouts a request")] = 2
    tokens: Annotated[
        PositiveInt, Field(description="new tokens per task after which no more rollouts are sampled")
    ] = 256

    @model_validator(mode="after")
    def _is_drawn(self) -> Self:
        if self.temperature == 0:
            raise ValueError("temperature: 0 gives the same rollout again and again; set one above 0")
        return self

    async def sample(self, task: Task, context: Context) -> Group:
        """The rollouts of `task`, with indexes from 0. Raises what `ChatModel.chat` raises."""
        found: list[Rollout] = []
        while sum(rollout.completion_tokens for rollout in found) < self.tokens:
            more = await self._attempt(task, task.messages, self.k, context)
            found += [rollout.model_copy(update={"index": rollout.index + len(found)}) for rollout in more]
            if not any(rollout.completion_tokens for rollout in more):
                break  # an engine that says nothing would be asked for ever
        return Group(task=task, rollouts=tuple(found))

    def cost(self) -> int:
        """New tokens a task at most: the budget and one request."""
        return self.tokens + self.k * self.max_tokens
