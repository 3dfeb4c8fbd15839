"""The tree of a search while it grows: nodes with visits and values, and what the search has spent so far.

Mutable, one search's own, and turned into a frozen `selftaught.records.Tree` when the search ends. It decides nothing:
which node grows, what it is worth and how that is backed up are the blocks' business.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from selftaught.blocks import Completion
from selftaught.records import Begun, Growth, Node, Rollout, Spent, StopReason, Task, Tree, Turn

LENGTH_POWER = 1.25
"""p = exp(sum of log-probabilities / length^1.25): the prior of MCTS-DPO (arXiv 2405.00451), its code."""


@dataclass(slots=True, eq=False)
class SearchNode:
    """A partial solution. `estimate` is its evaluator's word for it alone, `value` what back-ups made of that.

    A node is `expanded` when it has had its turn to grow, and `short` while it has fewer children than it is to have by
    now (those that a look-ahead or a roll-out left there alone): it grows before a search continues below it. It is
    `grown` when it is to get no more children, and `closed` when nothing is left to grow below it: an answer that
    ended, a path at its limit, or a grown node whose children are all closed. `opened` counts how often it was chosen.
    `outcomes` are what the roll-outs through it were worth that were kept of those that valued a node.
    """

    index: int
    parent: "SearchNode | None" = None
    text: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    terminal: bool = False
    hinted: bool = False
    finish_reason: str = "stop"
    prior: float = 1.0
    probability: float = 1.0
    estimate: float = 0.0
    value: float = 0.0
    visits: int = 0
    backed_up: bool = False
    depth: int = 0
    opened: int = 0
    short: bool = False
    expanded: bool = False
    grown: bool = False
    closed: bool = False
    outcomes: list[float] = field(default_factory=list[float])
    children: "list[SearchNode]" = field(default_factory=list["SearchNode"])

    def path(self) -> "list[SearchNode]":
        """The nodes from below the root down to this one."""
        node, path = self, list[SearchNode]()
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]

    def ends_as(self, step: Completion) -> bool:
        """Whether this step and `step` are followed by the same: by an end, by a next step, or by their own rest."""
        return (self.terminal, self.finish_reason) == (ended(step), step.finish_reason)

    def lineage(self) -> "Iterator[SearchNode]":
        """This node and its ancestors, upwards to the root."""
        node: SearchNode | None = self
        while node is not None:
            yield node
            node = node.parent

    def below(self, enters: "Callable[[SearchNode], bool]" = lambda _: True) -> "Iterator[SearchNode]":
        """The nodes below this one for which `enters` holds, each before its children; not what is below any other.

        Without recursion: a roll-out of short lines is deeper than Python goes.
        """
        waiting = self.children[::-1]
        while waiting:
            if enters(node := waiting.pop()):
                yield node
                waiting += node.children[::-1]

    def so_far(self) -> str:
        """The text of the partial solution."""
        return "".join(node.text for node in self.path())

    def ids(self) -> tuple[int, ...]:
        """The engine's own token ids of the partial solution."""
        return tuple(token for node in self.path() for token in node.token_ids)

    def covered(self) -> float:
        """The share of the policy's probability, at temperature 1, that the steps from here hold."""
        return sum(child.probability for child in self.children)

    def open_children(self) -> "list[SearchNode]":
        """The children that a search can continue into. An open node without one is to be grown itself."""
        return [] if self.short else [child for child in self.children if not child.closed]

    def adopt(self, child: "SearchNode") -> None:
        """Take `child` as one more; what was done with opens again, until it is settled.

        A node that has not had its turn has too few children now: what a roll-out left on its way. What is not to be
        continued (pruned, too deep) stays closed.
        """
        self.children.append(child)
        self.short = self.short or not self.expanded
        above = list(self.lineage())
        if all(node.grown or not node.closed for node in above):
            for node in above:
                node.closed = False

    def close_if_done(self) -> None:
        """Close this node and its ancestors, as far up as nothing is left to do: to be called when it has grown."""
        node: SearchNode | None = self
        while node is not None and node.grown and not node.open_children():
            node.closed = True
            node = node.parent


@dataclass(slots=True)
class Tally:
    """What a search has spent: counts up while it runs."""

    iterations: int = 0
    tokens: int = 0
    value_calls: int = 0
    duplicates: int = 0
    empty: int = 0
    truncated: int = 0
    hint_tokens: int = 0
    prefill_tokens: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self.began

    def spent(self) -> Spent:
        """The record of it."""
        return Spent(
            iterations=self.iterations,
            tokens=self.tokens,
            value_calls=self.value_calls,
            duplicates=self.duplicates,
            empty=self.empty,
            truncated=self.truncated,
            seconds=self.seconds,
            hint_tokens=self.hint_tokens,
            prefill_tokens=self.prefill_tokens,
        )


