"""What samples would have found at a tree's tokens, held against an enumeration of its own on hand-made pools."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from itertools import accumulate, permutations, product
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.records import Control, Group, Rollout, Turn, Verdict
from selftaught.search.comparison import Compared, Found, compared, figures, sampled
from tests.curation.trees import TASK, grown

Said = tuple[str, int, bool]
"""An answer: its text, its tokens, and whether it is right."""


def pool(said: Sequence[Said], budget: int, requests: Sequence[int] = ()) -> Control:
    rollouts = tuple(
        Rollout(task=TASK.id, index=i, model="m", turns=(Turn(content=text),), temperature=1, completion_tokens=tokens)
        for i, (text, tokens, _) in enumerate(said)
    )
    sizes = tuple(requests) or (len(said),)
    return Control(
        budget=budget,
        requests=sizes,
        rollouts=rollouts,
        verdicts=tuple((Verdict.of("v", right),) for *_, right in said),
    )


def enumerated(said: Sequence[Said], budget: int) -> tuple[Fraction, Fraction]:
    """Solved and distinct, answer after answer in every order."""
    solved, distinct, orders = 0, 0, list(permutations(said))
    for order in orders:
        spent, found = 0, set[str]()
        for text, tokens, right in order:
            spent += tokens
            if spent > budget:
                break
            if right:
                found.add(text)
        solved, distinct = solved + bool(found), distinct + len(found)
    return Fraction(solved, len(orders)), Fraction(distinct, len(orders))


@pytest.mark.parametrize(
    ("said", "budget", "solved", "distinct"),
    [
        ([("a", 2, True), ("b", 2, False)], 2, 1 / 2, 1 / 2),
        ([("a", 2, True), ("b", 2, False)], 4, 1.0, 1.0),
        ([("a", 2, True), ("b", 2, False)], 3, 1 / 2, 1 / 2),  # the second has not ended by then
        ([("a", 2, True), ("b", 2, True), ("c", 2, False)], 4, 1.0, 4 / 3),
        ([("a", 2, True), ("a", 2, True), ("c", 2, False)], 4, 1.0, 1.0),  # said twice, found once
        ([("a", 5, True), ("b", 2, False)], 4, 0.0, 0.0),  # too long for the budget in any order
        ([("a", 3, True), ("b", 1, False), ("c", 1, False)], 4, 2 / 3, 2 / 3),
        ([("a", 2, True)], 9, 1.0, 1.0),
    ],
)
def test_pools_whose_right_value_is_known(said: list[Said], budget: int, solved: float, distinct: float):
    assert sampled(pool(said, budget), 0) == Found(pytest.approx(solved), pytest.approx(distinct))
    assert enumerated(said, budget) == (pytest.approx(solved), pytest.approx(distinct))


answers = st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.just(True)).map(lambda s: (s[0], s[1], s[0] < "c"))


@given(st.lists(answers, min_size=1, max_size=6), st.integers(0, 20))
@settings(max_examples=60)
def test_of_a_small_pool_it_is_the_mean_over_all_orders(said: list[Said], budget: int):
    solved, distinct = map(float, enumerated(said, budget))
    assert sampled(pool(said, budget), 0) == Found(pytest.approx(solved), pytest.approx(distinct))


LIKELY = {("a", 1, True): Fraction(1, 5), ("b", 2, True): Fraction(1, 5), ("c", 4, False): Fraction(3, 5)}
"""Answers of a policy whose right ones are short, and how likely each is."""


def test_over_all_that_a_policy_might_say_it_is_what_sampling_finds():
    """Two answers, then one after the other until the budget is spent: no bias, though longer pools are unluckier."""
    budget, truth, estimated = 6, 0.0, [0.0, 0.0]
    true_distinct = 0.0
    for stream in product(LIKELY, repeat=budget):
        chance = float(prod(LIKELY[each] for each in stream))
        spent = list(accumulate(tokens for _, tokens, _ in stream))
        ended = {text for (text, _, right), then in zip(stream, spent, strict=True) if right and then <= budget}
        truth, true_distinct = truth + chance * bool(ended), true_distinct + chance * len(ended)
        asked = max(2, next(n for n, then in enumerate(spent, 1) if then >= budget))
        found = _found(stream[:asked], budget)
        estimated = [estimated[0] + chance * found.solved, estimated[1] + chance * found.distinct]
    assert estimated == pytest.approx([truth, true_distinct])


@cache
def _found(said: tuple[Said, ...], budget: int) -> Found:
    return sampled(pool(said, budget, (2, *[1] * (len(said) - 2))), 0)


def test_answers_of_a_later_request_come_later():
    said = [("c", 4, False), ("c", 4, False), ("a", 1, True)]
    assert sampled(pool(said, 8, (2, 1)), 0).solved == 0
    assert sampled(pool(said, 8, (3,)), 0).solved == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_larger_one_it_is_near_that(seed: int):
    said = [("ab"[i % 2] if i < 3 else "c", 1 + i % 3, i < 3) for i in range(8)]
    solved, distinct = map(float, enumerated(said, 7))
    found = sampled(pool(said, 7), seed)  # standard errors: .012 and .021
    assert (found.solved, found.distinct) == (pytest.approx(solved, abs=0.05), pytest.approx(distinct, abs=0.09))
    assert sampled(pool(said, 7), seed) == found


@given(st.lists(answers, min_size=1, max_size=9), st.integers(0, 20), st.integers(0, 9))
@settings(max_examples=40)
def test_more_tokens_never_find_less(said: list[Said], budget: int, more: int):
    less, found = sampled(pool(said, budget), 0), sampled(pool(said, budget + more), 0)
    assert less.solved <= found.solved + 1e-12
    assert less.distinct <= found.distinct + 1e-12
    assert found.solved <= min(found.distinct, 1) + 1e-12


def held(group: Group, said: Sequence[Said], budget: int) -> Compared:
    (one,) = compared([group.model_copy(update={"control": pool(said, budget)})])
    return one


def test_answers_that_a_hint_led_to_count_on_neither_side():
    one = held(grown({"7 \n is it": True, "wrong": False, "hint": True}, hinted={"hint"}), [("a", 1, True)], 4)
    assert one.search == Found(1.0, 1.0)
    assert held(grown({"wrong": False, "hint": True}, hinted={"hint"}), [("a", 1, True)], 4).search == Found(0.0, 0.0)


def test_what_differs_in_white_space_is_one_answer():
    assert held(grown({"a\n": {"b": True}, "a": {" b": True}}), [("a  b", 1, True), ("a b", 1, True)], 9) == Compared(
        budget=9, cost=2, search=Found(1.0, 1.0), sampling=Found(1.0, 1.0)
    )


def test_groups_without_a_control_or_whose_control_is_not_verified_are_not_compared():
    unverified = pool([("a", 1, True)], 3).model_copy(update={"verdicts": ()})
    assert not list(compared([grown({"a": True}), grown({"a": True}).model_copy(update={"control": unverified})]))


def task(search: tuple[float, float], sampling: tuple[float, float], budget: int = 10, cost: int = 12) -> Compared:
    return Compared(budget, cost, Found(*search), Found(*sampling))


def test_the_figures_are_means_paired_by_task():
    tasks = [task((1, 3), (0.5, 1)), task((0, 0), (0.25, 0.25), cost=9), task((1, 1), (1, 2)), task((0, 0), (0, 0))]
    fields = {name.removeprefix("search.control."): value for name, value in figures(tasks).items()}
    assert {name: fields[name] for name in ("tasks", "budget", "cost", "short")} == {
        "tasks": 4, "budget": 40, "cost": 45, "short": 1,
    }  # fmt: skip
    assert (fields["solved.search"], fields["solved.sampling"], fields["solved.gain"]) == (0.5, 0.4375, 0.0625)
    assert (fields["distinct.search"], fields["distinct.sampling"], fields["distinct.gain"]) == (1.0, 0.8125, 0.1875)
    assert fields["solved.low"] < fields["solved.gain"] < fields["solved.high"]
    assert fields["distinct.low"] < fields["distinct.gain"] < fields["distinct.high"]


def test_what_differs_alike_on_many_tasks_is_shown():
    """The interval is of the paired differences: the tasks themselves differ far more than that."""
    sampling = [(n % 10) / 10 for n in range(60)]
    tasks = [task((each + 0.05 + 0.01 * (n % 3), each * 3 + 0.5 + 0.1 * (n % 4)), (each, each * 3)) for n, each in
             enumerate(sampling)]  # fmt: skip
    found = figures(tasks)
    assert 0.05 < found["search.control.solved.low"] < 0.06 < found["search.control.solved.high"] < 0.07
    assert 0.6 < found["search.control.distinct.low"] < 0.65 < found["search.control.distinct.high"] < 0.7


def test_one_task_has_no_interval_and_none_no_figures():
    assert not figures([])
    assert "search.control.solved.low" not in figures([task((1, 1), (0.5, 0.5))])
