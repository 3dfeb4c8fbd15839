"""The curriculum: its values follow SEC's rule, its draws the Boltzmann distribution, and the best arm is found."""

from collections import Counter
from collections.abc import Sequence
from math import exp
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Observed, State
from selftaught.controls.curriculum import Curriculum, arm_values, pass_rate
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict

SEEDS = st.integers(0, 2**63)


def tasks(level: int, count: int = 40) -> list[Task]:
    asked = (f"What is {number} at level {level}?" for number in range(count))
    return [Task(messages=(Message(role="user", content=text),), source="test", level=level) for text in asked]


def attempted(task: Task, right: Sequence[bool]) -> Group:
    said = (
        Rollout(task=task.id, index=at, model="m", turns=(Turn(content="1"),), temperature=1)
        for at in range(len(right))
    )
    return Group(task=task, rollouts=tuple(said), verdicts=tuple((Verdict.of("gold", each),) for each in right))


POOL = [*tasks(1), *tasks(2), *tasks(3)]


def test_an_arms_value_moves_towards_its_mean_absolute_advantage():
    """SEC: Q <- Q + a (r - Q); r is 2 sqrt(p (1 - p)) a task, here (1 + 0) / 2 and 0."""
    one, two, three = tasks(1)[0], tasks(1)[1], tasks(2)[0]
    groups = [attempted(one, [True, False]), attempted(two, [True] * 4), attempted(three, [False] * 2)]
    state = Curriculum(learning_rate=0.5).observe({"values": {"1": 0.3, "3": 0.7}}, Observed(groups))
    assert arm_values(state) == pytest.approx({"1": 0.3 + 0.5 * (0.5 - 0.3), "2": 0.0, "3": 0.7})


def test_rollouts_that_could_not_be_judged_say_nothing():
    group = attempted(POOL[0], [True, True])
    crashed = group.model_copy(update={"verdicts": ((Verdict.errored("gold", "crashed"),),) * 2})
    assert arm_values(Curriculum().observe({}, Observed([crashed]))) == {}


def test_answers_that_were_given_away_are_no_attempts():
    group = attempted(tasks(1)[0], [False, False, True, True])
    hinted = tuple(each.model_copy(update={"hinted": each.index > 1}) for each in group.rollouts)
    assert pass_rate(group.model_copy(update={"rollouts": hinted})) == 0


def test_the_first_of_a_draw_is_of_an_arm_by_the_boltzmann_distribution():
    state: State = {"values": {"1": 1.0, "2": 0.5}}
    block = Curriculum(temperature=0.4, tasks=1)
    drawn = Counter(block.choose(POOL, 120, state, seed)[0].level for seed in range(2000))
    weights = {1: exp(1 / 0.4), 2: exp(0.5 / 0.4), 3: 1.0}
    for level, weight in weights.items():
        assert drawn[level] / 2000 == pytest.approx(weight / sum(weights.values()), abs=0.04)


@given(seed=SEEDS, count=st.integers(1, 120), values=st.dictionaries(st.sampled_from("123"), st.floats(0, 1)))
def test_a_draw_is_of_the_tasks_given_in_their_order_and_depends_on_state_and_seed_alone(
    seed: int, count: int, values: dict[str, float]
):
    block = Curriculum(tasks=100)
    drawn = block.choose(POOL, count, {"values": dict(values)}, seed)
    assert drawn == block.choose(list(POOL), count, {"values": dict(values)}, seed)
    assert len(drawn) == min(count, 100)
    assert drawn == [task for task in POOL if task in drawn]


def test_it_explains_its_draws_by_the_value_and_the_chance_of_each_arm():
    explained = Curriculum(temperature=0.4).explain({"values": {"1": 0.0, "2": 0.4}})
    assert explained
    assert explained.columns == ("value", "chance of a draw")
    assert explained.rows["level 1"] == (0.0, pytest.approx(1 / (1 + exp(1))))
    assert explained.rows["level 2"] == (0.4, pytest.approx(exp(1) / (1 + exp(1))))
    assert Curriculum().explain({}) is None


def test_an_arm_that_has_none_left_is_passed_over():
    drawn = Curriculum(temperature=0.05).choose(POOL, 60, {"values": {"2": 1.0}}, 0)
    assert Counter(task.level for task in drawn)[2] == 40


def test_a_draw_at_a_temperature_near_nothing_takes_the_best():
    drawn = Curriculum(temperature=1e-9).choose(POOL, 40, {"values": {"2": 0.1}}, 0)
    assert {task.level for task in drawn} == {2}


def test_the_arm_at_which_half_the_answers_are_right_is_found_and_followed_when_it_moves():
    """A model that is right at 95, 50 and 5 % on three levels learns the second: the third is halfway then."""
    block, random = Curriculum(tasks=30), Random(0)
    state: State = {}
    for rates, best in (((0.95, 0.5, 0.05), 2), ((1.0, 0.95, 0.5), 3)):
        for number in range(8):
            drawn = block.choose(POOL, len(POOL), state, number)
            groups = [attempted(task, [random.random() < rates[task.level - 1] for _ in range(8)]) for task in drawn]
            state = block.observe(state, Observed(groups))
        counts = Counter(task.level for seed in range(50) for task in block.choose(POOL, 30, state, seed))
        assert counts.most_common(1)[0][0] == best
        assert max(arm_values(state), key=arm_values(state).__getitem__) == str(best)
