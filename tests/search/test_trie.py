"""A trie of samples has every answer once, counts how often each step was said, and says which came out right."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Context
from selftaught.curation.step_pairs import StepPairs
from selftaught.curation.step_values import StepValues
from selftaught.curation.tree_traces import TreeTraces
from selftaught.records import Verdict
from selftaught.search.trie import Trie
from tests.search.scripted import TASK, Right, Scripted


class Saying(Scripted):
    """Gives the answers `said`, in turn; one that ends in `…` breaks off."""

    said = ()

    def steps(self, text, n, temperature, stops):
        first = super().steps(text, 1, temperature, stops)[0]
        return [_saying(first, answer) for answer in self.said[:n]]


def _saying(like, answer):
    text = answer.removesuffix("…")
    tokens = (*text, "<end>")
    return replace(
        like,
        text=text,
        token_ids=(*text.encode(), 0),
        logprobs=(-0.5,) * len(tokens),
        tokens=tokens,
        stop=None,
        finish_reason="length" if answer.endswith("…") else "stop",
    )


class Unsure(Right):
    """Cannot judge an answer whose last letter is c."""

    async def verify(self, group, context):
        said = await super().verify(group, context)
        unsure = Verdict.errored("right", "no sandbox")
        return [unsure if r.text.endswith("c") else v for r, v in zip(group.rollouts, said, strict=True)]


async def sampled(*answers, **config):
    model = Saying()
    model.said = answers
    ctx = Context(models={"policy": model}, verifiers=(Right(),))
    group = await Trie(k=len(answers), **config).sample(TASK, ctx)
    verdicts = tuple((verdict,) for verdict in await Right().verify(group, ctx))
    return group.model_copy(update={"verdicts": verdicts})


lines = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("\n".join)


@given(st.lists(lines, min_size=1, max_size=8))
async def test_every_answer_is_in_it_once_and_every_step_is_counted(answers):
    group = await sampled(*answers)
    assert Counter(rollout.text for rollout in group.rollouts) == Counter(set(answers))
    for node in group.tree.nodes:
        path = "".join(step.text for step in group.tree.path(node.index))
        through = [answer for answer in answers if (answer == path if node.terminal else answer.startswith(path))]
        assert node.visits == len(through)
        assert node.value == pytest.approx(sum(answer.endswith("b") for answer in through) / len(through))
    assert group.new_tokens == sum(len(answer) + 1 for answer in answers)


@given(st.lists(lines, min_size=1, max_size=8))
async def test_it_stands_by_the_answer_that_was_given_most_often(answers):
    group = await sampled(*answers)
    most = max(Counter(answers).values())
    assert answers.count(group.tree.text(group.tree.answer)) == most


async def test_a_truncated_answer_has_its_steps_and_is_none():
    group = await sampled("a\nb", "a\nc\nc…")
    assert [rollout.text for rollout in group.rollouts] == ["a\nb"]
    assert [(node.text, node.visits, node.terminal) for node in group.tree.nodes[1:]] == [
        ("a\n", 2, False),
        ("b", 1, True),
        ("c\n", 1, False),
        ("c", 1, False),
    ]
    assert group.tree.spent.truncated == 1


async def test_the_paths_of_a_trie_are_the_engines_own_tokens():
    group = await sampled("a\nb", "a\nc", "c")
    for rollout in group.rollouts:
        assert rollout.turns[0].token_ids == (*rollout.text.encode(), 0)


async def test_the_curators_of_trees_read_it():
    group = await sampled("a\nb", "a\nc", "a\nb", "c")
    (trace,) = TreeTraces(minimum=0).curate([group], 0)
    assert trace.completion[0].content == "a\nb"
    labels = {each.completion[0].content: each.regress.label for each in StepValues(minimum=0).curate([group], 0)}
    assert labels == {"a\n": 0.5, "a\nb": 1.0, "a\nc": 0.25, "c": 0.0}
    estimates = StepValues(minimum=0, labels="estimates").curate([group], 0)
    shares = {each.completion[0].content: each.regress.label for each in estimates}
    assert shares == {"a\n": pytest.approx(2 / 3), "a\nb": 1.0, "a\nc": 0.0, "c": 0.0}
    pairs = [(e.completion[0].content, e.rejected[0].content) for e in StepPairs(minimum=0).curate([group], 0)]
    assert pairs == [("a\n", "c"), ("b", "c")]


def test_what_it_costs_is_what_sampling_costs():
    assert Trie(k=4, max_tokens=10).cost() == 40
    assert Trie(max_tokens=7).longest() == 7


async def test_an_answer_that_could_not_be_judged_is_in_it_and_counts_for_no_step():
    model = Saying()
    model.said = ("x\nb", "x\nc", "x\na")
    group = await Trie(k=3).sample(TASK, Context(models={"policy": model}, verifiers=(Unsure(),)))
    assert [rollout.text for rollout in group.rollouts] == list(model.said)
    root, step, *_ = group.tree.nodes
    assert (root.visits, root.value, step.visits, step.value) == (2, 0.5, 2, 0.5)


async def test_a_step_that_nobody_could_judge_is_worth_what_its_parent_is():
    model = Saying()
    model.said = ("x\nb", "y\nc", "z\na")
    group = await Trie(k=3).sample(TASK, Context(models={"policy": model}, verifiers=(Unsure(),)))
    estimates = {node.text: node.estimate for node in group.tree.nodes}
    assert (estimates["y\n"], estimates["c"], estimates["a"]) == (0.5, 0.5, 0.0)
