"""Node values: what a partial solution is worth, as a model, the model itself, an outcome or a verifier says.

Every block gives numbers in [0, 1] for nodes that are asked about together. How values travel up the tree is the
back-up's business.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selftaught.blocks import Context, OneOf, Verifier, judged
from selftaught.core.templates import filled, with_slots
from selftaught.records import Group, Message, Rollout, Turn, Verdict, passes
from selftaught.search.parts import BadValue, Estimate, NodeValue, RollingValue
from selftaught.search.rollouts import RollOuts, Said
from selftaught.search.tree import SearchNode, SearchTree


class Constant(NodeValue, type="constant"):
    """The same for all: a search without knowledge."""

    value: Annotated[float, Field(ge=0, le=1, description="what every node is worth")] = 0.5

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        return [self.value for _ in nodes]


class ValueModel(RollingValue, type="value_model"):
    """The value model of the stage (role `value`) on prompt and partial solution, all nodes in one request.

    It reads the engine's own token ids, so siblings share everything but their last step in its prefix cache. What it
    gives is cut to [0, 1]; what is not a number fails the tree.
    """

    role: Annotated[str, Field(description="the role whose model is used")] = "value"
    before: Annotated[NodeValue, OneOf("value"), Field(description="values nodes until there is such a model")] = (
        Constant()
    )

    def others(self) -> Sequence[NodeValue]:
        return (self.before,)

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        if self.role not in context.models:
            return await self.before.estimates(tree, nodes, context)
        tree.valued(nodes)
        given = await context.tokens(self.role).values([[*tree.prompt_ids, *node.ids()] for node in nodes])
        broken = [value for value in given if not math.isfinite(value)]
        if broken:
            raise BadValue(f"the {self.role} model gave {broken[0]} for {len(broken)} of {len(given)} nodes")
        return [Estimate(min(max(value, 0.0), 1.0)) for value in given]


class PTrue(NodeValue, type="p_true"):
    """p(True) / (p(True) + p(False)) as the first token of the model's answer to whether its solution is right so far.

    Kadavath et al. 2022 (arXiv 2207.05221), on partial solutions as in AlphaLLM (arXiv 2404.12253). All nodes are asked
    about in one request. The question stands after the solution in the same chat, so the policy's engine has prompt and
    path in its prefix cache. Where neither word is among the tokens that the engine tells of, the node is worth 0.5.
    With {answer} in the prompt the model is shown the gold answer (MCTS-DPO, arXiv 2405.00451): for training data, not
    for inference.
    """

    role: Annotated[str, Field(description="the role whose model is used")] = "policy"
    prompt: Annotated[
        str,
        with_slots("answer"),
        Field(description="question after the partial solution; {answer} is the gold answer"),
    ] = "Is this solution correct so far? Answer True or False, one word."

    def sees_gold(self) -> bool:
        return "{answer}" in self.prompt

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        tree.valued(nodes)
        asked = Message(role="user", content=filled(self.prompt, {"answer": tree.task.answer or ""}))
        said = [Message(role="assistant", content=node.so_far().strip()) for node in nodes]
        chats = [[*tree.task.messages, each, asked] for each in said]
        return [share(self.role, *odds) for odds in await context.tokens(self.role).odds(chats, ["true", "false"])]


class Outcome(RollOuts, type="outcome"):
    """The share of `n` completions of the partial solution that all verifiers of the stage pass.

    Math-Shepherd's soft estimate (arXiv 2312.08935, section 3.3); with `role: fast`, a small model's fast roll-outs.
    An answer that ended is worth what the verifiers say of it.

    Roll-outs of the policy stay in the tree, which neither Math-Shepherd's nor AlphaLLM's do: a right answer that one
    of them came to is the tree's. One that no verifier could judge does not stay.
    """

    def sees_gold(self) -> bool:
        return True

    async def worths(
        self, tree: SearchTree, nodes: Sequence[SearchNode], answers: Sequence[Sequence[Said]], context: Context
    ) -> list[list[float | None]]:
        found = iter(await asyncio.gather(*(judged_right(tree, each, context) for each in answers if each)))
        return [list(next(found)) if each else [] for each in answers]


class Answered(NodeValue, type="verifier"):
    """What the stage's verifiers say of answers that ended: 1 or 0; `otherwise` for all other nodes.

    Also for an answer that none of them could judge. It looks at the gold answer, so a search that uses it makes
    training data and is not a fair inference.
    """

    otherwise: Annotated[float, Field(ge=0, le=1, description="value of a node that ends no answer")] = 0.5

    def sees_gold(self) -> bool:
        return True

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        ended = [(node.so_far(), node.finish_reason) for node in nodes if node.terminal]
        found = iter(await judged_right(tree, ended, context) if ended else ())
        said = (next(found) if node.terminal else None for node in nodes)
        return [self.otherwise if each is None else float(each) for each in said]


class Rule(RollingValue, type="rule"):
    """0 for a partial solution that the verifier `check` fails, else what `then` says.

    A check without the gold answer (`equations`) is fair at inference. A verifier that cannot judge fails nothing.
    """

    check: Annotated[Verifier, OneOf("verify"), Field(description="looks at the partial solution")]
    then: Annotated[NodeValue, OneOf("value"), Field(description="values what the check does not fail")] = Constant(
        value=1.0
    )

    def sees_gold(self) -> bool:
        asks = self.check.reads_answer and not self.check.roles()  # what a judge is shown is not known
        return asks or super().sees_gold()

    def others(self) -> Sequence[NodeValue]:
        return (self.then,)

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        verdicts = await self.check.judge(as_group(tree, [(node.so_far(), "stop") for node in nodes]), context)
        held = [node for node, said in zip(nodes, verdicts, strict=True) if said.passed or said.error]
        given = dict(zip(held, await self.then.estimates(tree, held, context), strict=True)) if held else {}
        return [given.get(node, Estimate(0.0)) for node in nodes]


class Part(BaseModel):
    """One value with its weight in a sum."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    weight: Annotated[float, Field(gt=0, description="beside the other parts' weights; only their ratio counts")] = 1.0
    value: Annotated[NodeValue, OneOf("value"), Field(description="what is weighed")]


