"""The axes that a search is made of, as base classes: selection, expansion, value, back-up.

What one of them may touch is the tree of one task and the context of the stage. Concrete blocks are one subject a file
beside this one; `searcher` drives them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.blocks import Block, Completion, Context
from selftaught.search.tree import SearchNode, SearchTree


class Selection(Block, axis="select"):
    """Which nodes to grow next."""

    @abstractmethod
    def choose(self, tree: SearchTree) -> list[SearchNode]:
        """Open leaves to grow now, in order; none when nothing is left that this selection would grow."""

    def children(self, tree: SearchTree, chosen: Sequence[SearchNode]) -> list[int | None]:
        """How many children each of the nodes `chosen` in `tree` is to get; None leaves it to the expansion."""
        return [None] * len(chosen)

    def at_once(self) -> int:
        """How many nodes one choice has at most."""
        return 1

    def most_children(self, nodes: int, n: int) -> int:
        """How many children so many chosen `nodes` are to get in all, at most, where the expansion gives each `n`."""
        return nodes * n


class Expansion(Block, axis="expand"):
    """How a node grows children."""

    @abstractmethod
    async def grow(
        self, tree: SearchTree, node: SearchNode, context: Context, n: int | None = None
    ) -> list[SearchNode]:
        """New children of `node` (`n`, where it is given), in order; counts on the tree's tally what they cost.

        They are the node's, but no nodes of the tree yet (`SearchTree.enter`), since others grow at the same time.
        Raises what `ChatModel` raises.
        """


@dataclass(frozen=True, slots=True)
class RollOut:
    """How the policy went on from a node, and what that is worth to the value that asked for it, in [0, 1]."""

    said: Completion
    worth: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a node is worth, in [0, 1], and the roll-outs from it that are to stay in the tree."""

    value: float
    rollouts: tuple[RollOut, ...] = ()


class NodeValue(Block, axis="value"):
    """What nodes are worth, in [0, 1]."""

    @abstractmethod
    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        """The value of each of `nodes` (asked about together, so that siblings share a request), in their order.

        Raises BadValue when a model gives what is no value.
        """

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        """The same values, each with the roll-outs that are to stay in the tree: none, unless the block makes some."""
        return [Estimate(value) for value in await self.values(tree, nodes, context)]

    def others(self) -> "Sequence[NodeValue]":
        """The values that this one asks, if it is made of others."""
        return ()

    def cost(self) -> int:
        """New tokens that the value of one node takes at most."""
        return sum(other.cost() for other in self.others())

    def longest(self) -> int:
        """New tokens of its longest request."""
        return max((other.longest() for other in self.others()), default=0)


class RollingValue(NodeValue):
    """A value that makes roll-outs, or asks others that may."""

    @abstractmethod
    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]: ...

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        return [estimate.value for estimate in await self.estimates(tree, nodes, context)]


class Backup(Block, axis="backup"):
    """What a node's value and visits make of its ancestors'."""

    @abstractmethod
    def back_up(self, node: SearchNode) -> None:
        """Count a visit of `node`, which has just been grown and whose children are valued, and of its ancestors."""


class BadValue(Exception):
    """A model gave what is no value (not a number, not in [0, 1]): the tree fails, the search of others goes on."""
