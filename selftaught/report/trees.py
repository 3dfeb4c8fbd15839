"""Which searched trees the page shows, and how: nested nodes with values, visits, and what became training data.

Draws nothing and measures nothing; the template folds and unfolds what is here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from selftaught.records import Group, Node, Task, Tree, content_id

SHOWN = 4
"""How many trees of each kind (solved, right with a hint alone, not solved) are shown."""


DEEPEST, CUT = 100, "deeper steps are not shown"
"""Levels of a tree that are shown: a page nests no deeper, and neither do those who read it."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node with what hangs below it.

    `marks` say what it is and what was learnt of it; `kept`: an answer that was trained on is at or below it.
    """

    node: Node
    marks: tuple[str, ...]
    right: bool | None
    kept: bool
    children: "tuple[NodeView, ...]"


@dataclass(frozen=True, slots=True)
class TreeView:
    """One tree of a task."""

    task: Task
    tree: Tree
    kind: str
    roots: tuple[NodeView, ...]


def to_show(groups: Iterable[Group], trained: Collection[str]) -> list[TreeView]:
    """Up to `SHOWN` trees of each kind, in the order of `groups`; `trained` holds what examples were made of."""
    views = [_view(group, group.tree, trained) for group in groups if group.tree is not None]
    kinds = ("solved", "hinted", "not solved")
    return [view for kind in kinds for view in islice((v for v in views if v.kind == kind), SHOWN)]


def _view(group: Group, tree: Tree, trained: Collection[str]) -> TreeView:
    verdicts = {rollout.index: group.passed(i) for i, rollout in enumerate(group.rollouts)}
    ids = {rollout.index: rollout.id for rollout in group.rollouts}
    marked = {node.index: _marks(group, tree, node, ids, trained) for node in tree.nodes}
    views = _nodes(tree, verdicts, marked)
    roots = tuple(views[index] for index in tree.children[0])
    return TreeView(group.task, tree, kind_of(group), roots)


def kind_of(group: Group) -> str:
    """What became of a group's tree; empty where it has none."""
    if group.tree is None:
        return ""
    right = [group.tree.nodes[rollout.index] for rollout in group.accepted()]
    return "not solved" if not right else "hinted" if all(node.hinted for node in right) else "solved"


def _nodes(tree: Tree, verdicts: Mapping[int, bool], marked: Mapping[int, Sequence[str]]) -> Mapping[int, NodeView]:
    """The view of every node but the root; a child stands behind its parent, so the last are made first."""
    views: dict[int, NodeView] = {}
    levels = {0: 0}
    for node in tree.nodes[1:]:
        levels[node.index] = levels[node.parent] + 1
    for node in reversed(tree.nodes[1:]):
        children = tuple(views[child] for child in tree.children[node.index])
        kept = "trained on" in marked[node.index] or any(child.kept for child in children)
        marks = (*marked[node.index], *([CUT] if children and levels[node.index] == DEEPEST else ()))
        shown = children if levels[node.index] < DEEPEST else ()
        views[node.index] = NodeView(node, marks, verdicts.get(node.index), kept, shown)
    return views


def _marks(group: Group, tree: Tree, node: Node, ids: Mapping[int, str], trained: Collection[str]) -> list[str]:
    siblings = tree.children[node.parent] if node.index else ()
    pairs = [content_id([group.id, node.index, other]) for other in siblings]
    against = [content_id([group.id, other, node.index]) for other in siblings]
    said = {
        "answer": node.index == tree.answer,
        "hinted": node.hinted,
        "trained on": ids.get(node.index) in trained,
        "its value learnt": content_id([group.id, node.index]) in trained,
        "chosen": any(pair in trained for pair in pairs),
        "rejected": any(pair in trained for pair in against),
    }
    return [mark for mark, is_so in said.items() if is_so]
