"""A process reward model is put the steps in words, its tag after each, and is read at the last."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from selftaught.blocks import Completion, Context
from selftaught.core.errors import BadInput
from selftaught.records import Message, Task
from selftaught.search.rewards import ProcessReward, ReplyReward
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
    ("rows", "text"),
    [
        ([], "value.tag: '<extra_0>' is not in what the chat template of the prm model makes of an answer."),
        ([(1.0,)], "value.positive: 1: the prm model has 1 classes"),
    ],
)
async def test_a_template_that_drops_the_tag_and_a_class_that_is_not_there_are_told(rows, text: str):
    with pytest.raises(BadInput, match=text):
        await asked(Judge(rows=rows), "5")


@pytest.mark.parametrize("kind", [ProcessReward, ReplyReward])
async def test_where_no_such_model_is_served_the_policy_is_not_asked_in_its_place(kind):
    tree, node = path("5")
    with pytest.raises(BadInput, match="reward: there is no prm model here"):
        await kind(role="prm").values(tree, [node], Context(models={"policy": Judge()}))


def said(role: str, content: str) -> Message:
    return Message(role=role, content=content)


@pytest.mark.parametrize(
    ("steps", "chat"),
    [
        ((" 2 + 3 = 5\n",), [said("user", "2 + 3? 2 + 3 = 5")]),
        (
            ("We add.\n", "\n", "It is 5."),
            [said("user", "2 + 3? We add."), said("assistant", "+"), said("user", "It is 5.")],
        ),
    ],
)
def test_each_step_is_a_message_and_those_before_the_last_were_replied_to_as_right(
    steps: tuple[str, ...], chat: list[Message]
):
    assert ReplyReward().chat(*path(*steps, messages=(SYSTEM, QUESTION))) == chat
    assert ReplyReward(system=None).chat(*path(*steps, messages=(SYSTEM, QUESTION))) == [SYSTEM, *chat]


@pytest.mark.parametrize(("odds", "worth"), [([0.6, 0.2], 0.75), ([0.0, 0.0], 0.5), ([0.0, 0.1], 0.0)])
async def test_a_reply_is_worth_the_share_of_the_right_word(odds: list[float], worth: float):
    class Replies(Scripted):
        async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
            assert words == ["good", "bad"]
            return [odds for _ in chats]

    tree, node = path("5")
    value = ReplyReward(right="good", wrong="bad")
    assert await value.values(tree, [node, node], Context(models={"reward": Replies()})) == [pytest.approx(worth)] * 2


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
