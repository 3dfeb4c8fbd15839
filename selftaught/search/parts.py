"""The axes that a search is made of, as base classes: selection, expansion, value, back-up.

What one of them may touch is the tree of one task and the context of the stage. Concrete blocks are one subject a file
beside this one; `searcher` drives them.
"""

from abc import abstractmethod
from collections.abc import Sequence

from selftaught.blocks import Block, Context
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


class NodeValue(Block, axis="value"):
    """What nodes are worth, in [0, 1]."""

    @abstractmethod
    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        """The value of each of `nodes` (asked about together, so that siblings share a request), in their order.

        Raises BadValue when a model gives what is no value.
        """


class Backup(Block, axis="backup"):
    """What a node's value and visits make of its ancestors'."""

    @abstractmethod
    def back_up(self, node: SearchNode) -> None:
        """Count a visit of `node`, which has just been grown and whose children are valued, and of its ancestors."""


class BadValue(Exception):
    """A model gave what is no value (not a number, not in [0, 1]): the tree fails, the search of others goes on."""