class Weighted(RollingValue, type="weighted"):
    """The weighted mean of several values, as AlphaLLM's critics (value, outcome, step) are put together."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1, description="the values and their weights")]

    def others(self) -> Sequence[NodeValue]:
        return [part.value for part in self.parts]

    async def estimates(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        columns = await asyncio.gather(*(part.value.estimates(tree, nodes, context) for part in self.parts))
        return [
            Estimate(self._mean(row), tuple(rollout for said in row for rollout in said.rollouts))
            for row in zip(*columns, strict=True)
        ]

    def _mean(self, said: Sequence[Estimate]) -> float | None:
        pairs = zip(self.parts, said, strict=True)
        known = [(part.weight, each.value) for part, each in pairs if each.value is not None]
        return sum(weight * value for weight, value in known) / sum(weight for weight, _ in known) if known else None

    @model_validator(mode="after")
    def _one_keeps(self) -> Self:
        keeping = [part.value.name for part in self.parts if isinstance(part.value, RollOuts) and part.value.keep]
        if len(keeping) > 1:
            raise ValueError(
                f"parts: {' and '.join(keeping)} would both leave roll-outs in the tree, whose steps would be worth "
                "the mean of the two whatever their weights are. Set keep: false in all but one."
            )
        return self


def share(role: str, right: float, wrong: float) -> float:
    """The share of `right` in two probabilities that the model of `role` gave; 0.5 where both are 0."""
    if math.isnan(right + wrong):
        raise BadValue(f"the {role} model gave nan as the probability of a word")
    return right / (right + wrong) if right + wrong else 0.5


async def judged_right(tree: SearchTree, answers: Sequence[Said], context: Context) -> list[bool | None]:
    """Whether each of `answers` is right, as `right` says it; the tree counts those that could be judged."""
    verdicts = await judged(as_group(tree, answers), context.verifiers, context)
    found = list(map(_right, verdicts))
    tree.judged += sum(each is not None for each in found)
    if None in found and not tree.unjudged:
        tree.unjudged = next((said.error for on_one in verdicts for said in on_one if said.error), "there is none")
    return found


async def right(tree: SearchTree, answers: Sequence[Said], context: Context) -> list[bool | None]:
    """Whether each of `answers` to the tree's task is right: every required verifier in `context` passes it.

    False where one fails it; None where it was judged by none, or by some and passed.
    """
    return [_right(on_one) for on_one in await judged(as_group(tree, answers), context.verifiers, context)]


def _right(verdicts: Sequence[Verdict]) -> bool | None:
    if any(verdict.fails for verdict in verdicts):
        return False
    return True if passes(verdicts) else None


def as_group(tree: SearchTree, answers: Sequence[Said]) -> Group:
    """`answers` to the tree's task as rollouts of nobody's, as verification looks at them."""
    rollouts = tuple(
        Rollout(
            task=tree.task.id,
            index=index,
            model="",
            turns=(Turn(content=text),),
            temperature=0,
            finish_reason=finish_reason,
        )
        for index, (text, finish_reason) in enumerate(answers)
    )
    return Group(task=tree.task, rollouts=rollouts)
