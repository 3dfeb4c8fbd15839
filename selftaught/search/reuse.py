"""Going on from the tree that an earlier round grew: what is kept of it for that, and how it is taken up again.

What is taken up are the steps that this very policy sampled in the search itself, with visits and values. What ended
that search is not: an answer that was decoded because there was none, and hinted answers, are sampled again where they
are still needed. Which earlier round's tree it is, and whether its values still hold, is decided where rounds are known
(`selftaught.round.reuse`).
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from selftaught.blocks import Context, Earlier
from selftaught.records import Begun, Group, Growth, Node, Task, Tree
from selftaught.search.tree import SearchNode, SearchTree


@dataclass(frozen=True, slots=True)
class Resumed:
    """A search in a round that resumes from the trees of `earlier` rounds, by the id of their task."""

    grow: Callable[[SearchTree, Context], Awaitable[Group]]
    earlier: Mapping[str, Earlier]

    async def sample(self, task: Task, context: Context) -> Group:
        """The group that the search gives of `task`; raises what the search raises.

        It begins from nothing where no earlier round has a tree of it, or where the engine makes other tokens of the
        prompt by now (a template that tells the date).
        """
        tree, had = SearchTree(task), self.earlier.get(task.id)
        if had and had.group.tree and await _opening(tree, context) == had.group.tree.prompt_ids:
            resume(tree, had)
        return await self.grow(tree, context)


async def _opening(tree: SearchTree, context: Context) -> tuple[int, ...]:
    """The engine's own tokens of the prompt, for one new token, which is counted."""
    (said,) = await context.tokens().complete(tree.task.messages, n=1, temperature=0.0, max_tokens=1)
    tree.tally.tokens += len(said.token_ids)
    tree.tally.prefill_tokens += said.prompt_tokens
    return said.prompt_ids


def growth(tree: SearchTree) -> Growth:
    """What a later round needs to resume from `tree` as it is."""
    return Growth(
        nodes=len(tree.nodes),
        logprobs=tuple(node.logprobs for node in tree.nodes),
        finish_reasons=tuple(node.finish_reason for node in tree.nodes),
        opened=tuple(node.opened for node in tree.nodes),
        outcomes=tuple(tuple(node.outcomes) for node in tree.nodes),
        expanded=tuple(node.index for node in tree.nodes if node.expanded),
        backed_up=tuple(node.index for node in tree.nodes if node.backed_up),
        grown=tuple(node.index for node in tree.nodes if node.grown),
        short=tuple(node.index for node in tree.nodes if node.short),
    )


def resume(tree: SearchTree, had: Earlier) -> None:
    """Make of `tree`, which is empty, the one that an earlier search grew. What is closed is for this one to say."""
    earlier = had.group.tree
    if earlier is None or earlier.growth is None:
        return
    kept = earlier.growth
    tree.prompt_ids, tree.stale = earlier.prompt_ids, not had.valued
    tree.begun = Begun(trees=had.trees, nodes=kept.nodes, iterations=earlier.iterations)
    for node in earlier.nodes[1 : kept.nodes]:
        _take(tree, node, kept)
    _mark(tree, earlier, kept)


def _take(tree: SearchTree, node: Node, kept: Growth) -> None:
    parent, logprobs = tree.nodes[node.parent], kept.logprobs[node.index]
    taken = SearchNode(
        index=node.index,
        parent=parent,
        text=node.text,
        token_ids=node.token_ids,
        logprobs=logprobs,
        terminal=node.terminal,
        finish_reason=kept.finish_reasons[node.index],
        prior=node.prior,
        probability=math.exp(sum(logprobs)),
        depth=parent.depth + 1,
    )
    parent.children.append(taken)
    tree.nodes.append(taken)


def _mark(tree: SearchTree, earlier: Tree, kept: Growth) -> None:
    """What the search had made of each node."""
    expanded, backed_up, grown, short = map(set, (kept.expanded, kept.backed_up, kept.grown, kept.short))
    for node, had, opened in zip(tree.nodes, earlier.nodes[: kept.nodes], kept.opened, strict=True):
        node.visits, node.value, node.estimate, node.opened = had.visits, had.value, had.estimate, opened
        node.expanded, node.backed_up = node.index in expanded, node.index in backed_up
        node.grown, node.short = node.index in grown, node.index in short
        node.outcomes = [] if tree.stale else list(kept.outcomes[node.index])


def close(tree: SearchTree, depth: int, prune: float) -> None:
    """Close what nothing is left to grow at or below, by the limits of this search."""
    for node in reversed(tree.nodes):
        pruned = node.parent is not None and node.estimate < prune
        node.closed = node.terminal or pruned or node.depth >= depth or (node.grown and not node.open_children())
