"""What trees become: value examples, pairs that part to the token, traces, linearised detours, and the hard tasks
alone.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import RoundFailed
from selftaught.curation.by_effort import ByEffort, effort
from selftaught.curation.detours import Linearised, Spliced
from selftaught.curation.step_pairs import StepPairs, common
from selftaught.curation.step_values import StepValues
from selftaught.curation.tree_traces import TreeTraces
from selftaught.curation.true_false import TrueFalse
from selftaught.records import Spent
from selftaught.search.values import PTrue
from tests.curation.trees import grown, unjudged

SHAPE = {"one\n": {"two\n": {"right": True, "wrong": False}, "tea\n": {"bad": False}}, "odd\n": {"end": False}}
VALUES = {"one\n": 0.8, "odd\n": 0.3, "two\n": 0.9, "tea\n": 0.5, "right": 0.9, "wrong": 0.2, "bad": 0.1}


def pairs(group, **config):
    return list(StepPairs(minimum=0, **config).curate([group], seed=1))


def sides(example):
    return example.completion[0].content, example.rejected[0].content


def test_pairs_stand_on_the_best_path_best_against_second_best():
    found = pairs(grown(SHAPE, VALUES))
    assert [sides(each) for each in found] == [("one\n", "odd\n"), ("two\n", "tea\n"), ("right", "wrong")]
    assert [[m.content for m in each.prompt] for each in found] == [["?"], ["?", "one\n"], ["?", "one\ntwo\n"]]


def test_the_worst_or_a_random_one_may_be_rejected_instead():
    shape, values = {"a": True, "b": False, "c": False, "d": False}, {"a": 0.9, "b": 0.7, "c": 0.5, "d": 0.1}
    assert [sides(each) for each in pairs(grown(shape, values), rejected="worst")] == [("a", "d")]
    drawn = {
        sides(each)[1]
        for seed in range(40)
        for each in StepPairs(minimum=0, rejected="random").curate([grown(shape, values)], seed)
    }
    assert drawn == {"b", "c", "d"}


def test_values_that_do_not_differ_by_more_than_the_margin_give_no_pair():
    group = grown({"a": True, "b": False}, {"a": 0.75, "b": 0.5})
    assert len(pairs(group, margin=0.2)) == 1
    assert pairs(group, margin=0.25) == []
    assert pairs(grown({"a": True, "b": False})) == []


@pytest.mark.parametrize(
    ("won", "lost", "doubt"), [(0, 3, 0.5), (1, 4, 0.5), (6, 2, 0.25), (4, 0, 0.0), (0, 0, 0.0), (3, 3, 0.5)]
)
def test_a_pairs_smoothing_is_by_visits(won, lost, doubt):
    group = grown({"a": True, "b": False}, {"a": 0.9}, visits={"a": won, "b": lost})
    assert [each.target.smoothing for each in pairs(group, smoothing="visits")] == [doubt]
    assert [each.target.smoothing for each in pairs(group)] == [0.0]


@given(st.lists(st.text("ab", min_size=1, max_size=5), min_size=2, max_size=4, unique=True), st.text("ab", max_size=3))
def test_a_pairs_prompt_ends_where_its_sides_part_to_the_token(texts, before):
    shape = dict.fromkeys(texts, False)
    values = {text: 1 - i / 10 for i, text in enumerate(texts)}
    group = grown({before + "|": shape}, values)
    for each in pairs(group):
        chosen, rejected = sides(each)
        (prompt, best), (same, other) = each.sequences
        assert prompt == same
        assert bytes(prompt.token_ids[2:] + best.token_ids).decode() == f"{before}|{chosen}"
        assert bytes(prompt.token_ids[2:] + other.token_ids).decode() == f"{before}|{rejected}"
        assert best.token_ids[0] != other.token_ids[0]
    first, second = texts[:2]
    nested = first.startswith(second) or second.startswith(first)
    assert len(pairs(group)) == (not nested)
    assert common(first.encode(), second.encode()) <= min(len(first), len(second))


def test_pairs_may_go_by_the_values_that_right_answers_give():
    group = grown({"a": {"x": False}, "b": {"y": True}}, {"a": 0.9, "b": 0.1})
    assert [sides(each) for each in pairs(group, by="inferred")] == [("b", "a")]


def test_values_are_of_partial_solutions_in_the_engines_tokens():
    group = grown({"1 ": {"2": True, "x": False}})
    found = list(StepValues(minimum=0).curate([group], seed=1))
    assert {(each.completion[0].content, each.target.label, each.target.right) for each in found} == {
        ("1 ", 0.5, True), ("1 2", 1.0, True), ("1 x", 0.25, False),
    }  # fmt: skip
    assert all(bytes(each.sequences[0][1].token_ids).decode() == each.completion[0].content for each in found)
    assert all(each.sequences[0][0].token_ids == (1, 2) for each in found)


def test_estimates_may_be_the_labels_and_hinted_nodes_have_none():
    group = grown({"a": True, "h": True}, hinted={"h"})
    assert [each.completion[0].content for each in StepValues(minimum=0, labels="estimates").curate([group], 1)] == [
        "a"
    ]
    inferred = list(StepValues(minimum=0).curate([group], 1))
    assert {each.completion[0].content for each in inferred} == {"a", "h"}


@pytest.mark.parametrize("labels", ["estimates", "inferred"])
def test_a_step_that_no_judged_answer_followed_is_neither_right_nor_wrong(labels):
    shape = {
        "good": {"end": True},
        "bad": {"no": False},
        "open": {},
        "deep": {"open too": {}},
        "lost": {"nobody": False},
    }
    found = StepValues(minimum=0, labels=labels).curate([unjudged(grown(shape), "nobody")], seed=1)
    known = {"good": True, "goodend": True, "bad": False, "badno": False}
    unknown = dict.fromkeys(("open", "deep", "deepopen too", "lost", "lostnobody"))
    assert {each.completion[0].content: each.target.right for each in found} == {
        **known, **(unknown if labels == "estimates" else {}),
    }  # fmt: skip


def test_an_answer_that_nobody_judged_is_no_wrong_turn():
    shape = {"start\n": {"lost": False, "right": True}}
    for curator in (Linearised(minimum=0), Spliced(minimum=0)):
        assert len(list(curator.curate([grown(shape)], 1))) == 1
        assert list(curator.curate([unjudged(grown(shape), "lost")], 1)) == []


def test_traces_are_right_and_valued_enough():
    group = grown(
        {"good": True, "poor": True, "false": False, "hint": True},
        {"good": 0.5, "poor": 0.1, "false": 0.9},
        hinted={"hint"},
    )
    texts = [each.completion[0].content for each in TreeTraces(minimum=0).curate([group], 1)]
    assert texts == ["good"]
    texts = {each.completion[0].content for each in TreeTraces(minimum=0, hinted=True, threshold=0).curate([group], 1)}
    assert texts == {"good", "poor", "hint"}


def test_a_linearised_answer_tells_its_wrong_turns_and_the_way_back():
    (found,) = Linearised(minimum=0).curate([grown(SHAPE, VALUES)], 1)
    assert found.completion[0].content == (
        "odd\nend\nBut wait, are we solving the problem correctly so far? Hmm.\n"
        "one\ntea\nbad\nBut wait, are we solving the problem correctly so far? Hmm. Let's go back to: one\n"
        "two\nwrong\nBut wait, are we solving the problem correctly so far? Hmm. Let's go back to: two\n"
        "right"
    )
    assert [m.content for m in found.prompt] == ["?"]


def test_hinted_wrong_answers_are_no_turn_of_a_linearised_one():
    """Neither entirely nor in part: the hint would stand in what is trained on."""
    shape = {"plain\n": {"wrong": False}, "hinted\n": {"hint": False}, "good\n": {"right": True}}
    values = {"hint": 0.9, "hinted\n": 0.9, "wrong": 0.1}
    (found,) = Linearised(minimum=0, detours=3).curate([grown(shape, values, hinted={"hinted\n", "hint"})], 1)
    said = found.completion[0].content
    assert "wrong" in said
    assert "hinted" not in said
    assert "hint" not in said


def test_a_hinted_error_is_no_turn_of_a_spliced_answer():
    shape = {"hinted": False, "plain": False, "right": True}
    (found,) = Spliced(minimum=0).curate([grown(shape, {"hinted": 0.9}, hinted={"hinted"})], 1)
    assert found.completion[0].content.startswith("plain")
    assert list(Spliced(minimum=0).curate([grown({"hinted": False, "right": True}, hinted={"hinted"})], 1)) == []


def test_told_answers_stand_behind_the_engines_own_prompt_without_tokens_of_their_own():
    for curator in (Linearised(minimum=0), Spliced(minimum=0)):
        (found,) = curator.curate([grown({"odd": False, "right": True})], 1)
        assert [segment.token_ids for segment in found.sequences[0]] == [(1, 2), ()]


def test_a_spliced_answer_goes_back_at_its_first_error():
    (found,) = Spliced(minimum=0).curate(
        [grown({"one\n": {"tea\n": {"cup\n": {"bad": False}}, "right": True}}, VALUES)], 1
    )
    assert found.completion[0].content == "one\ntea\nI made a mistake. Back to: one\nright"


@given(
    st.recursive(
        st.booleans(), lambda below: st.dictionaries(st.sampled_from(["a", "b", "c"]), below, min_size=1, max_size=3)
    ).filter(lambda shape: isinstance(shape, dict)),
    st.sampled_from([Linearised, Spliced]),
)
def test_without_wrong_turns_what_is_learnt_is_what_stands_behind_the_last_of_them(shape, curator):
    group = grown(shape)
    every = {"minimum": 0, "per_task": None}
    trained, masked = (list(curator(wrong=wrong, **every).curate([group], 1)) for wrong in ("train", "ignore"))
    assert len(trained) == len(masked)
    for one, other in zip(trained, masked, strict=True):
        *_, given_, learnt = other.sequences[0]
        (text,), (begun,), (own,) = one.completion, given_.messages, learnt.messages
        assert begun.content + own.content == text.content
        assert not given_.weights
        assert own.content.strip().startswith(curator.model_fields["reflect"].default)
        assert own.content.count(curator.model_fields["reflect"].default) == 1


def test_a_tree_without_wrong_turns_has_nothing_to_tell():
    assert list(Linearised(minimum=0).curate([grown({"a": {"b": True}})], 1)) == []
    assert list(Linearised(minimum=0).curate([grown({"a": {"b": False}})], 1)) == []


@pytest.mark.parametrize(("iterations", "kept"), [(5, 0), (6, 1)])
def test_tasks_that_were_solved_soon_are_left_out(iterations, kept):
    group = grown({"a": True})
    group = group.model_copy(update={"tree": group.tree.model_copy(update={"spent": Spent(iterations=iterations)})})
    assert len(list(ByEffort(minimum=0, above=5).curate([group], 1))) == kept


def test_a_task_that_was_never_solved_is_the_hardest():
    assert effort(grown({"a": False})) == float("inf")
    helped = grown({"a": False, "h": True}, hinted={"h"})
    assert effort(helped) == float("inf")
    assert [each.completion[0].content for each in ByEffort(minimum=0).curate([helped], 1)] == ["h"]


def test_a_right_answer_that_was_cut_off_is_not_told():
    group = grown(SHAPE, VALUES)
    cut = tuple(each.model_copy(update={"finish_reason": "length"}) for each in group.rollouts)
    assert list(Linearised(minimum=0).curate([group.model_copy(update={"rollouts": cut})], 1)) == []


@pytest.mark.parametrize("curator", [StepPairs(), StepValues(), Linearised(), TreeTraces()])
def test_too_few_examples_fail_the_round(curator):
    with pytest.raises(RoundFailed, match=f"'{curator.name}' gave 0 examples, fewer than minimum: 16"):
        curator.check(len(list(curator.curate([], 1))))


def test_true_and_false_are_asked_for_as_the_value_asks_and_come_in_equal_numbers():
    group = grown({"1 ": {"2": True, "x": False, "y": False}})
    found = list(TrueFalse(minimum=0).curate([group], 1))
    said = [(each.prompt[1].content, each.completion[0].content) for each in found]
    assert sorted(word for _, word in said) == ["False", "False", "True", "True"]
    assert {("1", "True"), ("1 2", "True")} <= set(said)
    assert {each.prompt[2].content for each in found} == {PTrue().prompt}
    assert {each.target.type for each in found} == {"imitate"}


def test_right_is_what_leads_to_a_right_answer_however_far_it_has_come():
    """The value of a right path's first step is low, and that of a wrong last step beside right ones is not."""
    shape = {"R1\n": {"R2\n": {"R3\n": {"R4": True, "W4": False}}}, "W1\n": {"W2": False}, "W3\n": {"W5": False}}
    found = TrueFalse(minimum=0).curate([grown(shape)], 1)
    words = {each.prompt[1].content.replace("\n", " "): each.completion[0].content for each in found}
    assert words == {path: str("W" not in path) for path in words}
    assert {"R1", "R1 R2 R3 R4"} <= words.keys()


