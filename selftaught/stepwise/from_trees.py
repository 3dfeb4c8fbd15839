"""Solutions from trees: every path of a verified group's tree, as far as it is known what its steps are worth."""

from collections.abc import Iterator
from typing import Literal

from selftaught.curation.step_values import StepValues
from selftaught.records import Example, Group, content_id
from selftaught.stepwise.solution import Solution

Labels = Literal["inferred", "estimates"]


def solutions(group: Group, labels: Labels, threshold: float | None) -> Iterator[Solution]:
    """The different paths to the leaves of the group's tree, each up to its first step of which nothing is known.

    What a step is worth is what the `step_values` curator says with these `labels`. It is right when a right answer is
    at or below it (the hard estimate of Math-Shepherd, arXiv 2312.08935, section 3.3), or, where a `threshold` is
    given, when it is worth that at least. The prompt is the task's question. A step stands without the white space
    around it. Raises BadRow where a value is not in [0, 1].
    """
    if group.tree is None:
        return
    valued = {each.rollout: each for each in StepValues(minimum=0, labels=labels).examples(group, 0)}
    seen = set[tuple[int, ...]]()
    for leaf in (node.index for node in group.tree.nodes[1:] if not group.tree.children[node.index]):
        known = list[tuple[int, str, bool, float]]()
        for node in group.tree.path(leaf):
            found = valued.get(content_id([group.id, node.index]))
            if found is None or (right := _right(found, threshold)) is None:
                break
            if node.text.strip():
                known.append((node.index, node.text, right, found.regress.label))
        path = tuple(index for index, *_ in known)
        if path and path not in seen:
            seen.add(path)
            _, texts, rights, values = zip(*known, strict=True)
            ended = group.tree.nodes[path[-1]].terminal
            yield Solution.bare(group.task.question, list(texts), list(rights), list(values), ended)


def _right(example: Example, threshold: float | None) -> bool | None:
    return example.regress.right if threshold is None else example.regress.label >= threshold
