"""How searches ended and what they spent, over many trees: for manifests, metrics and reports.

Counts alone; a search in which most trees failed is refused here too, because it says nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import get_args

from selftaught.core.errors import RoundFailed
from selftaught.records import Group, Spent, StopReason

MOST_FAILED = 0.1
"""The share of trees that may fail (a value that is not a number) before the round is given up."""


def outcomes(groups: Sequence[Group]) -> Mapping[str, float]:
    """Trees, nodes, tokens and value calls; `solved`: trees with a right answer that no hint led to; how trees ended.

    `reused` are trees that continued from those of earlier rounds, with `reused_nodes` nodes, where there are any.
    Empty where nothing was searched. What is right is known once the groups are verified.
    """
    trees = [group.tree for group in groups if group.tree is not None]
    if not trees:
        return {}
    ended = Counter(tree.ended for tree in trees)
    found = {
        "trees": len(trees),
        "nodes": sum(len(tree.nodes) - 1 for tree in trees),
        "answers": sum(len(group.rollouts) for group in groups),
        "solved": sum(any(not rollout.hinted for rollout in group.accepted()) for group in groups if group.tree),
        "hinted": sum(any(node.hinted for node in tree.nodes) for tree in trees),
        **{f"ended.{each}": ended[each] for each in get_args(StopReason)},
    }
    fields = [field for field in Spent.model_fields if field != "seconds"]
    begun = [tree.begun for tree in trees if tree.begun]
    if begun:
        found |= {"reused": len(begun), "reused_nodes": sum(each.nodes - 1 for each in begun)}
    found |= {f"spent.{field}": sum(getattr(tree.spent, field) for tree in trees) for field in fields}
    return {f"search.{name}": float(value) for name, value in found.items()}


def require_trees(groups: Sequence[Group]) -> None:
    """Raise RoundFailed when more than `MOST_FAILED` of the trees failed, with the first one's error."""
    failed = [(group, group.tree) for group in groups if group.tree is not None and group.tree.ended == "failed"]
    if len(failed) > MOST_FAILED * len(groups):
        raise RoundFailed(
            f"search: {len(failed)} of {len(groups)} trees failed, more than {MOST_FAILED:.0%}. The first error, "
            f"of task {failed[0][0].id}: {failed[0][1].error}. Look at the model that gives the values, or value nodes "
            "another way (sample.value)."
        )