def test_there_are_as_many_of_either_word_as_the_rarer_one_has():
    """Else a policy that says False to everything would be right most of the time."""
    group = grown({f"step {n}\n": {f"wrong {n}": False} for n in range(6)} | {"good\n": {"right": True}})
    said = [each.completion[0].content for each in TrueFalse(minimum=0).curate([group], 1)]
    assert said.count("True") == said.count("False") > 0


@pytest.mark.parametrize("seed", range(20))
def test_however_few_are_drawn_they_are_of_both_words_alike(seed):
    group = grown({f"s{i}\n": {f"e{i}": i % 3 == 0} for i in range(12)})
    words = [each.completion[0].content for each in TrueFalse(minimum=0, per_task=4).curate([group], seed)]
    assert sorted(words) == ["False", "False", "True", "True"]


def test_a_hinted_right_answer_is_no_end_of_a_detour_and_no_side_of_a_pair():
    shape = {"own\n": {"bad": False, "good": False}, "told\n": {"right": True}}
    group = grown(shape, values={"bad": 0.4}, hinted=("told\n", "right"))
    assert list(Linearised(minimum=0).curate([group], 0)) == list(Spliced(minimum=0).curate([group], 0)) == []
    assert list(StepPairs(minimum=0, by="inferred").curate([group], 0)) == []


