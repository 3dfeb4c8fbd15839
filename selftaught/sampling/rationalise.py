"""Rationalisation: where every rollout of a task is wrong, sample again with the gold answer as a hint.

STaR, Zelikman et al. 2022 (arXiv 2203.14465), section 3.2. The hint is in the sampling prompt alone: curators build
training prompts from `task.messages`, so the model is trained to find the rationale without it. Hinted rollouts are
verified like all others. It does not filter rationales that merely quote the hint.
"""

from typing import ClassVar

from pydantic import PositiveInt

from selftaught.blocks import Context, judged
from selftaught.blocks.hints import Hint, with_hint
from selftaught.core.errors import BadRecipe, NoAnswer
from selftaught.records import Group, Task
from selftaught.sampling.iid import IID

DEFAULT_HINT = "(Hint: the answer is {answer}. Explain step by step how to get there.)"


class Rationalise(IID, type="rationalise"):
    """Sample `k` rollouts as `iid` does; where the stage's verifiers fail them all, `hint_k` more with the answer.

    Hinted rollouts have `hinted` set and their indexes continue after `k`. A task without a gold answer gets no hint,
    and one that cannot be asked with it goes without.
    """

    asks_verifiers: ClassVar[bool] = True
    hint_k: PositiveInt = 4
    """Rollouts with the hint of a task of which no other rollout is right."""
    hint: Hint = DEFAULT_HINT

    async def sample(self, task: Task, context: Context) -> Group:
        """The rollouts of `task`. Raises BadRecipe without verifiers, else what `ChatModel.chat` raises."""
        group = await super().sample(task, context)
        if task.answer is None or not await _all_failed(group, context):
            return group
        try:
            hinted = await self._attempt(task, with_hint(task, self.hint, task.answer), self.hint_k, context)
        except NoAnswer:  # the hint made the prompt too long
            return group
        later = (r.model_copy(update={"index": r.index + self.k, "hinted": True}) for r in hinted)
        return group.model_copy(update={"rollouts": (*group.rollouts, *later)})

    def cost(self) -> int:
        """New tokens a task at most: (k + hint_k) * max_tokens."""
        return (self.k + self.hint_k) * self.max_tokens


async def _all_failed(group: Group, context: Context) -> bool:
    """Whether some required verifier failed each rollout. A verifier that could not run has failed nothing."""
    if not context.verifiers:
        raise BadRecipe("sample: 'rationalise' has to know which rollouts are wrong. Add a block under verify.")
    verdicts = await judged(group, context.verifiers, context)
    return all(any(verdict.fails for verdict in on_one) for on_one in verdicts)
