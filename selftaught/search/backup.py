"""Back-up: what the value of grown nodes makes of their ancestors' values.

Every back-up counts visits of the grown node and of each ancestor, and says what a node with children is worth. Values
stay in [0, 1], on one scale over the entire tree: a search compares answers of different parents by them.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from selftaught.search.parts import Backup
from selftaught.search.tree import SearchNode


class FromChildren(Backup):
    """A node's value is a function of its children's, from the grown node upwards.

    What a roll-out added further down, at nodes that have grown before, counts as well.
    """

    def back_up(self, node: SearchNode) -> None:
        for each in reversed([*node.below(lambda node: node.expanded)]):
            if each.children:
                each.value = self.combined(each)
        for each in node.lineage():
            each.visits += 1
            if each.children:
                each.value = self.combined(each)

    @abstractmethod
    def combined(self, node: SearchNode) -> float:
        """The value of `node`, which has children."""


class VisitMean(FromChildren, type="visit_mean"):
    """The mean of the children's values, weighted by their visits; without visits the node keeps its own.

    ReST-MCTS* (arXiv 2406.03816), section 3.3: V = sum N_i V_i / sum N_i. What nothing can grow below (an answer that
    ended, a step that was pruned) is passed over by every descent here, where the reference visits it again and again;
    it counts as visited once, so that what is known of it reaches its ancestors.
    """

    def combined(self, node: SearchNode) -> float:
        weights = [max(child.visits, child.closed) for child in node.children]
        known = sum(weights)
        return sum(w * c.value for w, c in zip(weights, node.children, strict=True)) / known if known else node.value


class Max(FromChildren, type="max"):
    """The best child's value."""

    def combined(self, node: SearchNode) -> float:
        return max(child.value for child in node.children)


class QValue(FromChildren, type="q_value"):
    """V = sum max(1, N_i) Q_i / sum max(1, N_i), Q = r + gamma V, r = estimate of the child less that of its parent.

    MCTS-DPO (arXiv 2405.00451), its code; a leaf's V is 0. Q is a difference, which ranks siblings. A node's `value` is
    Q and its parent's estimate (its own estimate + gamma V): the same order among siblings, and a number in [0, 1] that
    can be compared with any node's, as an answer that is stood by has to be.
    """

    gamma: Annotated[float, Field(ge=0, le=1, description="discount of later rewards per step; 1: none")] = 1.0

    def combined(self, node: SearchNode) -> float:
        weights = [max(1, child.visits) for child in node.children]
        mean = sum(w * child.value for w, child in zip(weights, node.children, strict=True)) / sum(weights)
        return node.estimate + self.gamma * (mean - node.estimate)


class Mean(Backup, type="mean"):
    """The running mean of all values at and below a node, its own among them: Q of UCT.

    AlphaLLM (arXiv 2404.12253), its code: a child is visited, and backed up, when it is made (N = 1, Q its own value),
    so that selection weighs children from the first choice on.
    """

    def back_up(self, node: SearchNode) -> None:
        for child in _born(node):
            if not child.backed_up and child.parent:
                child.backed_up, child.visits = True, max(child.visits, 1)
                for each in child.parent.lineage():
                    _average(each, child.value)


def _born(node: SearchNode) -> Iterator[SearchNode]:
    """What is below `node`, but for what look-aheads and roll-outs left at nodes that have not had their turn."""
    for child in node.children:
        yield child
        if child.expanded:
            yield from _born(child)


def _average(node: SearchNode, value: float) -> None:
    counted = max(node.visits, 1)
    node.value = (node.value * counted + value) / (counted + 1)
    node.visits = counted + 1