def test_an_answer_that_was_cut_off_is_neither_a_wrong_turn_nor_a_wrong_step():
    group = grown({"a\n": {"cut": False}, "b\n": {"right": True}})
    assert list(Linearised(minimum=0).curate([group], 0))
    rollouts = [
        each.model_copy(update={"finish_reason": "length"}) if "cut" in each.text else each for each in group.rollouts
    ]
    group = group.model_copy(update={"rollouts": tuple(rollouts)})
    assert list(Linearised(minimum=0).curate([group], 0)) == []
    rights = {each.completion[0].content: each.target.right for each in StepValues(minimum=0).curate([group], 0)}
    assert False not in rights.values()
    assert all(each.completion[0].content == "True" for each in TrueFalse(minimum=0).curate([group], 0))


@given(st.integers(0, 50), st.sampled_from([{"per_task": 2}, {"max_examples": 2}]))
def test_equal_steps_count_as_often_as_they_are_there(seed, caps):
    group = grown({"a": False, "b": True})
    nodes = group.tree.nodes
    copies = tuple(nodes[1].model_copy(update={"index": index}) for index in (3, 4))
    group = group.model_copy(update={"tree": group.tree.model_copy(update={"nodes": (*nodes, *copies)})})
    assert len(list(StepValues(minimum=0, labels="estimates", **caps).curate([group], seed))) == 2
