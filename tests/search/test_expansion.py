"""Steps: cut to complete tokens without losing one, duplicates dropped and counted, requested again if configured."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Completion, Context
from selftaught.search.duplicates import EditDistance, Exact, Judged, within
from selftaught.search.expansion import ENDS, Steps
from selftaught.search.insertion import complete_tokens, steps
from selftaught.search.tree import SearchTree
from tests.search.scripted import TASK, Scripted

words = st.text("ab. \n", max_size=8)


def said(tokens, stop=None, cut=None):
    """What an engine says that stopped at `stop`: all tokens, and the text up to the end of the stop string."""
    text = "".join(tokens)
    return Completion(
        text=text if cut is None else text[:cut],
        token_ids=tuple(range(len(tokens))),
        logprobs=(-1.0,) * len(tokens),
        finish_reason="stop",
        prompt_tokens=1,
        stop=stop,
        tokens=tuple(tokens),
    )


@pytest.mark.parametrize(
    ("tokens", "stop", "text", "kept"),
    [
        (["7", " +", " 4", "\n"], "\n", "7 + 4\n", 4),
        (["7", " +", " 4", "\n\n"], "\n", "7 + 4\n\n", 4),  # the token is kept, so all of its text is
        (["It", " is", " 4", ".", " The"], ". ", "It is 4.", 4),  # the token begins the next step
        (["It", " is", " 4", ".\n"], "\n", "It is 4.\n", 4),
        (["Step", " 2", ":"], ":", "Step 2:", 3),
    ],
)
def test_a_step_has_the_text_of_its_tokens(tokens, stop, text, kept):
    cut = "".join(tokens).index(stop) + len(stop)
    step = complete_tokens(said(tokens, stop, cut))
    assert (step.text, step.token_ids, len(step.logprobs)) == (text, tuple(range(kept)), kept)
    assert step.text == "".join(tokens[:kept])


@given(st.lists(st.sampled_from(["a", " b", ".", " ", "\n", "\n\n", ".\n", " C"]), min_size=1, max_size=12))
def test_an_answer_cut_into_steps_has_all_of_its_tokens_in_order(tokens):
    answer = said(tokens)
    cut = list(steps(answer, ENDS["sentence"]))
    assert "".join(step.text for step in cut) == answer.text
    assert tuple(token for step in cut for token in step.token_ids) == answer.token_ids
    assert [step.stop is None for step in cut] == [False] * (len(cut) - 1) + [True]
    assert all(step.token_ids for step in cut)


def test_an_end_token_says_nothing_in_the_last_step():
    answer = replace(said(["1", " +", " 1", "\n", "2", "<|im_end|>"]), text="1 + 1\n2")
    *_, last = cut = list(steps(answer, ("\n",)))
    assert [step.text for step in cut] == ["1 + 1\n", "2"]
    assert last.token_ids == (4, 5)


@given(words, st.lists(st.integers(1, 3)))
def test_the_steps_of_an_answer_say_what_it_says(text, lengths):
    """Also where the texts of its tokens, an end token's among them, are not together its own."""
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    tokens = [text[end - length : end] for end, length in zip(ends, lengths, strict=True)] + ["<|im_end|>"]
    answer = replace(said(tokens), text=text)
    cut = list(steps(answer, ENDS["sentence"]))
    assert "".join(step.text for step in cut) == text
    assert tuple(token for step in cut for token in step.token_ids) == answer.token_ids


@pytest.mark.parametrize(("one", "other"), [("22 - 2 = 20", "22 - 2 = 18"), ("x = 1.5", "x = 15"), ("1,000", "1.000")])
async def test_steps_with_other_numbers_are_never_the_same(one, other):
    assert not await EditDistance(most=19).same(TASK, one, other, Context())


async def test_what_is_missing_after_duplicates_is_asked_for_again():
    model = Scripted(letters="ab", ending=0.0)
    for retries in (0, 3):
        tree = SearchTree(TASK)
        grown = await Steps(n=2, retries=retries).grow(tree, tree.root, Context(models={"policy": model}))
        assert len({child.text for child in grown}) == len(grown) <= 2
        assert tree.tally.duplicates == tree.tally.tokens // 2 - len(grown)


@given(words, words, st.integers(0, 6))
def test_the_edit_distance_is_levenshteins(one, other, most):
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))

    one, other = one[:5], other[:5]
    assert within(one, other, most) == (distance(one, other) <= most)


async def test_duplicates_are_what_the_block_says():
    nobody = Context()
    assert await Exact().same(TASK, "7 + 4\n", " 7  + 4", nobody)
    assert not await Exact().same(TASK, "7 + 4", "7 + 5", nobody)
    assert await EditDistance(most=1).same(TASK, "so 7 + 4", "so, 7 + 4", nobody)
    assert not await EditDistance(most=5).same(TASK, "so 7 + 4", "then we have 7 + 4 eggs", nobody)

    class Judge(Scripted):
        async def odds(self, chats, words):
            self.asked.append(chats[0][-1].content)
            return [[0.6, 0.3]]

    judge = Judge()
    assert await Judged().same(TASK, "one {x}", "other", Context(models={"policy": judge}))
    assert "Step A: one {x}\n\nStep B: other" in judge.asked[0]
