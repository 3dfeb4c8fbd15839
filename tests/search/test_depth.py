"""Trees that are deeper than Python recurses, and searches whose steps come to nothing."""

import pytest

from selftaught.blocks import Completion, Context
from selftaught.search.expansion import Steps
from selftaught.search.searcher import Adaptive, Limits, LookAhead, Search
from selftaught.search.values import Constant
from selftaught.testing import sums

LINES = 2_000


class Loops:
    """A policy that says one short line again and again."""

    digest = "loops"

    async def complete(self, prompt, n=1, **options):
        said = ("a", "\n") * LINES
        ids, logprobs = tuple(range(len(said))), (-0.1,) * len(said)
        return [Completion("".join(said), ids, logprobs, "length", 1, tokens=said, prompt_ids=(1,)) for _ in range(n)]


class Stops:
    """A policy whose first steps are steps, behind which it says nothing."""

    digest = "stops"

    async def complete(self, prompt, n=1, **options):
        first = isinstance(prompt[0], str) or len(prompt) == 1
        texts = [f"step {i}" if first else "" for i in range(n)]
        return [
            Completion(text, (5 + i, 9), (-0.1, -0.1), "stop", 1, "\n", tokens=(text, "\n"), prompt_ids=(1,))
            for i, text in enumerate(texts)
        ]


async def test_a_roll_out_of_many_short_lines_is_a_deep_tree():
    block = Search(value=Constant(), expand=Steps(rollout=2 * LINES), limits=Limits(iterations=1))
    found = await block.sample(sums()[0], Context(models={"policy": Loops()}))
    assert found.tree and len(found.tree.nodes) > LINES


@pytest.mark.parametrize("more", [{"look_ahead": LookAhead()}, {"adaptive": Adaptive()}, {}])
async def test_steps_that_come_to_nothing_end_a_search(more):
    parts = more if more else {"look_ahead": LookAhead(), "adaptive": Adaptive()}
    block = Search(value=Constant(), limits=Limits(iterations=6), **parts)
    found = await block.sample(sums()[0], Context(models={"policy": Stops()}))
    assert found.tree and found.tree.ended
