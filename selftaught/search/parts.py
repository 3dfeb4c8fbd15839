"""The parts of a search, as base classes: selection, expansion, value, backup.

What one of them may touch is the tree of one task and the context of the stage. Concrete blocks are one subject a file
beside this one; `searcher` drives them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.blocks import Block, Completion, Context
from selftaught.search.tree import SearchNode, SearchTree, neutral


class Selection(Block, axis="select"):
    """Which nodes to grow next."""

    @abstractmethod
    def choose(self, tree: SearchTree) -> list[SearchNode]:
        """Open leaves to grow now, in order; none if this selection would grow nothing more."""

    def children(self, tree: SearchTree, chosen: Sequence[SearchNode]) -> list[int | None]:
        """The number of children for each of the nodes `chosen` in `tree`; None leaves it to the expansion."""
        return [None] * len(chosen)

    def at_once(self) -> int:
        """The most nodes of one choice."""
        return 1

    def most_children(self, nodes: int, n: int) -> int:
        """The most children of `nodes` chosen nodes in total, if the expansion gives each `n`."""
        return nodes * n


class Expansion(Block, axis="expand"):
    """How a node grows children."""

    @abstractmethod
    async def grow(
        self, tree: SearchTree, node: SearchNode, context: Context, n: int | None = None
    ) -> list[SearchNode]:
        """New children of `node` (`n`, if given), in order; adds their cost to the tree's tally.

        They are the node's, but no nodes of the tree yet (`SearchTree.enter`), since others grow at the same time.
        Raises what `ChatModel` raises.
        """


@dataclass(frozen=True, slots=True)
class RollOut:
    """A roll-out of the policy from a node, and its value in [0, 1]."""

    said: Completion
    worth: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A node's value, in [0, 1], and the roll-outs from it to keep in the tree; None where nothing is known of it."""

    value: float | None
    rollouts: tuple[RollOut, ...] = ()


class NodeValue(Block, axis="value"):
    """Values of nodes, in [0, 1]."""

    @abstractmethod
    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        """The value of each of `nodes` (together, so that siblings share a request), in their order.

        Raises BadValue when a model gives what is not a value.
        """

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        """The same values, each with the roll-outs to keep in the tree: none by default."""
        return [Estimate(value) for value in await self.values(tree, nodes, context)]

    def sees_gold(self) -> bool:
        """Whether its values depend on the gold answer: for training data, not for inference."""
        return any(other.sees_gold() for other in self.others())

    def others(self) -> "Sequence[NodeValue]":
        """The nested values, if it is composed of others."""
        return ()

    def cost(self) -> int:
        """The most new tokens for the value of one node."""
        return sum(other.cost() for other in self.others())

    def longest(self) -> int:
        """The most new tokens of one request."""
        return max((other.longest() for other in self.others()), default=0)


class RollingValue(NodeValue):
    """A value that makes roll-outs, or uses others that may."""

    @abstractmethod
    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]: ...

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        found = zip(nodes, await self.estimates(tree, nodes, context), strict=True)
        return [neutral(node) if said.value is None else said.value for node, said in found]


class Backup(Block, axis="backup"):
    """How a node's value and visits propagate to its ancestors."""

    @abstractmethod
    def back_up(self, node: SearchNode) -> None:
        """Count a visit of `node`, which has just been grown and whose children are valued, and of its ancestors."""


class BadValue(Exception):
    """A model gave an invalid value (not a number, not in [0, 1]): its tree fails, other searches continue."""
