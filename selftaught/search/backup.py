"""Back-up: what the value of grown nodes makes of their ancestors' values.

Every back-up counts one visit of the grown node and of each ancestor, then says what a node with children is worth.
"""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from selftaught.search.parts import Backup
from selftaught.search.tree import SearchNode


class FromChildren(Backup):
    """A node's value is a function of its children's, from the grown node upwards."""

    def back_up(self, node: SearchNode) -> None:
        for each in node.lineage():
            each.visits += 1
            if each.children:
                each.value = self.combined(each)

    @abstractmethod
    def combined(self, node: SearchNode) -> float:
        """The value of `node`, which has children."""


class VisitMean(FromChildren, type="visit_mean"):
    """The mean of the children's values, weighted by their visits; without visits the node keeps its own.

    ReST-MCTS* (arXiv 2406.03816), section 3.3: V = sum N_i V_i / sum N_i.
    """

    def combined(self, node: SearchNode) -> float:
        visits = sum(child.visits for child in node.children)
        return sum(child.visits * child.value for child in node.children) / visits if visits else node.value


class Max(FromChildren, type="max"):
    """The best child's value."""

    def combined(self, node: SearchNode) -> float:
        return max(child.value for child in node.children)


class QValue(FromChildren, type="q_value"):
    """V = sum max(1, N_i) Q_i / sum max(1, N_i), Q = r + gamma V, r = estimate of the child less that of its parent.

    MCTS-DPO (arXiv 2405.00451), its code. A node's `value` is its Q here, which selection and curation compare; a
    leaf's V is 0, so that its Q is its reward.
    """

    gamma: Annotated[float, Field(ge=0, le=1, description="discount of later rewards a step; 1 is none")] = 1.0

    def back_up(self, node: SearchNode) -> None:
        for child in node.children:
            if not child.children:
                child.value = _reward(child)
        super().back_up(node)

    def combined(self, node: SearchNode) -> float:
        weights = [max(1, child.visits) for child in node.children]
        below = sum(w * child.value for w, child in zip(weights, node.children, strict=True)) / sum(weights)
        return _reward(node) + self.gamma * below


class Mean(Backup, type="mean"):
    """The running mean of what was backed up through a node: the best new child's estimate each time. UCT's Q."""

    def back_up(self, node: SearchNode) -> None:
        found = max((child.estimate for child in node.children), default=node.estimate)
        for each in node.lineage():
            each.value = (each.value * each.visits + found) / (each.visits + 1)
            each.visits += 1


def _reward(node: SearchNode) -> float:
    return node.estimate - node.parent.estimate if node.parent else 0.0
