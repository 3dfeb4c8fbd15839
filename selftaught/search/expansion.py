"""Expansion: how a node grows children: next steps, sampled several in one request, duplicates dropped.

A step ends at a line, at a sentence, at a stop string of the recipe's own, or with the answer. It continues the
engine's own token ids, so what a path holds is to the token what was sampled, and the engine's prefix cache has all of
it but the last step. What steps are worth is not checked here.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from selftaught.blocks import Completion, Context, Drawing, OneOf, Stops
from selftaught.core.errors import NoAnswer
from selftaught.search.duplicates import Duplicates, Exact
from selftaught.search.insertion import complete_tokens, steps
from selftaught.search.parts import Expansion, RollOut
from selftaught.search.tree import SearchNode, SearchTree

ENDS = {"line": ("\n",), "sentence": (". ", "! ", "? ", "\n"), "answer": ()}
"""What ends a step, by its unit."""


class Steps(Drawing, Expansion, type="steps"):
    """Sample `n` next steps of at most `max_tokens` tokens in one request.

    Duplicates among siblings are dropped; while fewer than `n` are left, what is missing is asked for again, `retries`
    times at most. A step that breaks off at `max_tokens` is kept, to be continued. Children that a look-ahead or
    roll-outs left at the node count among the `n`.

    A node grows once, unless `coverage` is given. Then one step is asked for first and the others only while its steps
    hold less than that share of the policy's probability (at temperature 1), so nothing is spent on siblings of a step
    that goes without saying; and a node whose children are all done with is grown again, until they hold that share or
    nothing new comes.

    With `widening` it has k(N) = ceil(n N^widening) children by its Nth visit (progressive widening, in the form of
    Couëtoux et al. 2011; Coulom 2007 has it with the logarithm of N): it grows before a search continues below it, when
    a visit makes that more than it has. There the child that a visit adds is one; here all that are missing are asked
    for at once. Ours alone: it grows by one more when all it has are done with, so a policy that answers in one line is
    not exhausted after `n` answers, and ends where 1 + `retries` requests bring nothing new.

    With `rollout` a request continues to the end of the answer, at most so many tokens, and is cut into steps: the
    first is the child, the others are the path below it, merged with what is there. So all that was sampled is an
    answer, no request is as short as a step, and what all know (the last line) is sampled once an answer and not `n`
    times. Nodes that a roll-out alone left children at are grown all the same when their turn comes. A path may so end
    deeper than the search's `depth`. (The simulation of Monte Carlo tree search, kept as Coulom 2006 does not.)
    """

    n: Annotated[PositiveInt, Field(description="children of a node")] = 3
    root_n: Annotated[PositiveInt | None, Field(description="children of the root, where it should have more")] = None
    unit: Annotated[
        Literal["line", "sentence", "answer"], Field(description="what a step is; `answer`: everything, to the end")
    ] = "line"
    stop: Annotated[Stops, Field(description="what ends a step, instead of what `unit` implies")] = ()
    max_tokens: Annotated[PositiveInt, Field(description="new tokens a step at most")] = 48
    temperature: Annotated[float, Field(gt=0, description="that steps are sampled at")] = 0.7
    merge: Annotated[Duplicates | None, OneOf("merge"), Field(description="null keeps duplicates")] = Exact()
    retries: Annotated[NonNegativeInt, Field(description="more requests at most to replace dropped duplicates")] = 0
    coverage: Annotated[float | None, Field(gt=0, le=1, description="grow a node until its steps hold so much")] = None
    widening: Annotated[float | None, Field(gt=0, lt=1, description="children grow with visits to this power")] = None

    rollout: Annotated[
        PositiveInt | None, Field(description="new tokens of a sample that runs to the end of the answer; null: a step")
    ] = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.rollout and self.unit == "answer" and not self.stop:
            raise ValueError("rollout cuts answers into steps, of which unit: answer knows none; leave one of them out")
        if self.coverage and self.widening:
            raise ValueError("coverage and widening both decide when a node grows again; give one of them")
        return self

    async def grow(
        self, tree: SearchTree, node: SearchNode, context: Context, n: int | None = None
    ) -> list[SearchNode]:
        goal, new, asked = self._goal(node, n), list[SearchNode](), False
        for most in (*([1] if self.coverage and not node.short else []), *[goal] * (self.retries + 1)):
            missing = goal - len(node.children)
            if missing <= 0 or self._covered(node):
                break
            asked = True
            try:
                new += await self.add(tree, node, min(most, missing), context)
            except NoAnswer:
                if not new:
                    raise
                break
        once = self.coverage is None and self.widening is None
        node.short, node.expanded = False, True
        node.grown = once or self._covered(node) or (asked and not new)
        return new

    def widen(self, node: SearchNode) -> None:
        """Make short what its next visit entitles to more children: `node`, which was visited, and its ancestors.

        What roll-outs went through below it was visited too, where a back-up counts that.
        """
        for each in (*node.lineage(), *node.below(lambda each: each.expanded)) if self.widening else ():
            self._entitle(each)

    def _entitle(self, node: SearchNode) -> None:
        if self.widening and node.expanded and not node.grown:
            node.short = bool(node.children) and len(node.children) < self._wide(node)

    def _goal(self, node: SearchNode, n: int | None) -> int:
        """How many children `node` is to have when it has grown."""
        if n or self.widening is None:
            return (n or self._first(node)) + (len(node.children) if node.expanded else 0)
        return max(self._wide(node), len(node.children) + (0 if node.short else 1))

    def _wide(self, node: SearchNode) -> int:
        """k(N) at the next visit of `node`."""
        return math.ceil(self._first(node) * (node.visits + 1) ** (self.widening or 0))

    def _first(self, node: SearchNode) -> int:
        return self.root_n if node.parent is None and self.root_n else self.n

    async def add(self, tree: SearchTree, node: SearchNode, n: int, context: Context) -> list[SearchNode]:
        """What `n` samples in one request add at `node`: steps, or with `rollout` what is below them too."""
        added = list[SearchNode]()
        for said in await self.ask(tree, node, n, self.temperature, context):
            added += await self._put(tree, node, said, context)
        return added

    async def _put(self, tree: SearchTree, node: SearchNode, said: Completion, context: Context) -> list[SearchNode]:
        """The new nodes of a path from `node` that says `said`; what it has in common with the tree is gone along.

        By a `merge` of less than equal words a step that is like another is dropped, with what follows: nobody said
        that after the other.
        """
        added = list[SearchNode]()
        for step in steps(said, self.ends()) if self.rollout else [said]:
            if not step.text.strip() and step.stop is not None:
                tree.tally.empty += 1
                return added
            child = await self._like(tree, node, step, context)
            if child is None:
                child = self._sketch(tree, node, step)
                added.append(child)
            elif child.text.split() != step.text.split():
                break
            node = child
        tree.tally.duplicates += not added
        return added

    def _sketch(self, tree: SearchTree, node: SearchNode, step: Completion) -> SearchNode:
        child = tree.sketch(node, step)
        node.adopt(child)
        self._entitle(node)
        return child

    async def keep(
        self, tree: SearchTree, node: SearchNode, rollout: RollOut, depth: int, context: Context
    ) -> list[SearchNode]:
        """The new nodes of the path below `node` that a roll-out which valued it becomes.

        What would be deeper than `depth` is one last step; what `merge` drops is dropped as in `add`.
        """
        added = list[SearchNode]()
        for step in steps(rollout.said, self.ends(), most=max(depth - node.depth, 0)):
            child = await self._like(tree, node, step, context)
            if child is None:
                child = self._sketch(tree, node, step)
                added.append(child)
            elif child.text.split() != step.text.split():
                tree.tally.duplicates += 1
                break
            child.outcomes.append(rollout.worth)
            node = child
        return added

    async def _like(self, tree: SearchTree, node: SearchNode, step: Completion, context: Context) -> SearchNode | None:
        """The child of `node` that says what `step` says, unless duplicates are kept.

        A step that ends the answer, or breaks off, is another than one that continues.
        """
        for child in node.children if self.merge else ():
            if self.merge and child.ends_as(step) and await self.merge.same(tree.task, child.text, step.text, context):
                return child
        return None

    def ends(self) -> tuple[str, ...]:
        """The strings that end a step."""
        return self.stop or ENDS[self.unit]

    def most_missing(self, times: int, visits: int) -> int:
        """How many children a node may lack when it grows again, up to `times`, at most so many `visits` apart.

        Each time at least one came that is not a duplicate.
        """
        if self.widening is None:
            return max(self.n, self.root_n or 0) if self.coverage else self.n
        most, power = max(self.n, self.root_n or 0), self.widening
        return max(math.ceil(most * (visits * (k + 1) + 1) ** power) - k for k in range(times))

    def cost(self, nodes: int, children: int) -> int:
        """New tokens at most that `children` of so many `nodes` take, duplicates included."""
        return (children * (1 + self.retries) + (nodes if self.coverage else 0)) * self.most()

    def most(self) -> int:
        """New tokens of one sample, at most."""
        return self.rollout or self.max_tokens

    def _covered(self, node: SearchNode) -> bool:
        return self.coverage is not None and node.covered() >= self.coverage

    async def ask(
        self, tree: SearchTree, node: SearchNode, n: int, temperature: float, context: Context
    ) -> list[Completion]:
        """`n` steps, or roll-outs, that continue `node`, cut to complete tokens; what they cost is counted."""
        said = await context.tokens().complete(
            [*tree.prompt_ids, *node.ids()] if tree.prompt_ids else tree.task.messages,
            n=n,
            temperature=temperature,
            max_tokens=self.most(),
            stop=() if self.rollout else self.ends(),
            **self.drawn(),
        )
        tree.prompt_ids = tree.prompt_ids or said[0].prompt_ids
        tree.tally.tokens += sum(len(step.token_ids) for step in said)
        tree.tally.prefill_tokens += said[0].prompt_tokens
        tree.tally.truncated += sum(step.finish_reason == "length" for step in said)
        return [complete_tokens(step) for step in said]
