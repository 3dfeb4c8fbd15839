"""The prepare step: seeds, order, and a round that fails when a source hands out overlapping sets."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Draw, TaskSource
from selftaught.core.errors import RoundFailed
from selftaught.records import Message, Task
from selftaught.state.round_key import RoundKey
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems


class Leaky(TaskSource):
    """A source that hands out one task twice, once to learn from and once to be measured on."""

    resamples_gate: ClassVar[bool] = True

    def draw(self, draw: Draw) -> list[Task]:
        task = Task(messages=(Message(role="user", content="How many bees?"),), answer="7", source="leaky")
        return [task, task.model_copy(update={"split": "gate"})]


def test_seeds_are_the_same_on_every_machine():
    assert seeds(RoundKey("line", "demo")) == Draw(campaign=1534505598134367298, round=3335526022490179086)


@given(st.text(), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_rounds_and_attempts_have_seeds_of_their_own_and_share_the_campaign_s(
    name: str, round: int, one: int, two: int
):
    first, second = (seeds(RoundKey("line", name, round, attempt)) for attempt in (one, two))
    assert first.campaign == second.campaign != first.round
    assert (first.round == second.round) == (one == two)
    assert 0 <= first.round < 2**63


def test_tasks_come_ordered_by_set_then_id_and_the_same_every_time():
    source = WordProblems(train=16, gate=8, report=8, guard=3)
    tasks = prepare(source, seeds(RoundKey("line", "demo")))
    assert tasks == prepare(source, seeds(RoundKey("line", "demo")))
    order = ["train", "gate", "report", "guard"]
    assert tasks == sorted(tasks, key=lambda task: (order.index(task.split), task.id))


def test_a_source_whose_sets_overlap_fails_the_round():
    with pytest.raises(RoundFailed, match=r"gate .* and train .*How many bees"):
        prepare(Leaky(train=1, gate=1, report=1), Draw(1, 2))