class SearchTree:
    """The tree over `task`. `prompt_ids` are the engine's own tokens of the prompt, known after the first expansion.

    `begun` is what it has from earlier rounds (see `selftaught.search.reuse`), whose values are `stale` where they are
    not this round's. `judged` counts the answers that were valued by verifiers, and `unjudged` is why one could not be.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.root = SearchNode(0)
        self.nodes = [self.root]
        self.prompt_ids: tuple[int, ...] = ()
        self.tally = Tally()
        self.begun: Begun | None = None
        self.stale = False
        self.judged = 0
        self.unjudged = ""

    @property
    def new(self) -> int:
        """How many nodes this search has added."""
        return len(self.nodes) - (self.begun.nodes if self.begun else 1)

    def add(self, parent: SearchNode, step: Completion, *, hinted: bool = False) -> SearchNode:
        """Grow `parent` by one child that says `step`. Children that are added in order keep their order."""
        child = _child(parent, step, hinted)
        parent.children.append(child)
        self.enter(parent)
        return child

    def enter(self, parent: SearchNode) -> None:
        """Make nodes of the tree of what has grown below `parent` since: children in order, then what is below each."""
        for node in (parent, *parent.below()):
            for child in node.children:
                if child.index < 0:
                    child.index = len(self.nodes)
                    self.nodes.append(child)

    def sketch(self, parent: SearchNode, step: Completion) -> SearchNode:
        """A child of `parent` that says `step`, of which neither the parent nor the tree knows yet."""
        return _child(parent, step, False)

    def drop_new(self, parent: SearchNode) -> None:
        """Take off what has grown below `parent` and is not a node of the tree yet."""
        for node in (parent, *parent.below()):
            node.children = [child for child in node.children if child.index >= 0]

    def valued(self, nodes: Sequence[SearchNode]) -> None:
        """Count that a model is asked what each of `nodes` is worth, and reads the prompt and the way to it."""
        self.tally.value_calls += len(nodes)
        self.tally.prefill_tokens += sum(len(self.prompt_ids) + len(node.ids()) for node in nodes)

    def terminals(self) -> list[SearchNode]:
        """The nodes that end an answer, in order of their index."""
        return [node for node in self.nodes if node.terminal]

    def rollout(self, node: SearchNode, model: str, temperature: float) -> Rollout:
        """The answer that ends at `node` (or the partial solution, where it does not end) as a rollout."""
        ids, path = node.ids(), node.path()
        logprobs = tuple(logprob for step in path for logprob in step.logprobs)
        return Rollout(
            task=self.task.id,
            index=node.index,
            model=model,
            turns=(Turn(content=node.so_far(), token_ids=ids, logprobs=logprobs),),
            temperature=temperature,
            finish_reason=node.finish_reason,
            prompt_tokens=len(self.prompt_ids),
            completion_tokens=len(ids),
            hinted=node.hinted,
        )

    def record(
        self, ended: StopReason, answer: SearchNode | None, error: str = "", growth: Growth | None = None
    ) -> Tree:
        """The tree as a frozen record, with what a later round needs to resume from it where that is given."""
        return Tree(
            prompt_ids=self.prompt_ids,
            nodes=tuple(_record(node) for node in self.nodes),
            answer=answer.index if answer else -1,
            ended=ended,
            error=error,
            spent=self.tally.spent(),
            begun=self.begun,
            growth=growth,
        )


def neutral(node: SearchNode) -> float:
    """What a node is worth of which nothing is known: what its parent is, or .5 where there is nothing above it."""
    above = node.parent
    return above.value if above and (above.parent or above.visits) else 0.5


def worth(node: SearchNode) -> tuple[float, int]:
    """What nodes are ranked by: their value; the older of two equals."""
    return node.value, -node.index


def ended(step: Completion) -> bool:
    """Whether a step ends the answer: the engine stopped on its own, not at a stop string or its limit."""
    return step.stop is None and step.finish_reason == "stop"


def _child(parent: SearchNode, step: Completion, hinted: bool) -> SearchNode:
    return SearchNode(
        index=-1,
        parent=parent,
        text=step.text,
        token_ids=step.token_ids,
        logprobs=step.logprobs,
        terminal=ended(step),
        hinted=hinted or parent.hinted,
        finish_reason=step.finish_reason,
        closed=ended(step),
        prior=math.exp(sum(step.logprobs) / len(step.logprobs) ** LENGTH_POWER) if step.logprobs else 1.0,
        probability=math.exp(sum(step.logprobs)),
        depth=parent.depth + 1,
    )


def _record(node: SearchNode) -> Node:
    return Node(
        index=node.index,
        parent=node.parent.index if node.parent else -1,
        text=node.text,
        token_ids=node.token_ids,
        visits=node.visits,
        value=node.value,
        estimate=node.estimate,
        prior=node.prior,
        terminal=node.terminal,
        hinted=node.hinted,
    )
