"""A process reward model is put the steps in words, its tag after each, and is read at the last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from selftaught.blocks import Completion, Context
from selftaught.errors import BadInput
from selftaught.records import Message, Task
from selftaught.search.rewards import ProcessReward
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchNode, SearchTree
from tests.search.scripted import TASK, Scripted

SYSTEM = Message(role="system", content="Answer in one line.")
QUESTION = Message(role="user", content="2 + 3?")


@dataclass
class Judge(Scripted):
    """Gives these rows to whatever it is asked, and keeps what that was."""

    rows: list[tuple[float, ...]] = field(default_factory=lambda: [(0.9, 0.1), (0.25, 0.75)])
    chats: list[list[Message]] = field(default_factory=list)

    async def rewards(self, chats: Sequence[Sequence[Message]], tag: str) -> list[list[tuple[float, ...]]]:
        self.chats += map(list, chats)
        return [self.rows for _ in chats]


def path(*steps: str, messages: tuple[Message, ...] = (QUESTION,)) -> tuple[SearchTree, SearchNode]:
    tree = SearchTree(Task(messages=messages, answer="5", source="test"))
    node = tree.root
    for step in steps:
        node = tree.add(node, Completion(step, (1,), (), "stop", 1))
    return tree, node


async def asked(judge: Judge, *steps: str, messages: tuple[Message, ...] = (QUESTION,), **fields) -> list[float]:
    tree, node = path(*steps, messages=messages)
    return await ProcessReward(role="prm", **fields).values(tree, [node], Context(models={"prm": judge}))


@pytest.mark.parametrize(("positive", "worth"), [(0, 0.25), (1, 0.75)])
async def test_a_node_is_worth_the_probability_of_the_positive_class_at_the_last_tag(positive: int, worth: float):
    assert await asked(Judge(), "We add.\n", "5", positive=positive) == [worth]


async def test_the_tag_stands_after_each_step_without_the_white_space_around_it():
    judge = Judge()
    await asked(judge, "We add.\n", " \n", "It is 5. \n\n", tag="<s>")
    assert judge.chats == [[QUESTION, Message(role="assistant", content="We add.<s>It is 5.<s>")]]


async def test_where_nothing_was_said_yet_there_is_still_a_tag_to_read_at():
    judge = Judge()
    await asked(judge, "\n")
    assert judge.chats[0][-1].content == "<extra_0>"


@pytest.mark.parametrize(
    ("system", "opening"), [(None, [SYSTEM]), ("Reason.", [Message(role="system", content="Reason.")]), ("", [])]
)
async def test_a_system_message_of_its_own_takes_the_place_of_the_tasks(system: str | None, opening: list[Message]):
    judge = Judge()
    await asked(judge, "5", messages=(SYSTEM, QUESTION), system=system)
    assert judge.chats[0][:-1] == [*opening, QUESTION]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "value.tag: '<extra_0>' is not in what the chat template of the prm model makes of an answer."),
        ([(1.0,)], "value.positive: 1: the prm model has 1 classes"),
    ],
)
async def test_a_template_that_drops_the_tag_and_a_class_that_is_not_there_are_told(rows, told: str):
    with pytest.raises(BadInput, match=told):
        await asked(Judge(rows=rows), "5")


async def test_where_no_such_model_is_served_the_policy_is_not_asked_in_its_place():
    tree, node = path("5")
    with pytest.raises(BadInput, match="there is no prm model here: only a round serves"):
        await ProcessReward(role="prm").values(tree, [node], Context(models={"policy": Judge()}))


async def test_a_search_hands_it_no_token_of_the_policys():
    class Words(Scripted):
        async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
            raise AssertionError("asked by token ids")

    search = Search.model_validate(
        {"type": "search", "value": {"type": "process_reward", "role": "prm"}, "limits": {"iterations": 5}}
    )
    policy, judge = Scripted(), Words(seed=7)
    group = await search.sample(TASK, Context(models={"policy": policy, "prm": judge}))
    assert group.tree.spent.value_calls == len(group.tree.nodes) - 1 > 5
    for node in group.tree.nodes[1:]:
        steps = [step.text.strip() for step in group.tree.path(node.index)]
        said = "".join(f"{step}<extra_0>" for step in steps)
        assert node.estimate == judge.classes(said, len(steps) - 1)[1], json.dumps(said)
