"""Process values: the value of each step of a search tree, inferred from which of its answers are right.

Pure functions of a tree and of its right leaves. Training examples are made of them by `step_values`; estimates that
were sampled while searching (`outcome` values) are on the nodes already.

Source: ReST-MCTS*, Zhang et al. 2024 (arXiv 2406.03816), section 3.2, and the labelling in its code.
"""

from collections.abc import Collection, Mapping

from selftaught.records import Group, Tree

FAR = 10**9
"""The reasoning distance of a node below which no answer is right."""


def right_leaves(group: Group) -> frozenset[int]:
    """The terminal nodes of a verified group's tree that every verifier passed."""
    return frozenset(rollout.index for rollout in group.accepted())


def unjudged_leaves(group: Group) -> frozenset[int]:
    """The terminal nodes of a verified group's tree of which nobody knows whether they are right.

    Some verifier could not judge them, or they were cut off before they came to their answer.
    """
    right, judged = right_leaves(group), zip(group.rollouts, group.verdicts, strict=True)
    missing = {rollout.index for rollout, verdicts in judged if any(each.is_missing for each in verdicts)}
    cut = {rollout.index for rollout in group.rollouts if rollout.finish_reason != "stop"} - right
    return frozenset(missing | cut)


def distances(tree: Tree, right: Collection[int]) -> list[int]:
    """Steps from each node down to the nearest right leaf (m_k); `FAR` where there is none."""
    found = [0 if node.index in right else FAR for node in tree.nodes]
    for node in reversed(tree.nodes[1:]):
        found[node.parent] = min(found[node.parent], found[node.index] + 1)
    return found


def answered(tree: Tree, unjudged: Collection[int]) -> list[bool]:
    """Whether a judged answer ends at or below each node: of the others nobody knows whether they are right."""
    known = [node.terminal and node.index not in unjudged for node in tree.nodes]
    for node in reversed(tree.nodes[1:]):
        known[node.parent] = known[node.parent] or known[node.index]
    return known


def inferred_values(tree: Tree, right: Collection[int], unjudged: Collection[int] = ()) -> Mapping[int, float]:
    """The quality value v of every node that is known to be right or wrong, by index; the root's is v_0 = 0.

    `right` are the leaves that were found right, `unjudged` those of which nothing was found.

    With m_k the reasoning distance and r_k = 1 for a wrong step, 0 for a right one:
    w_k = (1 - v_{k-1}) / (m_k + 1) * (1 - 2 r_k), v_k = max(v_{k-1} + w_k, 0). A step is right when a right leaf is at
    or below it; a wrong one has the distance of its nearest right ancestor. So v_k = k/K on a path of K steps to the
    only right leaf. Empty when no leaf is right: such a tree says nothing of its steps.
    """
    far, known = distances(tree, right), answered(tree, unjudged)
    if far[0] == FAR:
        return {}
    values, reach = {0: 0.0}, {0: far[0]}
    for node in tree.nodes[1:]:
        if not known[node.index] or node.parent not in values:
            continue
        is_right = far[node.index] < FAR
        reach[node.index] = far[node.index] if is_right else reach[node.parent]
        before = values[node.parent]
        step = (1 - before) / (reach[node.index] + 1)
        values[node.index] = max(before + step if is_right else before - step, 0.0)
    return values
