"""A process reward model from elsewhere as a node value: asked in words, with its own tokenizer, tag and classes."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, NonNegativeInt

from selftaught.blocks import Context
from selftaught.errors import BadInput
from selftaught.records import Message
from selftaught.search.parts import NodeValue
from selftaught.search.tree import SearchNode, SearchTree


class ProcessReward(NodeValue, type="process_reward"):
    """The probability that the last step of the partial solution is right, as a process reward model says.

    A model of `models` that was trained elsewhere (Qwen2.5-Math-PRM, arXiv 2501.07301): task and solution are put to
    it as a chat in its own template, the tag after every step, and the class `positive` is read at the last tag. So
    its tokenizer may be any. A step is a node's text without the white space around it. A request for each partial
    solution brings it through the model anew: what siblings share is not kept by the engine.
    """

    role: Annotated[str, Field(description="the role whose model is asked; `models` has to name it")] = "reward"
    tag: Annotated[str, Field(min_length=1, description="stands after each step: one token of the model's")] = (
        "<extra_0>"
    )
    positive: Annotated[NonNegativeInt, Field(description="the class of right steps, of the model's from 0 on")] = 1
    system: Annotated[
        str | None, Field(description="the system message that the model knows; null is the task's own, empty is none")
    ] = None

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        if self.role not in context.models:
            raise BadInput(
                f"process_reward: there is no {self.role} model here: only a round serves those of its recipe beside "
                "the policy. Measure it there (evaluate: {type: strategy, …})."
            )
        tree.valued(nodes)
        given = await context.tokens(self.role).rewards([self.chat(tree, node) for node in nodes], self.tag)
        return [self._last(rows) for rows in given]

    def chat(self, tree: SearchTree, node: SearchNode) -> list[Message]:
        """The task and the solution up to `node`, as the model is asked."""
        asked = list(tree.task.messages)
        if self.system is not None:
            own = [Message(role="system", content=self.system)] if self.system else []
            asked = [*own, *(message for message in asked if message.role != "system")]
        steps = [step for each in node.path() if (step := each.text.strip())]
        return [*asked, Message(role="assistant", content="".join(step + self.tag for step in steps or [""]))]

    def _last(self, rows: Sequence[Sequence[float]]) -> float:
        if not rows:
            raise BadInput(
                f"value.tag: {self.tag!r} is not in what the chat template of the {self.role} model makes of an "
                "answer. Name the tag that the model was trained with."
            )
        if self.positive >= len(rows[-1]):
            raise BadInput(
                f"value.positive: {self.positive}: the {self.role} model has {len(rows[-1])} classes, from 0 on."
            )
        return rows[-1][self.positive]
