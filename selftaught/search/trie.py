"""A trie of samples: independent answers to one task, merged into a tree of steps where they begin alike.

No search: every token is one that plain sampling would have made, in one request a task. All curators that read trees
read it. What grows a tree step by step is `searcher`'s.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from selftaught.blocks import Context, Drawing, Sampler, Stops
from selftaught.records import Group, Task
from selftaught.search.expansion import ENDS
from selftaught.search.insertion import insert
from selftaught.search.tree import SearchNode, SearchTree, neutral
from selftaught.search.values import right


class Trie(Drawing, Sampler, type="trie"):
    """Sample `k` answers of each task, and merge them into a tree of steps.

    A node is worth the share of the answers through it that the stage's verifiers pass (Math-Shepherd's soft estimate,
    arXiv 2312.08935, section 3.3, on the answers that were sampled anyway), and was visited by so many answers; one
    whose answers could not be judged is worth what its parent is. The tree stands by the answer that was given most
    often. What two answers say alike is one rollout; one that breaks off at `max_tokens` has its steps in the tree and
    is not an answer.
    """

    needs_tokens: ClassVar[bool] = True  # answers are merged where their tokens are equal
    k: Annotated[PositiveInt, Field(description="answers a task")] = 8
    temperature: Annotated[float, Field(gt=0, description="that they are sampled at")] = 1.0
    max_tokens: Annotated[PositiveInt, Field(description="new tokens an answer at most")] = 256
    unit: Annotated[Literal["line", "sentence"], Field(description="what a step is")] = "line"
    stop: Annotated[Stops, Field(description="what ends a step, instead of what `unit` implies")] = ()

    async def sample(self, task: Task, context: Context) -> Group:
        """The group of `task` with its tree; a rollout each different answer, its index that of its node."""
        said = await context.tokens().complete(
            task.messages, n=self.k, temperature=self.temperature, max_tokens=self.max_tokens, **self.drawn()
        )
        tree = SearchTree(task)
        tree.prompt_ids, tree.tally.iterations = said[0].prompt_ids, 1
        tree.tally.tokens = sum(len(answer.token_ids) for answer in said)
        tree.tally.truncated = sum(answer.finish_reason == "length" for answer in said)
        judged = await right(tree, [(answer.text, answer.finish_reason) for answer in said], context)
        for answer, is_right in zip(said, judged, strict=True):
            path = insert(tree, answer, self.stop or ENDS[self.unit])
            if is_right is not None:
                _count(tree, path, is_right)
        for node in tree.nodes:
            if not node.visits:
                node.estimate = node.value = neutral(node)
        given = tree.terminals()
        most = max(given, key=lambda node: (node.visits, -node.index), default=None)
        digest = context.model().digest
        rollouts = tuple(tree.rollout(node, digest, self.temperature) for node in given)
        return Group(task=task, rollouts=rollouts, tree=tree.record("exhausted", most))

    @property
    def turn_names(self) -> tuple[str, ...]:
        """No turn has a name."""
        return ()

    def cost(self) -> int:
        """New tokens a task at most: k * max_tokens."""
        return self.k * self.max_tokens

    def longest(self) -> int:
        """New tokens of its longest request: max_tokens."""
        return self.max_tokens


def _count(tree: SearchTree, path: list[SearchNode], is_right: bool) -> None:
    """One more answer through each node of `path`, worth 1 when it is right, else 0."""
    for node in (tree.root, *path):
        node.visits += 1
        node.value += (is_right - node.value) / node.visits
        node.estimate = node.value
