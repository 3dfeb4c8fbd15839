"""The searcher: grows the tree of one task until a limit, and gives its answers as the rollouts of a group.

One round of the loop: select open nodes, grow them, value what grew, look ahead, back up. What each of these does is a
block's; the runner of sampling keeps many trees in flight, so that the engine always has a batch. A tree is a function
of the task and the engine's answers alone, unless its time is limited.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from selftaught.blocks import Attempts, Context, Earlier, OneOf, Sampler
from selftaught.core.errors import NoAnswer
from selftaught.records import Group, StopReason, Task
from selftaught.search.backup import Mean, VisitMean
from selftaught.search.control import Controlled, Independent, about, held
from selftaught.search.expansion import Steps
from selftaught.search.hinted_answers import Hints
from selftaught.search.parts import Backup, BadValue, Estimate, NodeValue, RollOut, Selection
from selftaught.search.reuse import Resumed, close, growth
from selftaught.search.selection import UCB
from selftaught.search.tree import SearchNode, SearchTree, neutral, worth
from selftaught.search.values import PTrue, right


class Limits(BaseModel):
    """What ends a search: whatever is reached first, checked between iterations. `depth` bounds every path.

    All but `depth` count what this round adds to a tree, whatever earlier rounds had grown of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    iterations: Annotated[PositiveInt | None, Field(description="times that nodes are selected and grown")] = None
    nodes: Annotated[PositiveInt | None, Field(description="nodes of the tree besides the root")] = None
    tokens: Annotated[PositiveInt | None, Field(description="new tokens of the policy, roll-outs included")] = None
    seconds: Annotated[PositiveFloat | None, Field(description="of the clock: makes trees depend on speed")] = None
    solved: Annotated[bool, Field(description="stop at the first answer that the verifiers pass")] = False
    depth: Annotated[PositiveInt, Field(description="steps of a path at most")] = 12

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not (self.iterations or self.nodes or self.tokens or self.seconds):
            raise ValueError("sets no iterations, nodes, tokens or seconds, so a search would not end; give one")
        return self

    def reached(self, tree: SearchTree) -> StopReason | None:
        """The limit that `tree` has reached, if any."""
        spent = {
            "iterations": tree.tally.iterations,
            "nodes": tree.new,
            "tokens": tree.tally.tokens,
            "seconds": tree.tally.seconds,
        }
        limits: tuple[StopReason, ...] = ("iterations", "nodes", "tokens", "seconds")
        return next((each for each in limits if (most := getattr(self, each)) and spent[each] >= most), None)


