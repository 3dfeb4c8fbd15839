"""Self-play: a proposer writes tasks after the example of one, a solver answers them, and their votes are the answers.

After R-Zero (Huang et al. 2025, arXiv 2508.05004): the label of a written task is the answer that most solvers give,
and a task is worth learning where they agree neither always nor never. Both the proposals and the answers are rollouts
of tasks of their own (`Group.minted`), so proposer and solver can be trained, together or as two roles. It does not
check that a task makes sense; a proposal that nobody answers is no task.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field, JsonValue, PositiveInt

from selftaught.blocks import Completion, Context, Drawing, Sampler
from selftaught.core.templates import filled, with_slots
from selftaught.core.worker import WorkerDied, in_worker
from selftaught.records import Group, Message, Rollout, Task
from selftaught.sampling.iid import rollout_of
from selftaught.verification.votes import most_voted

Share = Annotated[float, Field(ge=0, le=1)]
PROMPT = "Write one new problem like this one, with other things and other numbers. Write the problem only.\n\n{task}"


class SelfPlay(Drawing, Sampler, type="self_play"):
    """`n` proposals a task and `k` answers to each, which are verified by `task_check`.

    The gold answer of a proposal is the one that most of its `k` answers give; a proposal passes (`in_band`) if at
    least `low` and at most `high` of them give it.
    """

    asks_verifiers: ClassVar[bool] = False
    mints: ClassVar[bool] = True
    role: Annotated[str, Field(description="the role that writes tasks")] = "policy"
    ask: Annotated[
        str,
        with_slots("task"),
        Field(min_length=1, description="what it is asked; {task} is the question of a task"),
    ] = PROMPT
    n: Annotated[PositiveInt, Field(description="proposals a task")] = 4
    k: Annotated[int, Field(ge=2, description="answers a proposal")] = 8
    instruction: Annotated[str, Field(description="text after each proposal, for the solver")] = ""
    low: Annotated[Share, Field(description="the least share of equal answers")] = 0.3
    high: Annotated[Share, Field(description="the largest share of equal answers")] = 0.8
    temperature: Annotated[float, Field(gt=0, description="of proposals and answers")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens of a proposal or an answer at most")] = 96

    async def sample(self, task: Task, context: Context) -> Group:
        """The proposals after the example of `task` and the answers to them. Raises what `ChatModel.chat` raises."""
        asked = Message(role="user", content=filled(self.ask, {"task": task.question}))
        proposals = await self._said([asked], self.n, self.role, context)
        texts = dict.fromkeys(each.text.strip() for each in proposals)
        solved = await asyncio.gather(*(self._solved(task, text, context) for text in texts if text))
        found = {each.text: each for each in solved if each}
        shares = {text: each.share for text, each in found.items()}
        proposing = Task(messages=(asked,), source=self.name, parent=task.id, check=self._check(shares))
        written = context.model(self.role).digest
        rollouts = [rollout_of(proposing, at, written, each, self.temperature) for at, each in enumerate(proposals)]
        for each in found.values():
            rollouts += [r.model_copy(update={"index": len(rollouts) + r.index}) for r in each.rollouts]
        return Group(task=task, rollouts=tuple(rollouts), minted=(proposing, *(each.task for each in found.values())))

    def _check(self, shares: Mapping[str, float]) -> dict[str, JsonValue]:
        return {"type": "in_band", "low": self.low, "high": self.high, "shares": dict(shares)}

    async def _solved(self, task: Task, text: str, context: Context) -> "_Solved | None":
        """The task that `text` is, with its answers; none if it has none, or none that can be compared."""
        question = Message(role="user", content=f"{text}\n{self.instruction}".strip())
        bare = Task(messages=(question,), source=self.name, parent=task.id)
        said = await self._said([question], self.k, "policy", context)
        digest = context.model().digest
        try:
            votes = await in_worker(most_voted, Group(task=bare, rollouts=self._rollouts(bare, digest, said)))
        except WorkerDied:  # because of an answer
            return None
        if votes is None:
            return None
        answer, share = votes
        solved = bare.model_copy(update={"answer": answer})
        return _Solved(text, solved, share, self._rollouts(solved, digest, said))

    def _rollouts(self, task: Task, digest: str, said: Sequence[Completion]) -> tuple[Rollout, ...]:
        return tuple(rollout_of(task, at, digest, each, self.temperature) for at, each in enumerate(said))

    async def _said(self, prompt: Sequence[Message], n: int, role: str, context: Context) -> list[Completion]:
        model = context.model(role)
        return await model.chat(prompt, n=n, temperature=self.temperature, max_tokens=self.max_tokens, **self.drawn())

    def roles(self) -> frozenset[str]:
        """The proposer, and the policy, which solves."""
        return super().roles() | {self.role}

    @property
    def turn_names(self) -> tuple[str, ...]:
        """No turn has a name."""
        return ()

    def cost(self) -> int:
        """New tokens a task at most: the proposals, and the answers to each."""
        return self.n * (1 + self.k) * self.max_tokens

    def longest(self) -> int:
        """New tokens of a proposal and of an answer, whose prompt it is."""
        return 2 * self.max_tokens


@dataclass(frozen=True, slots=True)
class _Solved:
    """A proposal, the task that it is, the share of its answers that agree, and all of them."""

    text: str
    task: Task
    share: float
    rollouts: tuple[Rollout, ...]
