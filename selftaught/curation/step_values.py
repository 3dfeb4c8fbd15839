"""Step values: partial solutions with their values, for a value model to learn.

The label is the quality value inferred from which answers are right (ReST-MCTS*, arXiv 2406.03816), or the share of
completions that came out right while searching (Math-Shepherd, arXiv 2312.08935). It trains nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import PositiveInt

from selftaught.curation.base import PerGroupCurator, asked, capped
from selftaught.curation.process_values import FAR, answered, distances, inferred_values, right_leaves, unjudged_leaves
from selftaught.records import Example, Group, Regress, Segment, TargetType, Tree, content_id


class StepValues(PerGroupCurator, type="step_values"):
    """A `value` example each node of a tree but the root.

    A step is right where a right answer is at or below it, wrong where all that were judged there are wrong, and
    neither where none was.
    """

    gives: ClassVar[TargetType | None] = "regress"

    labels: Literal["inferred", "estimates"] = "inferred"
    """`inferred`: the quality values that right answers give; trees without one give nothing (see `hints` of the
    `search` sampler). `estimates`: the nodes' own estimates, which are outcomes if the search valued by them."""
    per_task: PositiveInt | None = None
    """Examples of one task at most, drawn by the seed; null is all."""

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """Examples in the order of the nodes."""
        if group.tree is None:
            return iter(())
        labels, right = self._labels(group, group.tree), _right(group, group.tree)
        made = [value_of(group, group.tree, index, labels[index], right[index]) for index in labels if index]
        return iter(capped(made, self.per_task, seed))

    def _labels(self, group: Group, tree: Tree) -> Mapping[int, float]:
        if self.labels == "inferred":
            return inferred_values(tree, right_leaves(group), unjudged_leaves(group))
        return {node.index: node.estimate for node in tree.nodes if not node.hinted}


def _right(group: Group, tree: Tree) -> Sequence[bool | None]:
    """Of each node whether it is right; None if unknown."""
    far, known = distances(tree, right_leaves(group)), answered(tree, unjudged_leaves(group))
    return [steps < FAR if is_known else None for steps, is_known in zip(far, known, strict=True)]


def value_of(group: Group, tree: Tree, index: int, label: float, right: bool | None) -> Example:
    """Node `index` of the group's tree as a partial solution that is worth `label`."""
    said = Segment.answer(tree.text(index), tree.ids(index), weights=())
    return Example(
        sequences=((asked(group), said),),
        target=Regress(label=label, right=right),
        task=group.id,
        rollout=content_id([group.id, index]),
    )