class LookAhead(BaseModel):
    """The greedy roll-out of ReST-MCTS* (arXiv 2406.03816): from the best new child, `steps` further steps.

    At each, `branch` steps are proposed and the one of the highest value is continued; with m the highest value
    seen, the child's value becomes (1 - alpha) V + alpha m. The steps stay in the tree, so an answer that they come to
    counts, and a node that has some asks for so many fewer when it grows; the reference drops them. None is sampled
    below an answer, a step that is pruned or the depth limit, nor where an earlier look-ahead or roll-outs left steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: Annotated[float, Field(ge=0, le=1, description="weight of the highest value seen on the way")] = 0.5
    steps: Annotated[PositiveInt, Field(description="steps ahead, unless the answer ends before")] = 3
    branch: Annotated[PositiveInt, Field(description="steps proposed at each")] = 1


class Adaptive(BaseModel):
    """More children where their values differ: floor(factor max |v_i - mean v|) in all, `most` at most.

    AlphaLLM (arXiv 2404.12253), section 4.3.2, as its code has it: what an expansion gave is the least. Its factor is 2
    for values in [-1, 2]; 6 is as much for values in [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    factor: Annotated[NonNegativeFloat, Field(description="children of a node for a deviation of 1")] = 6.0
    most: Annotated[PositiveInt, Field(description="children of a node, at most")] = 10

    def more(self, values: Sequence[float]) -> int:
        """How many children to add to those that have `values`."""
        mean = sum(values) / len(values)
        wanted = min(int(self.factor * max(abs(value - mean) for value in values)), self.most)
        return max(wanted - len(values), 0)


GROWN_BY = ("expand", "backup", "look_ahead", "adaptive")
"""The fields that nodes, visits and values come from, beside `value`. The others say where a tree grows, how far."""


class Search(Sampler, type="search"):
    """Tree search over steps; `limits` say when it ends, the other fields what it consists of.

    A node valued `end_gate` or more is decoded greedily to the end of an answer. A tree that found no answer gets one
    from its best leaf in that way.
    """

    pipeline: ClassVar[str] = "search-round.yaml"
    needs_tokens: ClassVar[bool] = True  # a step continues the tokens of the path

    select: Annotated[Selection, OneOf("select"), Field(description="which nodes to grow")] = UCB()
    expand: Annotated[Steps, Field(description="how a node grows children")] = Steps()
    value: Annotated[NodeValue, OneOf("value"), Field(description="what a node is worth")] = PTrue()
    backup: Annotated[
        Backup, OneOf("backup"), Field(description="what its ancestors make of the value of a grown node")
    ] = VisitMean()
    look_ahead: Annotated[
        LookAhead | None, Field(description="greedy roll-outs from the best new child; null makes none")
    ] = None
    adaptive: Annotated[
        Adaptive | None, Field(description="more children where their values differ; null adds none")
    ] = None
    end_gate: Annotated[
        float | None, Field(ge=0, le=1, description="value from which on a node is not grown but decoded to an answer")
    ] = None
    prune: Annotated[float | None, Field(ge=0, le=1, description="steps valued less are never expanded")] = None
    mode: Annotated[
        Literal["simple", "full"],
        Field(description="whether the search ends at the first `end_gate` or continues (for training data)"),
    ] = "full"
    answer: Annotated[
        Literal["value", "visits"],
        Field(description="the answer that the search returns: of the highest value, or where the visits lead"),
    ] = "value"
    limits: Annotated[Limits, Field(description="what ends the search")] = Limits(iterations=16)
    finish: Annotated[PositiveInt, Field(description="new tokens at most when a node is decoded to an answer")] = 128
    hints: Annotated[
        Hints | None, Field(description="answers sampled with the gold answer in sight, where none is right")
    ] = None
    control: Annotated[
        float,
        Field(ge=0, le=1, description="share of a round's tasks that are also sampled independently, to compare with"),
    ] = 0.1
    reuse: Annotated[
        bool,
        Field(description="whether a round resumes the trees that its policy grew in earlier rounds of the line"),
    ] = False

    @model_validator(mode="after")
    def _continues(self) -> Self:
        if self.reuse and self.mode == "simple":
            raise ValueError(
                "reuse with mode: simple: a search that ended at its gate cannot be resumed; set mode: full"
            )
        return self

    def sees_gold(self) -> str:
        """`hints`, a `value` that asks the verifiers, or `limits.solved`, by which it ends at a right answer."""
        named = {"hints": self.hints, "value": self.value.sees_gold(), "limits.solved": self.limits.solved}
        return next((name for name, seen in named.items() if seen), "")

    def continues(self, earlier: Sampler) -> bool:
        """Whether this search may resume from the trees of `earlier`: both say so, and nodes grow alike in both."""
        if not isinstance(earlier, Search) or not (self.reuse and earlier.reuse):
            return False
        return all(getattr(self, name) == getattr(earlier, name) for name in GROWN_BY)

    def in_round(
        self, tasks: Sequence[Task], seed: int, context_tokens: int, earlier: Mapping[str, Earlier]
    ) -> Attempts:
        """This search, resuming from `earlier` trees, with independent answers beside it on a share of the others.

        Which tasks these are follows from `seed`. A tree that continues has none: its tokens of this round alone did
        not find what it holds.
        """
        longest = max(self.limits.depth * self.expand.max_tokens + self.finish, self.expand.most())
        fresh = [task for task in tasks if task.id not in earlier]
        independent = Independent(self.expand, longest, context_tokens)
        return Controlled(Resumed(self.grow, earlier), held(fresh, self.control, seed), independent)

    def control_cost(self, tasks: int) -> int:
        """As many new tokens as the search takes on its share of `tasks`, and a margin."""
        return about(self.control, tasks, self.cost())

    async def sample(self, task: Task, context: Context) -> Group:
        """The group of `task` with its tree; a rollout each answer, its index that of its node."""
        return await self.grow(SearchTree(task), context)

    async def grow(self, tree: SearchTree, context: Context) -> Group:
        """The group of the task of `tree`, which may hold what an earlier round grew; grows it until a limit."""
        error, kept = "", None
        try:
            ended = await self._search(tree, context)
            kept = growth(tree) if self.reuse else None
            if not tree.terminals():
                await self._finish(tree, context)
            if self.hints:
                await self.hints.help(tree, self.expand, context)
            if tree.unjudged and not tree.judged:
                raise BadValue(f"no verifier could judge any answer: {tree.unjudged}")
        except BadValue as bad:
            ended, error, kept = "failed", str(bad), None
        digest = context.model().digest
        rollouts = tuple(tree.rollout(node, digest, self.expand.temperature) for node in tree.terminals())
        return Group(task=tree.task, rollouts=rollouts, tree=tree.record(ended, self._answer(tree), error, kept))

    @property
    def turn_names(self) -> tuple[str, ...]:
        """No turn has a name."""
        return ()

    def cost(self) -> int:
        """New tokens a task at most, where iterations or tokens are limited; else about what so many nodes take.

        Of a tree that an earlier round began; values that are to be given again come on top.
        """
        most = self.select.at_once()
        first = self._choice(1, self.select.most_children(1, self.expand.root_n or self.expand.n))
        later = self._choice(most, self.select.most_children(most, self._most_missing()))
        first = (
            max(first, later) + 1 if self.reuse else first
        )  # no root, and a token to see whether the prompt is the same
        by_iterations = self.limits.iterations and first + (self.limits.iterations - 1) * later
        by_tokens = self.limits.tokens and self.limits.tokens - 1 + max(first, later)  # the last one begins below it
        about = (self.limits.nodes or 0) * (self.expand.most() + self.value.cost())
        hinted = self.hints.k * self.hints.max_tokens if self.hints else 0
        return min((limit for limit in (by_iterations, by_tokens) if limit), default=about) + self.finish + hinted

    def _most_missing(self) -> int:
        times = self.limits.iterations or self.limits.tokens or 1
        children = self.expand.n if isinstance(self.backup, Mean) else 1
        return self.expand.most_missing(times, self.select.at_once() * children)

    def _choice(self, nodes: int, children: int) -> int:
        """New tokens at most of one iteration, in which `nodes` grow by `children` in all, unless they are finished."""
        growing = self._growth(nodes, children)
        if self.end_gate is None:
            return growing
        return growing + nodes * max(self.finish - self._growth(1, children // nodes), 0)

    def _growth(self, nodes: int, children: int) -> int:
        value = (self.expand.rollout or 1) * self.value.cost()  # a token of a roll-out is a step at most
        spent = self.expand.cost(nodes, children) + children * value
        if self.adaptive:
            more = nodes * max(self.adaptive.most - children // nodes, 0)
            spent += self.expand.cost(nodes, nodes * (self.adaptive.most - 1)) + more * value
        if self.look_ahead:
            spent += nodes * self.look_ahead.steps * self.look_ahead.branch * (self.expand.most() + value)
        return spent

    def longest(self) -> int:
        """New tokens of its longest request: a step, a roll-out, the end of an answer, or an answer with the hint."""
        hinted = self.hints.max_tokens if self.hints else 0
        return max(self.expand.most(), self.value.longest(), self.finish, hinted)

    # The loop -------------------------------------------------------------------------------------------------------

    async def _search(self, tree: SearchTree, context: Context) -> StopReason:
        if tree.begun and await self._resumed(tree, context):
            return "solved"
        while True:
            chosen = self.select.choose(tree)
            if not chosen:
                return "exhausted"
            wanted = dict(zip(chosen, self.select.children(tree, chosen), strict=True))
            ripe, grown = [node for node in chosen if self._ripe(node)], list[SearchNode]()
            for node in ripe:
                grown += await self._finish(tree, context, node)
                self._back_up(node)
                if self.mode == "simple":
                    return "gate"
            grown += await self._iterate(tree, {node: wanted[node] for node in chosen if node not in ripe}, context)
            if self.limits.solved and await self._solved(tree, grown, context):
                return "solved"
            if ended := self.limits.reached(tree):
                return ended

    async def _resumed(self, tree: SearchTree, context: Context) -> bool:
        """Close what this search would not grow; values that are not its own are given again, and backed up.

        Returns whether it ends there, since it is to end at a right answer and has one.
        """
        if tree.stale:
            for parent in tree.nodes:
                await self._value(tree, parent.children, context)
            tree.enter(tree.root)  # what roll-outs left
        close(tree, self.limits.depth, self.prune or 0)
        if tree.stale:
            self._back_up_again(tree)
        return self.limits.solved and await self._solved(tree, tree.nodes, context)

    def _back_up_again(self, tree: SearchTree) -> None:
        """Visits and values as back-ups make them of the estimates alone: a look-ahead's word was of other values."""
        for node in tree.nodes:
            node.visits, node.value, node.backed_up = 0, node.estimate, False
        for node in tree.nodes:
            for _ in range(node.opened):
                self.backup.back_up(node)

    def _ripe(self, node: SearchNode) -> bool:
        return self.end_gate is not None and node.parent is not None and node.value >= self.end_gate

    async def _iterate(
        self, tree: SearchTree, chosen: Mapping[SearchNode, int | None], context: Context
    ) -> list[SearchNode]:
        """One iteration on the nodes `chosen`, each to get so many children; returns what grew."""
        tree.tally.iterations += 1
        grown = await self._together(tree, chosen, context)
        for node in chosen:
            self._back_up(node)
        return list(chain.from_iterable(grown))

    def _back_up(self, node: SearchNode) -> None:
        node.opened += 1
        self.backup.back_up(node)
        self.expand.widen(node)

    async def _together(
        self, tree: SearchTree, chosen: Mapping[SearchNode, int | None], context: Context
    ) -> list[list[SearchNode]]:
        """What grew at each of `chosen`, asked for at once; in the tree in their order, whichever came first."""
        asked = [self._open(tree, node, n, context) for node, n in chosen.items()]
        grown = await asyncio.gather(*asked, return_exceptions=True)  # so that nothing continues when one has failed
        for node, each in zip(chosen, grown, strict=True):
            tree.drop_new(node) if isinstance(each, BaseException) else tree.enter(node)
        for each in grown:
            if isinstance(each, BaseException):
                raise each
        return cast("list[list[SearchNode]]", grown)

    async def _open(self, tree: SearchTree, node: SearchNode, n: int | None, context: Context) -> list[SearchNode]:
        """What grew at `node`: new children, and the steps of a look-ahead from the best of those not visited yet."""
        grown = await self._grow(tree, node, n, context)
        if self.look_ahead and (fresh := [child for child in node.children if not child.visits]):
            grown += await self._look_ahead(self.look_ahead, tree, max(fresh, key=_estimate), context)
        return grown

    async def _grow(self, tree: SearchTree, node: SearchNode, n: int | None, context: Context) -> list[SearchNode]:
        """What is new below `node`: children, valued; none where its context is full, so that its path ends there."""
        was_short = node.short
        try:
            children = await self.expand.grow(tree, node, context, n)
        except NoAnswer:
            if node is tree.root:
                raise
            node.grown = True
            node.close_if_done()
            return []
        grown = await self._value(tree, children, context)
        if self.adaptive and node.children and (children or was_short):
            more = self.adaptive.more([child.value for child in node.children])
            grown += await self._value(tree, await self._more(tree, node, more, context) if more else [], context)
        node.close_if_done()
        return grown

    async def _more(self, tree: SearchTree, node: SearchNode, n: int, context: Context) -> list[SearchNode]:
        """`n` more children of `node`; none where the engine refuses it."""
        try:
            return await self.expand.grow(tree, node, context, n)
        except NoAnswer:
            return []

    async def _value(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[SearchNode]:
        """Value `nodes`, which are new; returns them and, valued too, the steps of the roll-outs that are kept."""
        if not nodes:
            return []
        kept = list[SearchNode]()
        for node, rollouts in zip(nodes, await self._estimate(tree, nodes, context), strict=True):
            for rollout in rollouts:
                kept += await self.expand.keep(tree, node, rollout, self.limits.depth, context)
        if kept:
            await self._estimate(tree, kept, context)
        return [*nodes, *kept]

    async def _estimate(
        self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context
    ) -> list[tuple[RollOut, ...]]:
        """Value `nodes`; returns the roll-outs from each that are to be kept."""
        estimates = await self._asked(tree, nodes, context)
        for node, said in zip(nodes, estimates, strict=True):
            node.estimate = node.value = neutral(node) if said.value is None else said.value
            node.closed = node.closed or node.depth >= self.limits.depth or node.value < (self.prune or 0)
        for node in nodes:
            if node.parent:  # a roll-out went through it, and may have opened it again
                node.parent.close_if_done()
        return [said.rollouts for said in estimates]

    async def _asked(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[Estimate]:
        """What `value` says of `nodes`; one by one where a model refuses them together.

        A path that is too long for its question is closed, and nothing is known of it. Raises NoAnswer where that is
        so of a first step already.
        """
        try:
            return await self.value.estimates(tree, nodes, context)
        except NoAnswer:
            if len(nodes) > 1:
                return [(await self._asked(tree, [node], context))[0] for node in nodes]
            if nodes[0].parent is tree.root:
                raise
            nodes[0].closed = True
            return [Estimate(None)]

    async def _look_ahead(
        self, ahead: LookAhead, tree: SearchTree, child: SearchNode, context: Context
    ) -> list[SearchNode]:
        """What grew below `child`, whose value it changes."""
        child.visits += 1
        node, seen, grown = child, list[float](), list[SearchNode]()
        while len(seen) < ahead.steps and not node.closed:
            if not node.children:
                grown += await self._try(tree, node, ahead.branch, context)
            if not node.children:
                break
            node = max(node.children, key=_estimate)
            seen.append(node.estimate)
        if seen:
            child.value = (1 - ahead.alpha) * child.value + ahead.alpha * max(seen)
        return grown

    async def _try(self, tree: SearchTree, node: SearchNode, n: int, context: Context) -> list[SearchNode]:
        """Steps from `node`, which is to grow all the same when its turn comes; none where its context is full."""
        try:
            steps = await self.expand.add(tree, node, n, context)
        except NoAnswer:
            node.grown = True
            node.close_if_done()
            return []
        node.short = True
        return await self._value(tree, steps, context)

    async def _solved(self, tree: SearchTree, grown: Sequence[SearchNode], context: Context) -> bool:
        ended = [(node.so_far(), node.finish_reason) for node in grown if node.terminal]
        return True in await right(tree, ended, context)

    # The answer -----------------------------------------------------------------------------------------------------

    async def _finish(self, tree: SearchTree, context: Context, node: SearchNode | None = None) -> list[SearchNode]:
        """Decode `node`, by default the best leaf, to the end of an answer: one last child, where it has room."""
        node = node or max((each for each in tree.nodes if not each.children), key=worth)
        if node.terminal:
            return []
        to_end = {"unit": "answer", "stop": (), "max_tokens": self.finish, "rollout": None}
        to_the_end = self.expand.model_copy(update=to_end)
        node.expanded = node.grown = True
        try:
            (step,) = await to_the_end.ask(tree, node, 1, 0.0, context)
        except NoAnswer:
            if node is tree.root:
                raise
            node.close_if_done()
            return []
        child = tree.add(node, replace(step, finish_reason="stop"))
        child.finish_reason = step.finish_reason
        child.estimate = child.value = node.value
        node.close_if_done()
        return [child]

    def _answer(self, tree: SearchTree) -> SearchNode | None:
        """The answer that the search stands by: of the highest value, or where the visits lead."""
        ended = [node for node in tree.terminals() if not node.hinted]
        if self.answer == "visits":
            return max(ended, key=lambda node: ([each.visits for each in node.path()], worth(node)), default=None)
        return max(ended, key=worth, default=None)


def _estimate(node: SearchNode) -> float:
    return node.estimate
