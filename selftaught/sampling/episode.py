"""Episodes: the policy acts in a task's environment, turn by turn, until the episode is over.

What the environment answers is the user's message before the next action. It neither rewards nor judges:
`episode_return` plays the actions again.
"""

import asyncio
from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Context, Drawing, Sampler, Stops
from selftaught.blocks.environment import environment_of
from selftaught.core.errors import NoAnswer
from selftaught.records import Group, Rollout, Task, Turn, asked_after


class Episodes(Drawing, Sampler, type="episode"):
    """`k` episodes of each task, of `turns` actions at most.

    An episode that gets no answer (its prompt has become too long) ends there, with `length`.
    """

    asks_verifiers: ClassVar[bool] = False
    k: Annotated[PositiveInt, Field(description="episodes a task")] = 4
    turns: Annotated[PositiveInt, Field(description="actions an episode at most")] = 8
    temperature: Annotated[float, Field(ge=0, description="0 is greedy decoding")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an action at most")] = 32
    stop: Annotated[Stops, Field(description="strings that end an action")] = ()

    @model_validator(mode="after")
    def _greedy_is_single(self) -> Self:
        if self.temperature == 0 and self.k > 1:
            raise ValueError(f"k: {self.k} with temperature: 0 gives {self.k} times the same episode; set k: 1")
        return self

    async def sample(self, task: Task, context: Context) -> Group:
        """The episodes of `task`. Raises BadInput for a task without an environment, else as `ChatModel.chat`."""
        played = await asyncio.gather(*(self._played(task, index, context) for index in range(self.k)))
        return Group(task=task, rollouts=tuple(played))

    @property
    def turn_names(self) -> tuple[str, ...]:
        """Those of its actions: `action_1` and so on."""
        return tuple(f"action_{number}" for number in range(1, self.turns + 1))

    def cost(self) -> int:
        """New tokens a task at most: k * turns * max_tokens."""
        return self.k * self.longest()

    def longest(self) -> int:
        """New tokens of an episode at most: the last prompt holds all actions before."""
        return self.turns * self.max_tokens

    async def _played(self, task: Task, index: int, context: Context) -> Rollout:
        episode = environment_of(task).begin()
        turns = [Turn(role="user", kind="feedback", content=episode.opening)] if episode.opening else []
        prompt_tokens, ended = 0, "stop"
        for number in range(self.turns):
            try:
                action, used = await self._action(task, turns, number, context)
            except NoAnswer:
                if number == 0:
                    raise
                ended = "length"
                break
            turns, prompt_tokens = [*turns, action], prompt_tokens + used
            seen = await episode.step(action.content)
            turns.append(Turn(role="user", kind="feedback", content=seen.text))
            if seen.terminated:
                break
        return Rollout(
            task=task.id,
            index=index,
            model=context.model().digest,
            turns=tuple(turns),
            temperature=self.temperature,
            finish_reason=next((turn.finish_reason for turn in turns if turn.finish_reason != "stop"), ended),
            prompt_tokens=prompt_tokens,
            completion_tokens=sum(len(turn.token_ids) for turn in turns),
        )

    async def _action(self, task: Task, turns: list[Turn], number: int, context: Context) -> tuple[Turn, int]:
        """The policy's next action, and the tokens of its prompt."""
        prompt = asked_after(task.messages, turns)
        (said,) = await context.model().chat(
            prompt, temperature=self.temperature, max_tokens=self.max_tokens, stop=self.stop, **self.drawn()
        )
        action = Turn(
            kind="action",
            content=said.text,
            token_ids=said.token_ids,
            logprobs=said.logprobs,
            name=self.turn_names[number],
            finish_reason=said.finish_reason,
        )
        return action, said.prompt_tokens
