"""Detours: right answers that include the tree's wrong turns and the backtracking from them.

Linearised trees teach reflection and backtracking (ASTRO, Kim et al. 2025, arXiv 2507.00417); splices at the first
error teach to notice it at once (Agent-R, Yuan et al. 2025, arXiv 2501.11425; S3c-Math, Yan et al. 2024, arXiv
2409.01524, which does not learn the error). The words between are templates: no
model rewrites them, and no model is asked where the first error is, because the tree knows.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from selftaught.core.templates import filled, with_slots
from selftaught.curation.base import PerGroupCurator, capped, completion_example
from selftaught.curation.process_values import FAR, answered, distances, right_leaves, unjudged_leaves
from selftaught.records import Example, Group, Node, TargetType, Tree, content_id

Reflect = Annotated[str, Field(description="text after a wrong turn, before `back`")]
Back = Annotated[
    str,
    with_slots("step"),
    Field(description="leads back from a wrong turn; {step} is the last step that was right"),
]


class Backtracks(PerGroupCurator):
    """One example a right answer without a hint that has wrong turns beside it, `per_task` at most.

    `reflect` and `back` are said between a wrong turn and the right one. With `wrong: ignore` all up to the end of the
    last wrong turn is read and not learnt.
    """

    gives: ClassVar[TargetType | None] = "imitate"

    per_task: Annotated[
        PositiveInt | None, Field(description="examples of one task at most, drawn by the seed; null is all")
    ] = 2
    reflect: Reflect
    back: Back
    wrong: Annotated[Literal["train", "ignore"], Field(description="whether wrong turns are learnt")] = "train"

    def examples(self, group: Group, seed: int) -> Iterator[Example]:
        """In the order of the right answers' nodes."""
        tree, right = group.tree, right_leaves(group)
        if tree is None or not right:
            return
        far = distances(tree, right | unjudged_leaves(group))  # what nobody judged is not a wrong turn
        own = (each for each in group.accepted() if each.finish_reason == "stop" and not each.hinted)
        turns = self.wrong_turns(tree, far)
        made = [each for rollout in own for each in self._linearised(group, tree, turns, rollout.index)]
        yield from capped(made, self.per_task, seed)

    def _linearised(self, group: Group, tree: Tree, turns: "Turns", leaf: int) -> Iterator[Example]:
        """The answer at `leaf` with its wrong turns; nothing when there are none."""
        good, text, turned = tree.path(leaf), "", 0
        for at, step in enumerate((tree.nodes[0], *good)):
            text += step.text
            for wrong in turns.get(step.index, ()) if at < len(good) else ():
                said = text + "".join(node.text for node in wrong).rstrip()
                turned = len(said)
                text = self._and_back(text, said, wrong, step.text)
        if turned:
            source = content_id([group.id, leaf, self.name])
            yield completion_example(group, text, source, given=turned if self.wrong == "ignore" else 0)

    def _and_back(self, text: str, said: str, wrong: Sequence[Node], step: str) -> str:
        """What is `said` up to the end of a wrong turn that follows `text`, and the words that lead back from it."""
        back = filled(self.back, {"step": step.strip()}) if step.strip() else ""
        gap = "\n" if any(each.endswith("\n") for each in (text, wrong[0].text)) else " "
        words = " ".join(each for each in (self.reflect, back) if each)
        return f"{said}{gap}{words}{gap}"

    @abstractmethod
    def wrong_turns(self, tree: Tree, far: Sequence[int]) -> "Turns":
        """The wrong turns to tell at each node; `far` are distances to right answers."""


Turns = Mapping[int, Sequence[Sequence[Node]]]
"""Wrong turns by the node that they leave from, each as its steps."""


class Linearised(Backtracks, type="linearised"):
    """Whole wrong answers before the right one, depth first, `detours` at most at each node."""

    detours: Annotated[PositiveInt, Field(description="wrong answers included at one node, at most")] = 1
    reflect: Reflect = "But wait, are we solving the problem correctly so far? Hmm."
    back: Back = "Let's go back to: {step}"

    def wrong_turns(self, tree: Tree, far: Sequence[int]) -> Turns:
        """From children of the node down to wrong answers, the most convincing first."""
        turns: dict[int, list[Sequence[Node]]] = {}
        for node in sorted(tree.nodes, key=lambda node: (-node.value, node.index)):
            path = tree.path(node.index) if node.terminal and not node.hinted else ()
            for at, step in enumerate(path):
                kept = turns.setdefault(step.parent, [])
                if far[step.index] >= FAR and len(kept) < self.detours:
                    kept.append(path[at:])
        return turns


class Spliced(Backtracks, type="spliced"):
    """One step too far, then back: the first step that no right answer follows, of the most convincing wrong child."""

    reflect: Reflect = "I made a mistake."
    back: Back = "Back to: {step}"

    def wrong_turns(self, tree: Tree, far: Sequence[int]) -> Turns:
        """The first error among the node's children that led to a wrong answer, the most convincing one."""
        ended = answered(tree, unjudged=())
        turns: dict[int, list[Sequence[Node]]] = {}
        for node in sorted(tree.nodes[1:], key=lambda node: (-node.value, node.index)):
            if far[node.index] >= FAR and ended[node.index] and not node.hinted:
                turns.setdefault(node.parent, [[node]])
        return turns
