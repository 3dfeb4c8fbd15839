"""Accepted and unfiltered selection: who may be picked, the caps, determinism, de-duplication, the minimum."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.core.errors import RoundFailed
from selftaught.curation.accepted import Accepted
from selftaught.curation.unfiltered import Unfiltered
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict
from tests.curation.trees import grown


def group(question, *rollouts):
    """A group of (text, passed) or (text, passed, finish_reason)."""
    task = Task(messages=(Message(role="user", content=question),), answer="1", source="test")
    made = [
        Rollout(
            task=task.id,
            index=i,
            model="m",
            turns=(Turn(content=text),),
            temperature=1.0,
            finish_reason=ending[0] if ending else "stop",
        )
        for i, (text, _, *ending) in enumerate(rollouts)
    ]
    verdicts = tuple((Verdict.of("v", passed),) for _, passed, *_ in rollouts)
    return Group(task=task, rollouts=tuple(made), verdicts=verdicts)


def many(tasks=6, k=8):
    """`tasks` groups of `k` rollouts, every second one right."""
    return [group(f"q{t}", *((f"answer {t} {i}", i % 2 == 0) for i in range(k))) for t in range(tasks)]


def texts(curator, groups, seed=0):
    return [example.completion[0].content for example in curator.curate(groups, seed)]


def test_accepted_takes_what_passed_and_unfiltered_everything():
    groups = [group("q", ("right", True), ("wrong", False))]
    assert texts(Accepted(), groups) == ["right"]
    assert sorted(texts(Unfiltered(), groups)) == ["right", "wrong"]


def test_unverified_groups_give_nothing_accepted():
    assert texts(Accepted(), [many(1)[0].model_copy(update={"verdicts": ()})]) == []


@pytest.mark.parametrize("curator", [Accepted, Unfiltered])
@pytest.mark.parametrize("reason", ["length", "abort", "error", "content_filter", ""])
def test_only_what_the_model_ended_itself_is_picked(curator, reason):
    assert texts(curator(), [group("q", ("cut", True, reason), ("whole", True))]) == ["whole"]


def test_an_example_is_the_tasks_own_prompt_and_the_last_answer():
    [of] = [group("q", ("right", True))]
    [example] = Accepted().curate([of], 0)
    assert (example.prompt, example.completion[0].role) == (of.task.messages, "assistant")
    assert (example.task, example.rollout) == (of.id, of.rollouts[0].id)


def conversation(*turns, ending="stop"):
    """A right rollout of (role, text) or (role, text, token ids)."""
    task = Task(messages=(Message(role="user", content="q"),), answer="1", source="test")
    made = tuple(Turn(role=role, content=text, token_ids=ids[0] if ids else ()) for role, text, *ids in turns)
    rollout = Rollout(task=task.id, index=0, model="m", turns=made, temperature=1.0, finish_reason=ending)
    return Group(task=task, rollouts=(rollout,), verdicts=((Verdict.of("v", True),),))


def tokens(example):
    return [segment.token_ids for segment in example.sequences[0]]


def test_an_example_keeps_the_engines_tokens():
    [example] = Accepted().curate([conversation(("assistant", "right", (5, 6, 2)))], 0)
    assert tokens(example) == [(), (5, 6, 2)]


def test_an_example_of_a_tree_keeps_the_tokens_of_its_prompt_too():
    [example] = Accepted().curate([grown({"a": {"b": True}, "c": False})], 0)
    assert tokens(example) == [(1, 2), ()]  # these rollouts have none


def test_all_turns_of_a_rollout_are_kept_up_to_the_models_last():
    attempt, review, better = ("assistant", "6", (5, 2)), ("user", "Review it."), ("assistant", "7", (6, 2))
    [example] = Accepted().curate([conversation(attempt, review, better, ("user", "Thanks."))], 0)
    assert [(m.role, m.content) for m in example.completion] == [attempt[:2], review, better[:2]]
    assert tokens(example) == [(), (5, 2), (), (6, 2)]
    [partly] = Accepted().curate([conversation(attempt, review, ("assistant", "7"))], 0)
    assert tokens(partly) == [(), (5, 2), (), ()]
    assert [segment.weights for segment in partly.sequences[0]] == [(), (1.0,), (), (1.0,)]


def test_rollouts_that_differ_in_an_earlier_turn_are_two():
    one, other = (conversation(("assistant", text), ("user", "Sure?"), ("assistant", "7")) for text in "67")
    both = one.model_copy(update={"rollouts": one.rollouts + other.rollouts, "verdicts": one.verdicts * 2})
    assert len(texts(Accepted(minimum=0), [both])) == 2


def test_texts_that_differ_in_white_space_alone_are_one_per_task():
    twice = (("a  b\n", True), ("a b", True), ("a c", True))
    groups = [group("q1", *twice), group("q2", *twice)]
    assert Counter(texts(Accepted(), groups)) == {"a  b\n": 2, "a c": 2}
    assert len(texts(Accepted(dedupe=False), groups)) == 6


@given(per_task=st.one_of(st.none(), st.integers(1, 10)), max_examples=st.one_of(st.none(), st.integers(1, 30)))
def test_caps_hold_and_are_filled(per_task, max_examples):
    picked = list(Accepted(per_task=per_task, max_examples=max_examples, minimum=0).curate(many(), 3))
    each = min(per_task or 4, 4)
    assert len(picked) == min(6 * each, max_examples or 24)
    assert max(Counter(example.task for example in picked).values()) <= each


@given(order=st.permutations(range(6)), seed=st.integers(0, 5), max_examples=st.sampled_from([None, 7]))
def test_the_order_of_the_groups_changes_nothing(order, seed, max_examples):
    groups, curator = many(), Accepted(per_task=2, max_examples=max_examples, minimum=0)
    assert list(curator.curate([groups[i] for i in order], seed)) == list(curator.curate(groups, seed))


def test_the_seed_decides_which_tasks_are_learnt_from_where_there_is_no_room_for_all():
    picked = {frozenset(e.task for e in Accepted(max_examples=2, minimum=0).curate(many(), seed)) for seed in range(12)}
    assert all(len(tasks) == 2 for tasks in picked)
    assert len(picked) > 3  # of fifteen pairs


@pytest.mark.parametrize("ending", ["length", "abort", "error", "content_filter", "unknown", "eos", "tool_calls", ""])
def test_only_what_the_model_ended_itself_is_learnt_from(ending: str):
    """`unknown` is what a server said nothing of."""
    groups = [group("q", ("cut", True, ending), ("whole", True))]
    assert texts(Accepted(minimum=0), groups) == ["whole"]


def test_the_seed_decides_the_draw():
    draws = {tuple(texts(Accepted(per_task=1), many(), seed)) for seed in range(5)}
    assert len(draws) == 5


def test_every_accepted_rollout_is_drawn_about_as_often():
    """6000 draws of 1 of 4: each is expected 1500 times, five standard deviations are 168."""
    of = many(tasks=1)
    drawn = Counter(text for seed in range(6000) for text in texts(Accepted(per_task=1), of, seed))
    assert len(drawn) == 4
    assert all(abs(count - 1500) < 168 for count in drawn.values())


def test_a_tasks_draw_does_not_depend_on_the_other_tasks():
    alone, together = texts(Accepted(per_task=2), many(1)), texts(Accepted(per_task=2), many(6))
    assert [text for text in together if text in alone] == alone


def test_too_few_examples_fail_the_round_and_say_what_to_do():
    curator = Accepted(minimum=25)
    with pytest.raises(RoundFailed, match=r"'accepted' gave 24 examples, fewer than minimum: 25.*sample\.k"):
        curator.check(len(list(curator.curate(many(), 0))))
    Accepted(minimum=24).check(len(list(curator.curate(many(), 0))))


def test_a_minimum_above_the_cap_is_refused():
    with pytest.raises(ValidationError, match=r"minimum: 16 is above max_examples: 10"):
        Accepted(max_examples=10)
