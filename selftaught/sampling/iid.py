"""Independent samples: k answers to one prompt at one temperature, asked for in one request.

It does not look at the answers, and it keeps the engine's own token ids and log-probabilities as they came.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from selftaught.blocks import Completion, Context, Drawing, Sampler, Stops
from selftaught.records import Group, Message, Rollout, Task, Turn


class Shot(BaseModel):
    """A worked example: a question and the answer it is to be given."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    question: Annotated[str, Field(min_length=1, description="the user's message")]
    answer: Annotated[str, Field(min_length=1, description="what the model is shown to have answered")]

    def messages(self) -> tuple[Message, Message]:
        """The turn that asks it and the turn that answers."""
        return Message(role="user", content=self.question), Message(role="assistant", content=self.answer)


class IID(Drawing, Sampler, type="iid"):
    """Ask the policy for `k` independent rollouts of each task, in one request (`n=k`).

    `system` and `shots` are said to the sampling model only, the first instead of the task's own system message,
    the others as earlier turns: what is imitated stands behind the task's own prompt (STaR's few-shot prompt, arXiv
    2203.14465, section 3.1), and what is reinforced behind what was asked.
    """

    asks_verifiers: ClassVar[bool] = False
    k: Annotated[PositiveInt, Field(description="rollouts a task")] = 8
    temperature: Annotated[float, Field(ge=0, description="0 is greedy decoding")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens a rollout at most")] = 256
    system: Annotated[str | None, Field(description="system message instead of the task's own")] = None
    shots: Annotated[tuple[Shot, ...], Field(description="worked examples before the task")] = ()
    stop: Annotated[Stops, Field(description="strings that end a rollout")] = ()

    @model_validator(mode="after")
    def _greedy_is_single(self) -> Self:
        if self.temperature == 0 and self.k > 1:
            raise ValueError(
                f"k: {self.k} with temperature: 0 gives {self.k} times the same rollout; "
                "set k: 1, or a temperature above 0"
            )
        return self

    async def sample(self, task: Task, context: Context) -> Group:
        """The `k` rollouts of `task`, with indexes 0 to k - 1. Raises what `ChatModel.chat` raises."""
        return Group(task=task, rollouts=tuple(await self._attempt(task, task.messages, self.k, context)))

    @property
    def turn_names(self) -> tuple[str, ...]:
        """No turn has a name."""
        return ()

    def asked(self, task: Task) -> Sequence[Message]:
        """The task's prompt with `system` and `shots`."""
        return self._prompt(task.messages)

    def cost(self) -> int:
        """New tokens a task at most: k * max_tokens."""
        return self.k * self.max_tokens

    def longest(self) -> int:
        """New tokens of its longest request: max_tokens."""
        return self.max_tokens

    async def _attempt(self, task: Task, messages: Sequence[Message], n: int, context: Context) -> list[Rollout]:
        """`n` rollouts of `task` asked for with `messages`, with indexes from 0."""
        model, prompt = context.model(), self._prompt(messages)
        completions = await model.chat(
            prompt,
            n=n,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            stop=self.stop,
            **self.drawn(),
        )
        own = tuple(messages) == task.messages != tuple(prompt)  # a hint is to leave no trace
        asked = tuple(prompt) if own else ()
        return [
            rollout_of(task, at, model.digest, said, self.temperature, asked) for at, said in enumerate(completions)
        ]

    def _prompt(self, messages: Sequence[Message]) -> list[Message]:
        own = [message for message in messages if message.role == "system"]
        system = own if self.system is None else [Message(role="system", content=self.system)]
        shown = chain.from_iterable(shot.messages() for shot in self.shots)
        return [*system, *shown, *(message for message in messages if message.role != "system")]


def rollout_of(
    task: Task, index: int, digest: str, said: Completion, temperature: float, asked: tuple[Message, ...] = ()
) -> Rollout:
    """One answer to `task` of the model with that digest; `asked` is its prompt where that was not the task's own."""
    return Rollout(
        task=task.id,
        index=index,
        model=digest,
        turns=(Turn(content=said.text, token_ids=said.token_ids, logprobs=said.logprobs, asked=asked),),
        temperature=temperature,
        finish_reason=said.finish_reason,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=len(said.token_ids),
    )
