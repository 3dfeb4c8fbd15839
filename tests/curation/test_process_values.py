"""The quality values are exactly ReST-MCTS*'s: on hand-made trees by number, on random ones by recursion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.curation.process_values import FAR, distances, inferred_values, right_leaves, unjudged_leaves
from tests.curation.trees import by_text, grown, unjudged


def values(shape, **more):
    group = grown(shape, **more)
    return by_text(group.tree, inferred_values(group.tree, right_leaves(group)))


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_a_path_to_the_only_right_leaf_is_worth_its_share_of_the_steps(k):
    shape = True
    for step in range(k, 0, -1):
        shape = {f"s{step}": shape}
    assert values(shape) == pytest.approx({f"s{step}": step / k for step in range(1, k + 1)})


def test_a_shorter_right_leaf_shortens_the_branch_that_it_shares():
    found = values({"a": {"b": {"c": {"d": True}}, "short": True}})
    # after a, one step is left to the nearer leaf: 1/2; the longer path resumes from there, three steps from its end
    assert found == pytest.approx({"a": 1 / 2, "b": 1 / 2 + 1 / 2 / 3, "c": 2 / 3 + 1 / 3 / 2, "d": 1.0, "short": 1.0})


def test_a_wrong_sibling_loses_one_step_of_those_that_were_left():
    found = values({"1": {"2": {"3": {"4": {"5": True}}, "wrong": False}}})
    assert found["wrong"] == pytest.approx(0.25)  # K = 5, d = 2: 2/5 - 3/5 / 4
    assert found["2"] == pytest.approx(0.4)


def test_wrong_steps_after_a_wrong_step_keep_the_distance_of_their_last_right_ancestor():
    found = values({"1": {"2": True, "x": {"y": {"z": False}}}})
    assert found["x"] == pytest.approx(1 / 2 - 1 / 2 / 2)
    assert found["y"] == 0.0  # 0.25 - 0.75 / 2 is below zero
    assert found["z"] == 0.0


def test_nobody_knows_what_a_step_is_worth_that_no_answer_followed():
    assert set(values({"a": True, "open": {}, "b": {"open too": {}}})) == {"a"}


def test_an_answer_that_no_verifier_could_judge_is_no_answer():
    group = unjudged(
        grown({"a": True, "b": {"lost": False}, "c": {"wrong": False, "lost too": False}}), "lost", "lost too"
    )
    found = by_text(group.tree, inferred_values(group.tree, right_leaves(group), unjudged_leaves(group)))
    assert set(found) == {"a", "c", "wrong"}


def test_a_tree_without_a_right_answer_says_nothing():
    assert values({"a": {"b": False}, "c": False}) == {}


trees = st.recursive(st.booleans(), lambda below: st.lists(below, min_size=1, max_size=3), max_leaves=12)


def named(shape, path="n"):
    if isinstance(shape, bool):
        return shape
    return {f"{path}{i}.": named(below, f"{path}{i}.") for i, below in enumerate(shape)}


@given(trees)
def test_random_trees_have_the_values_of_the_recursive_definition(shape):
    shape = {"n": True} if shape is True else {"n": False} if shape is False else named(shape)
    group = grown(shape)
    far = distances(group.tree, right_leaves(group))

    def nearest(below):
        if isinstance(below, bool):
            return 0 if below else FAR
        return min((nearest(each) + 1 for each in below.values()), default=FAR)

    def expected(below, before, reach, found):
        for text, more in below.items():
            m = min(nearest(more), FAR)
            right = m < FAR
            reached = m if right else reach
            w = (1 - before) / (reached + 1) * (1 if right else -1)
            found[text] = max(before + w, 0)
            if not isinstance(more, bool):
                expected(more, found[text], reached, found)
        return found

    root = nearest(shape)
    assert min(far[0], FAR) == min(root, FAR)
    assert values(shape) == pytest.approx(expected(shape, 0.0, root, {}) if root < FAR else {})
