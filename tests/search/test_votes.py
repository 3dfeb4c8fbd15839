"""A vote values steps as a count by hand does, without a look at the gold answer."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Context
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchTree
from selftaught.search.votes import Vote
from tests.search.scripted import TASK, Scripted


def sketched(tree, model, count, *, ending):
    """Children of the root, of which those in `ending` end their answers."""
    made = []
    for i in range(count):
        step = model.step("?", i, 1.0, True)
        digit = step.text[0]
        step = replace(step, text=f"{digit}\n", token_ids=tuple(f"{digit}\n".encode()), stop="\n")
        made.append(tree.sketch(tree.root, replace(step, stop=None) if i in ending else step))
    return made


@given(seed=st.integers(0, 999), count=st.integers(1, 4), ending=st.sets(st.integers(0, 3)), n=st.integers(1, 5))
async def test_a_step_is_worth_its_share_of_the_voted_answer(seed, count, ending, n):
    model = Scripted(seed, letters="123")
    tree = SearchTree(TASK)
    nodes = sketched(tree, model, count, ending=ending)
    given = await Vote(n=n).values(tree, nodes, Context(models={"policy": model}))
    comes_to = [
        [node.text[0]]
        if node.terminal
        else [each.text[-1] for each in Scripted(seed, letters="123").steps(node.text, n, 1.0, False)]
        for node in nodes
    ]
    votes = Counter(answer for answers in comes_to for answer in answers)  # in order: most_common keeps it
    ((voted, _),) = votes.most_common(1)
    assert given == pytest.approx([answers.count(voted) / len(answers) for answers in comes_to])
    assert tree.tally.tokens == sum(n for node in nodes if not node.terminal)
    completed = [node for node in nodes if not node.terminal]
    assert tree.tally.value_calls == len(completed)
    assert tree.tally.prefill_tokens == sum(len(node.ids()) for node in completed)  # the prompt is not known yet


async def test_answers_that_the_tree_has_vote():
    """Two sixes in the tree outvote one seven that a step comes to."""
    model = Scripted(letters="7")
    tree = SearchTree(TASK)
    for said in ("6", "1\n6"):
        tree.add(tree.root, replace(model.step("?", 0, 1.0, False), text=said))
    (node,) = sketched(tree, model, 1, ending=())
    assert await Vote(n=1).values(tree, [node], Context(models={"policy": model})) == [0.0]
    assert await Vote(n=3).values(tree, [node], Context(models={"policy": model})) == [1.0]


async def test_a_vote_knows_no_gold_answer():
    trees = []
    for answer in ("2", "3", None):
        search = Search.model_validate({"type": "search", "value": {"type": "vote"}, "limits": {"iterations": 6}})
        task = TASK.model_copy(update={"answer": answer})
        trees.append((await search.sample(task, Context(models={"policy": Scripted(3, letters="123")}))).tree)
    items = [[(node.text, node.value) for node in tree.nodes] for tree in trees]
    assert items[0] == items[1] == items[2]
    assert len({value for _, value in items[0]}) > 2


async def test_where_nothing_is_answered_no_step_is_worth_anything():
    class Cut(Scripted):
        def step(self, text, i, temperature, stops):
            step = super().step(text, i, temperature, stops)
            return step if stops else replace(step, finish_reason="length")

    tree = SearchTree(TASK)
    model = Cut(letters="123")
    nodes = sketched(tree, model, 2, ending=())
    assert await Vote(n=3).values(tree, nodes, Context(models={"policy": model})) == [0.0, 0.0]
