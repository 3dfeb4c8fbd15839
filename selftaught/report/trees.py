"""Which searched trees the page shows, and how: nested nodes with values, visits, and what became training data.

Draws nothing and measures nothing; the template folds and unfolds what is here.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from selftaught.records import Group, Node, Task, Tree, content_id

SHOWN = 4
"""How many trees of each kind (solved, right with a hint alone, not solved) are shown."""


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
    roots = tuple(_node(tree, index, verdicts, marked) for index in tree.children[0])
    right = [tree.nodes[index] for index, passed in verdicts.items() if passed]
    kind = "not solved" if not right else "hinted" if all(n.hinted for n in right) else "solved"
    return TreeView(group.task, tree, kind, roots)


def _node(tree: Tree, index: int, verdicts: Mapping[int, bool], marked: Mapping[int, Sequence[str]]) -> NodeView:
    below = tuple(_node(tree, child, verdicts, marked) for child in tree.children[index])
    kept = "trained on" in marked[index] or any(child.kept for child in below)
    return NodeView(tree.nodes[index], tuple(marked[index]), verdicts.get(index), kept, below)


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
