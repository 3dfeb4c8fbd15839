"""The control of a search: what independent answers give on some of its tasks, at the tokens that its trees took.

A share of a round's tasks, drawn by its seed, is sampled independently too, as the search samples and as far as its
tree went. These answers are kept apart (`Group.control`), so nothing trains on them or counts them among
the round's. What the two gave is compared in `comparison`, once they are verified.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from selftaught.blocks import Attempts, Completion, Context
from selftaught.core.errors import NoAnswer
from selftaught.records import Control, Group, Rollout, Task, Tree, Turn
from selftaught.search.expansion import Steps

MARGIN = 1.5
"""So many times the tree's tokens are planned for a control, since the last answers end past them; it may take more."""
MOST_AT_ONCE, MOST_REQUESTS = 32, 64
"""Answers of one request, and requests of one task."""


def held(tasks: Sequence[Task], share: float, seed: int) -> frozenset[str]:
    """The ids of the tasks that have a control: `share` of `tasks`, rounded up, the same ones for the same `seed`."""
    drawn = sorted({task.id for task in tasks}, key=lambda id: hashlib.sha256(f"{seed} {id}".encode()).digest())
    return frozenset(drawn[: math.ceil(share * len(drawn))])


def about(share: float, tasks: int, cost: int) -> int:
    """About how many new tokens the controls of a share of `tasks` come to, whose searches take `cost` each."""
    return math.ceil(math.ceil(share * tasks) * cost * MARGIN)


@dataclass(frozen=True, slots=True)
class Independent:
    """Independent answers as a search samples its steps: from its opening, at its temperature.

    An answer has `longest` tokens at most, and what an engine whose context is `context_tokens` has room for.
    """

    expand: Steps
    longest: int
    context_tokens: int

    async def samples(self, group: Group, context: Context) -> Control | None:
        """Answers to the task of `group` of as many tokens as its tree took; hinted answers are nobody's.

        None where the tree was not begun, or where the engine gives none (`NoAnswer`). Raises all else that
        `ChatModel.complete` raises.
        """
        tree = group.tree
        if tree is None or not tree.prompt_ids or self._room(tree) < 1:
            return None
        budget = tree.spent.tokens - tree.spent.hint_tokens
        try:
            asked = await self._requests(tree, budget, context)
        except NoAnswer:
            return None
        rollouts = self._rollouts(group.task, list(chain.from_iterable(asked)), context)
        return Control(budget=budget, requests=tuple(map(len, asked)), rollouts=tuple(rollouts)) if rollouts else None

    def _room(self, tree: Tree) -> int:
        return min(self.longest, self.context_tokens - len(tree.prompt_ids))

    async def _requests(self, tree: Tree, budget: int, context: Context) -> list[list[Completion]]:
        """Answers that come to `budget` tokens, by request: one, and then no more at once than there are already.

        So how long an answer is on average is known before many are asked for. None is longer than what is missing by
        more than the one token that puts it past the budget, where it counts for nothing however it continues.
        """
        asked, missing, n = list[list[Completion]](), budget, 1
        while missing > 0 and len(asked) < MOST_REQUESTS:
            asked.append(await self._ask(tree, n, missing + 1, context))
            lengths = [len(each.token_ids) for each in chain.from_iterable(asked)]
            if not any(lengths):
                break  # an engine that says nothing would be asked for ever
            missing = budget - sum(lengths)
            n = min(math.ceil(missing * len(lengths) / sum(lengths)), len(lengths), MOST_AT_ONCE)
        return asked

    async def _ask(self, tree: Tree, n: int, most: int, context: Context) -> list[Completion]:
        return await context.tokens().complete(
            tree.prompt_ids,
            n=n,
            temperature=self.expand.temperature,
            max_tokens=min(self._room(tree), most),
            **self.expand.drawn(),
        )

    def _rollouts(self, task: Task, said: Sequence[Completion], context: Context) -> list[Rollout]:
        return [
            Rollout(
                task=task.id,
                index=index,
                model=context.model().digest,
                turns=(Turn(content=each.text, token_ids=each.token_ids, logprobs=each.logprobs),),
                temperature=self.expand.temperature,
                finish_reason=each.finish_reason,
                prompt_tokens=each.prompt_tokens,
                completion_tokens=len(each.token_ids),
            )
            for index, each in enumerate(said)
        ]


@dataclass(frozen=True, slots=True)
class Controlled:
    """A search in a round: on the tasks in `held` it is followed by independent answers."""

    search: Attempts
    held: frozenset[str]
    independent: Independent

    async def sample(self, task: Task, context: Context) -> Group:
        """The group that the search gives of `task`, with its control where it has one."""
        group = await self.search.sample(task, context)
        if task.id not in self.held:
            return group
        return group.model_copy(update={"control": await self.independent.samples(group, context)})
