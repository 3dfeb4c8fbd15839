"""Process reward models that read plain text are put question and steps as their authors put them."""

from collections.abc import Sequence

import pytest

from selftaught.blocks import Completion, Context
from selftaught.records import Message, Task
from selftaught.search.rewards import ProcessReward, ReplyReward
from selftaught.search.tree import SearchNode, SearchTree
from tests.search.scripted import Scripted

SYSTEM = Message(role="system", content="Answer in one line.")
QUESTION = Message(role="user", content="2 + 3?")


def path(*steps: str, messages: tuple[Message, ...] = (QUESTION,)) -> tuple[SearchTree, SearchNode]:
    tree = SearchTree(Task(messages=messages, answer="5", source="test"))
    node = tree.root
    for step in steps:
        node = tree.add(node, Completion(step, (1,), (), "stop", 1))
    return tree, node


async def test_a_token_classifier_reads_question_and_steps_in_parts_without_a_template():
    seen: list[Sequence[str]] = []

    class Classifier(Scripted):
        async def text_rewards(self, texts: Sequence[Sequence[str]]) -> list[tuple[float, ...]]:
            seen.extend(texts)
            return [(0.25, 0.75) for _ in texts]

    tree, node = path("We add.\n", " 5", messages=(QUESTION,))
    value = ProcessReward(tag="\n", chat=False)
    assert await value.values(tree, [node, node], Context(models={"reward": Classifier()})) == [0.75, 0.75]
    assert seen == [["2 + 3?", "We add.", "\n", "5", "\n"]] * 2


async def test_with_a_tag_the_reply_follows_a_plain_text():
    seen: list[str] = []

    class Shepherd(Scripted):
        async def text_odds(self, texts: Sequence[str], words: Sequence[str]) -> list[list[float]]:
            assert words == ["+", "-"]
            seen.extend(texts)
            return [[0.003, 0.001] for _ in texts]

    tree, node = path("Step 1: We add.\n", "Step 2: It is 5.", messages=(SYSTEM, QUESTION))
    value = ReplyReward(tag="ки")
    assert await value.values(tree, [node], Context(models={"reward": Shepherd()})) == [pytest.approx(0.75)]
    assert seen == ["2 + 3? Step 1: We add. ки\nStep 2: It is 5. ки"]
