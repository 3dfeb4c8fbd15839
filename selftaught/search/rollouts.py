"""Roll-outs as values: a partial solution is completed several times, and worth what the completions are on average.

What a completion is worth is each block's own. Completions by the policy are steps that it would have been asked for
later, so they stay in the tree; how they become nodes is not this module's business.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from selftaught.blocks import Completion, Context
from selftaught.core.errors import NoAnswer
from selftaught.search.parts import Estimate, RollingValue, RollOut
from selftaught.search.tree import SearchNode, SearchTree

Said = tuple[str, str]
"""A text and what ended it (`stop`, `length`): a verifier may ask whether an answer was finished."""


class RollOuts(RollingValue):
    """The mean worth of `n` completions of a partial solution; of an answer that ended, its own.

    A step of a roll-out that is kept is worth what the roll-outs through it were, and makes none of its own. So is a
    node worth 0 whose context the policy has filled: no answer comes of it.
    """

    n: Annotated[PositiveInt, Field(description="completions of a node; one where they are greedy")] = 4
    temperature: Annotated[NonNegativeFloat, Field(description="of the completions; 0 is greedy decoding")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens a completion at most")] = 128
    role: Annotated[str, Field(description="the role whose model completes")] = "policy"
    keep: Annotated[
        bool, Field(description="completions by the policy stay in the tree as steps, to be answers and to be grown")
    ] = True

    @abstractmethod
    async def worths(
        self, tree: SearchTree, nodes: Sequence[SearchNode], answers: Sequence[Sequence[Said]], context: Context
    ) -> list[list[float | None]]:
        """What each of the answers that each of `nodes` came to is worth, in [0, 1]; None if unknown."""

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        known = {node: Estimate(fmean(node.outcomes)) for node in nodes if node.outcomes}
        asked = [node for node in nodes if node not in known]
        said = await asyncio.gather(*(self._completions(tree, node, context) for node in asked))
        answers = [_answers(node, completions) for node, completions in zip(asked, said, strict=True)]
        worths = await self.worths(tree, asked, answers, context) if asked else []
        kept = self.keep and self._own(context)
        for node, completions, worth in zip(asked, said, worths, strict=True):
            estimated = [each for each in worth if each is not None]
            pairs = zip(completions, worth, strict=False) if kept else ()  # an answer that ended has no completion
            rollouts = tuple(RollOut(completion, each) for completion, each in pairs if each is not None)
            known[node] = Estimate(fmean(estimated) if estimated else None if worth else 0.0, rollouts)
        return [known[node] for node in nodes]

    def cost(self) -> int:
        return self._number() * self.max_tokens

    def longest(self) -> int:
        return self.max_tokens

    def _number(self) -> int:
        return self.n if self.temperature else 1

    def _own(self, context: Context) -> bool:
        """Whether it is the policy that completes."""
        return context.model(self.role).digest == context.model().digest

    async def _completions(self, tree: SearchTree, node: SearchNode, context: Context) -> Sequence[Completion]:
        """How the model of `role` continues `node`, nothing from an answer that ended; what it cost is counted."""
        if node.terminal:
            return ()
        tree.valued([node])
        try:
            said = await context.tokens(self.role).complete(
                [*tree.prompt_ids, *node.ids()],
                n=self._number(),
                temperature=self.temperature,
                max_tokens=self.max_tokens,
            )
        except NoAnswer:
            if not self._own(context):
                raise
            return ()
        tree.tally.tokens += sum(len(each.token_ids) for each in said)
        return said


def _answers(node: SearchNode, completions: Sequence[Completion]) -> list[Said]:
    """What `node` came to: its own answer, where it ended, or those of its completions."""
    if node.terminal:
        return [(node.so_far(), node.finish_reason)]
    return [(node.so_far() + each.text, each.finish_reason) for each in completions]
