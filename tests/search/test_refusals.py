"""What an engine refuses in the middle of a search costs what it refuses, and nothing that was sampled before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from selftaught.blocks import Completion, Context
from selftaught.core.errors import NoAnswer
from selftaught.records import Group, Message
from selftaught.search.searcher import Search
from tests.search.scripted import TASK, Right, Scripted


def search(**fields: Any) -> Search:
    return Search.model_validate({"type": "search", **fields})


async def grown(model: Scripted, **fields: Any) -> Group:
    context = Context(models={"policy": model, "value": model}, verifiers=(Right(),))
    return await search(**fields).sample(TASK, context)


@dataclass
class Narrow(Scripted):
    """Values paths of at most `room` characters."""

    room: int = 6

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        if any(len(messages[-2].content) > self.room for messages in chats):
            raise NoAnswer("longer than the context")
        return await super().odds(chats, words)

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        if any(len(ids) > len(TASK.question) + 12 + self.room for ids in inputs):
            raise NoAnswer("longer than the context")
        return await super().values(inputs)


@pytest.mark.parametrize("value", ["p_true", "value_model"])
async def test_a_path_that_is_too_long_to_be_valued_ends_there(value: str):
    group = await grown(
        Narrow(1, ending=0.0), value={"type": value}, select={"type": "dfs"}, limits={"iterations": 20, "depth": 12}
    )
    assert group.tree is not None
    assert group.tree.ended != "failed"
    assert len(group.tree.nodes) > 10


async def test_what_no_model_can_value_at_all_is_the_tasks_failure():
    with pytest.raises(NoAnswer):
        await grown(Narrow(1, room=0), value={"type": "p_true"}, limits={"iterations": 2})


@dataclass
class Refusing(Scripted):
    """Refuses its `bad`th request."""

    bad: int = 0
    requests: int = 0

    def steps(self, text: str, n: int, temperature: float, stops: bool) -> list[Completion]:
        self.requests += 1
        if self.requests == self.bad:
            raise NoAnswer("longer than the context")
        return super().steps(text, n, temperature, stops)


@pytest.mark.parametrize("bad", range(2, 14))
@pytest.mark.parametrize(
    "fields",
    [
        {"expand": {"type": "steps", "n": 3, "retries": 2}},
        {"adaptive": {}},
        {"expand": {"type": "steps", "coverage": 0.9}},
    ],
    ids=["retries", "adaptive", "coverage"],
)
async def test_every_node_of_a_tree_is_valued_whatever_was_refused(bad: int, fields: dict[str, Any]):
    group = await grown(
        Refusing(3, letters="ab", bad=bad), value={"type": "value_model"}, limits={"iterations": 6}, **fields
    )
    assert group.tree is not None
    assert all(node.estimate for node in group.tree.nodes[1:])  # a hash, which is nowhere 0


@dataclass
class Broken(Scripted):
    """What it says the third time is not a number."""

    calls: int = 0

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        self.calls += 1
        return [float("nan")] * len(inputs) if self.calls == 3 else await super().values(inputs)


async def test_a_tree_that_failed_holds_no_node_that_was_never_valued():
    group = await grown(Broken(5), value={"type": "value_model"}, limits={"iterations": 9})
    assert group.tree is not None
    assert group.tree.ended == "failed"
    assert len(group.tree.nodes) > 1
    assert all(node.estimate for node in group.tree.nodes[1:])


class Two(Scripted):
    """Two answers that begin alike, and not the same."""

    said = ("We add the numbers.\nA: since add, it is 5", "We sum the numbers.\nA: since sum, it is 2b")

    def steps(self, text: str, n: int, temperature: float, stops: bool) -> list[Completion]:
        return [
            Completion(said, tuple(said.encode()), (-0.1,) * len(said), "stop", 3, tokens=tuple(said), prompt_ids=(1,))
            for said in self.said[:n]
        ]


async def test_a_path_holds_what_was_sampled_however_steps_are_merged():
    expand = {"type": "steps", "n": 2, "rollout": 64, "merge": {"type": "edit_distance"}}
    group = await grown(Two(), value={"type": "constant"}, expand=expand, limits={"iterations": 1})
    assert group.tree is not None
    assert {rollout.text for rollout in group.rollouts} <= set(Two.said)
    assert group.tree.spent.duplicates == 1


def test_weights_of_two_values_that_leave_roll_outs_would_not_count():
    parts = [{"value": {"type": "outcome"}}, {"value": {"type": "vote"}}]
    with pytest.raises(ValueError, match="outcome and vote would both leave roll-outs"):
        search(value={"type": "weighted", "parts": parts}, limits={"iterations": 1})
    parts[1]["value"]["keep"] = False
    search(value={"type": "weighted", "parts": parts}, limits={"iterations": 1})
