"""Trees: the search of one task, as it was when it ended."""

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selftaught.records.added import Count
from selftaught.records.arrow import TokenIds
from selftaught.records.base import Record


class Node(Record):
    """One node of a search tree: a step, and the partial solution that it ends.

    `value` is in [0, 1] after all back-ups, `estimate` what its evaluator said of it alone; `prior` is its sampling
    probability, length-normalised. `token_ids` are the engine's own, of the step alone. A `terminal` node ends an
    answer; a `hinted` one was sampled by a prompt that held the gold answer. An answer decoded complete at a search's
    end was valued by nobody and has its parent's value as its `estimate`.
    """

    index: int
    parent: int = -1
    text: str = ""
    token_ids: TokenIds = ()
    visits: int = 0
    value: float = 0.0
    estimate: float = 0.0
    prior: float = 1.0
    terminal: bool = False
    hinted: bool = False


class Spent(Record):
    """What one search used.

    `tokens` are new ones of the policy, those of dropped duplicates, of roll-outs and of hinted answers included, of
    which `hint_tokens` are the last; `value_calls` are nodes that a model valued; `prefill_tokens` were read for them
    and for steps (openings and partial solutions, cached or not, without the question that p(True) asks);
    `seconds` are of the clock, waiting for the engine included.
    """

    iterations: int = 0
    tokens: int = 0
    value_calls: int = 0
    duplicates: int = 0
    empty: int = 0
    truncated: int = 0
    seconds: float = 0.0
    hint_tokens: Count = 0
    prefill_tokens: Count = 0


StopReason = Literal["iterations", "nodes", "tokens", "seconds", "solved", "gate", "exhausted", "failed"]


class Begun(Record):
    """What a tree had before its round: the first `nodes` nodes, the root among them, grown in earlier rounds.

    They are from the data set of groups `trees` (its digest), and took `iterations` in all.
    """

    trees: str
    nodes: int
    iterations: int


class Growth(Record):
    """What a later round has to know of a tree, beside its nodes, in order to continue growing it.

    The first `nodes` nodes are those that the search grew. What follows them ended it: an answer that was decoded
    because there was none, hinted answers. For each of them in order: the log-probabilities of its tokens (nats), how
    the engine ended it, how often it was chosen (`opened`), and what roll-outs through it were worth (`outcomes`). The
    other fields are the indexes of those that had their turn (`expanded`), whose value was counted in a mean
    (`backed_up`), that get no more children (`grown`), and that are to have more than they have (`short`).
    """

    nodes: int
    logprobs: tuple[tuple[float, ...], ...]
    finish_reasons: tuple[str, ...]
    opened: tuple[int, ...]
    outcomes: tuple[tuple[float, ...], ...]
    expanded: tuple[int, ...]
    backed_up: tuple[int, ...]
    grown: tuple[int, ...]
    short: tuple[int, ...]


class Tree(Record):
    """The search of one task: nodes by index, parents before children, the root (index 0) without text.

    `answer` is the terminal node that the search would answer with (-1 when it has none); `ended` says what stopped it
    and `error` why it failed. Where the search continued from an earlier round's tree, `begun` says with what, and all
    else that it counts (`spent`) is this round's alone. `growth` is there where a later round may resume from it.
    """

    prompt_ids: TokenIds = ()
    nodes: tuple[Node, ...] = Field(min_length=1)
    answer: int = -1
    ended: StopReason
    error: str = ""
    spent: Spent = Spent()
    begun: Annotated[Begun | None, Field(exclude_if=lambda begun: begun is None)] = None
    growth: Annotated[Growth | None, Field(exclude_if=lambda growth: growth is None)] = None

    @property
    def iterations(self) -> int:
        """The iterations that the tree took, in earlier rounds too."""
        return self.spent.iterations + (self.begun.iterations if self.begun else 0)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The indexes of each node's children, in order."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes[1:]:
            found[node.parent].append(node.index)
        return tuple(map(tuple, found))

    def path(self, index: int) -> tuple[Node, ...]:
        """The nodes from below the root down to node `index`."""
        path: list[Node] = []
        while index > 0:
            path.append(self.nodes[index])
            index = self.nodes[index].parent
        return tuple(reversed(path))

    def text(self, index: int) -> str:
        """The partial solution that ends at node `index`."""
        return "".join(node.text for node in self.path(index))

    def ids(self, index: int) -> tuple[int, ...]:
        """The engine's own token ids of the partial solution that ends at node `index`."""
        return tuple(token for node in self.path(index) for token in node.token_ids)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(node.index != i or not (min(i, 1) - 1 <= node.parent < i) for i, node in enumerate(self.nodes)):
            raise ValueError("a tree's nodes are listed by index from the root, parents before children")
        return self
