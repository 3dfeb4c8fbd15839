"""Votes as values: a step is worth how often what follows it comes to the answer that most of the tree comes to.

It needs no gold answer, so it is fair at inference. Which answers are the same is verification's to say.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt

from selftaught.blocks import Context
from selftaught.records import Group
from selftaught.search.parts import BadValue, NodeValue
from selftaught.search.tree import SearchNode, SearchTree
from selftaught.search.values import as_group, completed
from selftaught.verification.votes import same_answers
from selftaught.worker import WorkerDied, in_worker


class Vote(NodeValue, type="vote"):
    """The share of `n` completions of the partial solution that give the answer with the most votes.

    Self-consistency (Wang et al. 2022, arXiv 2203.11171) in the place of the gold answer of Math-Shepherd's soft
    estimate (arXiv 2312.08935, section 3.3). The answers that the tree has vote, and all completions of the nodes that
    are asked about together (siblings), in that order; of equals the one that was given first wins. An answer that
    ended is worth 1 when it is the voted one, else 0. What gives no answer votes for none. Completions are no nodes.
    """

    n: Annotated[PositiveInt, Field(description="completions of a node")] = 4
    temperature: Annotated[float, Field(gt=0, description="of the completions")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens a completion at most")] = 128
    role: Annotated[str, Field(description="the role whose model completes")] = "policy"

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        had = [(node.so_far(), node.finish_reason) for node in tree.terminals()]
        drawn = self.role, self.n, self.temperature, self.max_tokens
        said = await asyncio.gather(*(completed(tree, node, context, *drawn) for node in nodes))
        voters = [*had, *(answer for answers in said for answer in answers)]
        voted = set(max(await grouped(as_group(tree, voters)), key=len, default=list[int]()))
        values, begin = list[float](), len(had)
        for answers in said:
            values.append(sum(begin + i in voted for i in range(len(answers))) / len(answers))
            begin += len(answers)
        return values


async def grouped(group: Group) -> list[list[int]]:
    """Which rollouts of `group` give the same answer. Raises BadValue where that ended the process that compared."""
    try:
        return await in_worker(same_answers, group)
    except WorkerDied as error:
        raise BadValue(f"answers could not be compared: {error}") from None
