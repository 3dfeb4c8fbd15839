"""Rationalisation: where every rollout of a task is wrong, sample again with the gold answer as a hint.

STaR, Zelikman et al. 2022 (arXiv 2203.14465), section 3.2. The hint is in the sampling prompt alone: curators build
training prompts from `task.messages`, so the model is trained to find the rationale without it. Hinted rollouts are
verified like all others. It does not filter rationales that merely quote the hint.
"""

from typing import Annotated

from pydantic import Field, PositiveInt, field_validator

from selftaught.blocks import Context
from selftaught.errors import BadRecipe
from selftaught.records import Group, Message, Task
from selftaught.sampling.iid import IID

DEFAULT_HINT = "(Hint: the answer is {answer}. Explain step by step how to get there.)"


class Rationalise(IID, type="rationalise"):
    """Sample `k` rollouts as `iid` does; where the stage's verifiers fail them all, `hint_k` more with the answer.

    Hinted rollouts have `hinted` set and their indexes go on after `k`. A task without a gold answer gets no hint.
    """

    hint_k: PositiveInt = 4
    hint: Annotated[str, Field(description="added to the last user message; {answer} is the gold answer")] = (
        DEFAULT_HINT
    )

    @field_validator("hint")
    @classmethod
    def _names_the_answer(cls, hint: str) -> str:
        if "{answer}" not in hint:
            raise ValueError(f"{hint!r} does not contain {{answer}}, where the gold answer goes")
        return hint

    async def sample(self, task: Task, context: Context) -> Group:
        """The rollouts of `task`. Raises BadRecipe without verifiers, else what `ChatModel.chat` raises."""
        group = await super().sample(task, context)
        if task.answer is None or not await _all_failed(group, context):
            return group
        hinted = await self._attempt(task, self._with_hint(task, task.answer), self.hint_k, context)
        later = (r.model_copy(update={"index": r.index + self.k, "hinted": True}) for r in hinted)
        return group.model_copy(update={"rollouts": (*group.rollouts, *later)})

    def cost(self) -> int:
        """New tokens a task at most: (k + hint_k) * max_tokens."""
        return (self.k + self.hint_k) * self.max_tokens

    def _with_hint(self, task: Task, answer: str) -> list[Message]:
        # str.format would trip over the braces of LaTeX in a hint.
        hint = self.hint.replace("{answer}", answer)
        last = max(i for i, message in enumerate(task.messages) if message.role == "user")
        asked = Message(role="user", content=f"{task.messages[last].content}\n\n{hint}")
        return [*task.messages[:last], asked, *task.messages[last + 1 :]]


async def _all_failed(group: Group, context: Context) -> bool:
    """Whether some verifier failed each rollout. A verifier that could not run has failed nothing."""
    if not context.verifiers:
        raise BadRecipe("sample: 'rationalise' has to know which rollouts are wrong. Add a block under verify.")
    verdicts = [await verifier.verify(group, context) for verifier in context.verifiers]
    return all(any(v.error is None and not v.passed for v in on_one) for on_one in zip(*verdicts, strict=True))
