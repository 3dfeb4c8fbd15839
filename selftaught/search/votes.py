"""Votes as values: a step is worth how often what follows it comes to the answer that most of the tree comes to.

It needs no gold answer, so it is fair at inference. Which answers are the same is verification's to say.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from selftaught.blocks import Context
from selftaught.core.worker import WorkerDied, in_worker
from selftaught.records import Group
from selftaught.search.parts import BadValue
from selftaught.search.rollouts import RollOuts, Said
from selftaught.search.tree import SearchNode, SearchTree
from selftaught.search.values import as_group
from selftaught.verification.votes import same_answers


class Vote(RollOuts, type="vote"):
    """The share of `n` completions of the partial solution that give the answer with the most votes.

    Self-consistency (Wang et al. 2022, arXiv 2203.11171) instead of the gold answer of Math-Shepherd's soft
    estimate (arXiv 2312.08935, section 3.3). The answers that the tree has vote, each as often as roll-outs came to it,
    and all completions of the nodes that are asked about together (siblings), in that order; of equals the one that was
    given first wins. An answer that ended is worth 1 when it is the voted one, else 0. What gives no answer votes for
    none. Roll-outs of the policy stay in the tree.
    """

    temperature: Annotated[float, Field(gt=0, description="of the completions")] = 1.0

    async def worths(
        self, tree: SearchTree, nodes: Sequence[SearchNode], answers: Sequence[Sequence[Said]], context: Context
    ) -> list[list[float | None]]:
        others = [node for node in tree.terminals() if node not in nodes]
        had = [(node.so_far(), node.finish_reason) for node in others for _ in node.outcomes or [1.0]]
        voters = [*had, *(answer for each in answers for answer in each)]
        voted = set(max(await grouped(as_group(tree, voters)), key=len, default=list[int]()))
        worths, begin = list[list[float | None]](), len(had)
        for each in answers:
            worths.append([float(begin + i in voted) for i in range(len(each))])
            begin += len(each)
        return worths


async def grouped(group: Group) -> list[list[int]]:
    """Which rollouts of `group` give the same answer. Raises BadValue where that ended the process that compared."""
    try:
        return await in_worker(same_answers, group)
    except WorkerDied as error:
        raise BadValue(f"answers could not be compared: {error}") from None
