"""Step pairs: at each step of a tree's best path, the best next step against another from the same node.

MCTS-DPO, Xie et al. 2024 (arXiv 2405.00451), and its code. A pair's two sides share everything up to the token where
they part, and only what comes after is learnt from. How pairs are learnt from is the objective's business.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selftaught.curation.base import PerGroupCurator
from selftaught.curation.process_values import inferred_values, right_leaves, unjudged_leaves
from selftaught.records import Example, Group, Message, Node, Prefer, Segment, TargetType, Tree, content_id


class StepPairs(PerGroupCurator, type="step_pairs"):
    """A `pair` each node of the best path that has two children: its best child against `rejected`.

    Children are compared by value, then visits, then estimate; the path goes from the root into the best child. Steps
    that were sampled with a hint are on no side.
    """

    gives: ClassVar[TargetType | None] = "prefer"

    rejected: Annotated[
        Literal["second", "worst", "random"],
        Field(description="the other side of a pair: the child that is second best, the worst, or any but the best"),
    ] = "second"
    by: Annotated[
        Literal["value", "inferred"],
        Field(description="the value that children are compared by: the search's, or inferred from right answers"),
    ] = "value"
    margin: Annotated[float, Field(ge=0, description="the values of the two sides differ by more than this")] = 0.0
    smoothing: Literal["none", "visits"] = "none"
    """`visits` takes min(1 - 1 / (1 + N_l / max(1, N_w)), .5) as the probability that a pair is the wrong way round, as
    MCTS-DPO's code has it; for `dpo` with `loss: conservative`. At .5 a pair teaches nothing."""

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """Pairs from the root down."""
        tree = group.tree
        if tree is None:
            return
        values = self._values(group, tree)
        for node, children in best_path(tree, values):
            best, other = children[0], self._other(children, content_id([seed, group.id, node]))
            if values[best.index] - values[other.index] > self.margin:
                yield from self._pair(group, tree, node, best, other)

    def _values(self, group: Group, tree: Tree) -> Mapping[int, float]:
        inferred = inferred_values(tree, right_leaves(group), unjudged_leaves(group))
        values = inferred if self.by == "inferred" else {node.index: node.value for node in tree.nodes}
        return {index: value for index, value in values.items() if not tree.nodes[index].hinted}

    def _other(self, children: Sequence[Node], seed: str) -> Node:
        if self.rejected == "random":
            return random.Random(seed).choice(children[1:])
        return children[-1 if self.rejected == "worst" else 1]

    def _pair(self, group: Group, tree: Tree, parent: int, best: Node, other: Node) -> Iterator[Example]:
        shared = common(best.token_ids, other.token_ids)
        if shared in (len(best.token_ids), len(other.token_ids)):
            return  # one says all of the other: nothing to tell apart
        before = tree.text(parent)
        said = (Message(role="assistant", content=before),) if before else ()
        together = (*tree.prompt_ids, *tree.ids(parent), *best.token_ids[:shared])
        prompt = Segment.context((*group.task.messages, *said), together)
        yield Example(
            sequences=tuple((prompt, Segment.answer(side.text, side.token_ids[shared:])) for side in (best, other)),
            target=Prefer(smoothing=_doubt(best, other) if self.smoothing == "visits" else 0.0),
            task=group.id,
            rollout=content_id([group.id, best.index, other.index]),
        )


def _doubt(best: Node, other: Node) -> float:
    return min(1 - 1 / (1 + other.visits / max(1, best.visits)), 0.5)


def best_path(tree: Tree, values: Mapping[int, float]) -> Iterator[tuple[int, list[Node]]]:
    """Each node on the best path with two or more valued children, and these from the best to the worst."""
    index = 0
    while True:
        valued = [tree.nodes[child] for child in tree.children[index] if child in values]
        ranked = sorted(valued, key=lambda node: (-values[node.index], -node.visits, -node.estimate, node.index))
        if len(ranked) > 1:
            yield index, ranked
        if not ranked:
            return
        index = ranked[0].index


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two steps begin with together."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
