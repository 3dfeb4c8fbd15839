"""A search equals the naive one node by node, spends what its limits say, and is a function of the engine's answers."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Context, Verifier
from selftaught.curation.step_pairs import StepPairs
from selftaught.curation.step_values import StepValues
from selftaught.curation.tree_traces import TreeTraces
from selftaught.errors import NoAnswer
from selftaught.records import Verdict
from selftaught.search.searcher import Adaptive, Search
from tests.search import reference
from tests.search.scripted import TASK, Scripted, opened

SELECTIONS = {
    "ucb": {"type": "ucb", "c": 0.7},
    "uct": {"type": "uct", "c": 0.7},
    "puct": {"type": "puct", "c": 0.7},
    "greedy": {"type": "greedy"},
    "beam": {"type": "beam", "width": 2},
    "dfs": {"type": "dfs"},
    "best_first": {"type": "best_first"},
}
ASKED = {"c": 0.7, "width": 2, "gamma": 0.9, "depth": 4}


async def searched(model, **config):
    return (await Search.model_validate({"type": "search", **config}).sample(TASK, context(model))).tree


def context(model, **more):
    return Context(models={"policy": model, "value": model, **more})


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    ending=st.sampled_from([0.0, 0.2, 0.6]),
    select=st.sampled_from(sorted(SELECTIONS)),
    backup=st.sampled_from(["visit_mean", "max", "q_value", "mean"]),
    n=st.integers(1, 4),
    iterations=st.integers(1, 25),
    ahead=st.integers(0, 3),
    prune=st.sampled_from([0.0, 0.3]),
    coverage=st.sampled_from([None, 0.2, 0.9]),
)
async def test_a_search_equals_the_naive_one(seed, ending, select, backup, n, iterations, ahead, prune, coverage):
    model = Scripted(seed, ending, forgetful=False)
    tree = await searched(
        model,
        select=SELECTIONS[select],
        expand={"type": "steps", "n": n, "coverage": coverage},
        value={"type": "value_model"},
        prune=prune,
        backup={"type": backup} | ({"gamma": 0.9} if backup == "q_value" else {}),
        look_ahead={"steps": ahead} if ahead else None,
        limits={"iterations": iterations, "depth": 4},
    )
    ask = ASKED | {"n": n, "iterations": iterations, "look_ahead": ahead, "prune": prune, "coverage": coverage}
    expected = reference.search(Scripted(seed, ending, forgetful=False), TASK.question, select, backup, ask)
    grown = tree.nodes[: len(expected)]  # a tree without an answer is finished by one node more
    assert [node.text for node in grown] == [each["text"] for each in expected]
    assert [node.visits for node in grown] == [each["N"] for each in expected]
    assert [node.value for node in grown] == pytest.approx([each["V"] for each in expected])
    assert [node.estimate for node in grown] == pytest.approx([each["est"] for each in expected])
    assert len(tree.nodes) - len(expected) == (not any(each["terminal"] for each in expected))


@pytest.mark.parametrize(
    ("limits", "ended"),
    [
        ({"iterations": 3}, "iterations"),
        ({"nodes": 7}, "nodes"),
        ({"tokens": 11}, "tokens"),
        ({"seconds": 1e-9}, "seconds"),
    ],
)
async def test_a_search_ends_at_the_first_iteration_that_reaches_a_limit(limits, ended):
    tree = await searched(Scripted(ending=0.0), value={"type": "value_model"}, limits=limits)
    assert tree.ended == ended
    grown = [node for node in tree.nodes[1:] if not node.terminal]
    spent = {"iterations": tree.spent.iterations, "nodes": len(grown), "tokens": tree.spent.tokens}
    each = {"iterations": 1, "nodes": 3, "tokens": 6}
    if ended != "seconds":
        assert limits[ended] <= spent[ended] < limits[ended] + each[ended] + 1  # the answer's one token comes on top


async def test_a_tree_of_which_all_paths_have_ended_is_exhausted():
    tree = await searched(Scripted(ending=1.0), limits={"iterations": 50})
    assert tree.ended == "exhausted"
    assert tree.spent.iterations == 1
    assert all(node.terminal for node in tree.nodes[1:])


async def test_what_a_search_spent_is_what_it_asked_for():
    model = Scripted(letters="ab", ending=0.0)
    tree = await searched(model, expand={"type": "steps", "n": 4}, limits={"iterations": 5, "depth": 3})
    assert tree.spent.duplicates == 5 * 4 - len([node for node in tree.nodes[1:] if not node.terminal])
    assert tree.spent.tokens == 5 * 4 * 2 + 1
    assert tree.spent.value_calls == len([node for node in tree.nodes[1:] if not node.terminal])


async def test_the_paths_of_a_tree_are_the_engines_own_tokens():
    model = Scripted(ending=0.2)
    group = await Search.model_validate({"limits": {"iterations": 12}, "type": "search"}).sample(TASK, context(model))
    for rollout in group.rollouts:
        assert bytes(rollout.turns[0].token_ids).decode() == rollout.text == group.tree.text(rollout.index)
        assert len(rollout.turns[0].logprobs) == len(rollout.turns[0].token_ids)


class Right(Verifier):
    async def verify(self, group, context):
        return [Verdict.of("right", rollout.text.endswith("b")) for rollout in group.rollouts]


async def test_a_search_for_a_solution_stops_at_the_first_answer_that_passes():
    model = Scripted(seed=3, ending=0.3)
    place = Context(models={"policy": model}, verifiers=(Right(),))
    search = Search.model_validate({"type": "search", "limits": {"iterations": 200, "solved": True}})
    group = await search.sample(TASK, place)
    assert group.tree.ended == "solved"
    right = [node for node in group.tree.nodes if node.terminal and group.tree.text(node.index).endswith("b")]
    last = group.tree.nodes[-1]
    assert right and all(node.parent == last.parent for node in right)


@pytest.mark.parametrize("mode", ["simple", "full"])
async def test_a_node_that_is_good_enough_is_answered_from_and_not_grown(mode):
    tree = await searched(
        Scripted(ending=0.0), value={"type": "value_model"}, end_gate=0.5, mode=mode, limits={"iterations": 8}
    )
    good = [node for node in tree.nodes if tree.children[node.index] and node.index and node.estimate >= 0.5]
    for node in good:
        (only,) = tree.children[node.index]
        assert tree.nodes[only].terminal and tree.nodes[only].value == node.estimate
    assert good
    assert (tree.ended == "gate") == (mode == "simple")
    assert len(good) == 1 or mode == "full"


HINT = "Hint: the answer is 2"


class Hinted(Scripted):
    """Right, in three steps, when it is shown the answer; never else."""

    def step(self, text, i, temperature, stops):
        step = super().step(text, i, temperature, stops)
        if HINT not in text:
            return replace(step, text=step.text.replace("b", "a"))
        said = "x\ny\nb"
        return replace(step, text=said, token_ids=tuple(said.encode()), tokens=tuple(said), logprobs=(-1.0,) * 5)


async def hinted(model, **config):
    """The verified group of a search that gets `k: 2` hinted answers where it finds none that is right."""
    place = Context(models={"policy": model}, verifiers=(Right(),))
    search = Search.model_validate({"type": "search", "hints": {"k": 2}, **config})
    group = await search.sample(TASK, place)
    verdicts = tuple((verdict,) for verdict in await Right().verify(group, place))
    return group.model_copy(update={"verdicts": verdicts})


async def test_a_tree_without_a_right_answer_is_helped_by_the_gold_answer():
    group = await hinted(Hinted(ending=0.3), limits={"iterations": 4})
    helped = [rollout for rollout in group.rollouts if rollout.hinted]
    assert [rollout.text for rollout in helped] == ["x\ny\nb"] * 2
    path = group.tree.path(helped[0].index)
    assert [node.text for node in path] == ["x\n", "y\n", "b"]
    assert all(node.hinted for node in path)
    assert not any(group.tree.nodes[r.index].hinted for r in group.rollouts if not r.hinted)


@given(seed=st.integers(0, 1000), ending=st.sampled_from([0.0, 0.3, 1.0]), mode=st.sampled_from(["value", "visits"]))
async def test_a_search_never_stands_by_an_answer_that_it_got_with_the_hint(seed, ending, mode):
    """With `ending` 1 all other answers are children of the root, whose paths of visits a longer path would beat."""
    group = await hinted(Hinted(seed, ending), answer=mode, limits={"iterations": 3})
    assert any(rollout.hinted for rollout in group.rollouts)
    assert group.tree.answer >= 0
    assert not group.tree.nodes[group.tree.answer].hinted


async def test_the_hint_is_in_no_prompt_that_is_trained_on():
    group = await hinted(Hinted(ending=0.3), limits={"iterations": 4})
    assert bytes(group.tree.prompt_ids).decode() == TASK.question + ">"
    assert {rollout.prompt_tokens for rollout in group.rollouts} == {len(TASK.question) + 1}
    examples = [
        example
        for curator in (StepPairs(minimum=0), StepValues(minimum=0), TreeTraces(minimum=0, hinted=True))
        for example in curator.curate([group], seed=0)
    ]
    assert {example.kind for example in examples} == {"pair", "value", "completion"}
    for example in examples:
        assert "Hint" not in bytes(example.prompt_ids).decode()
        assert "Hint" not in "".join(message.content for message in example.prompt)


@pytest.mark.parametrize("ending", [0.0, 0.3, 1.0])
async def test_the_tokens_of_every_hinted_answer_count(ending):
    """What a search spent is what the model was made to say, so that equal budgets are equal."""

    class Counting(Hinted):
        said = 0

        async def complete(self, prompt, **asked):
            steps = await super().complete(prompt, **asked)
            self.said += sum(len(step.token_ids) for step in steps)
            return steps

    model = Counting(ending=ending)
    group = await hinted(model, limits={"iterations": 3})
    assert sum(rollout.hinted for rollout in group.rollouts) == 2
    assert group.new_tokens == model.said


class Full(Scripted):
    """An engine whose context holds `room` characters."""

    room = 0

    async def complete(self, prompt, **asked):
        if len(opened(prompt)) > self.room:
            raise NoAnswer(f"maximum context length of {self.room}")
        return await super().complete(prompt, **asked)


async def test_a_path_that_fills_the_context_is_not_gone_on_with_and_the_search_is():
    model = Full(ending=0.0)
    model.room = len(TASK.question) + 1 + 4
    tree = await searched(model, value={"type": "value_model"}, limits={"iterations": 100, "depth": 12}, finish=1)
    assert tree.ended == "exhausted"
    assert {len(tree.ids(node.index)) for node in tree.nodes if not tree.children[node.index]} == {6}
    assert tree.answer == -1


async def test_a_task_that_does_not_fit_is_no_failed_tree_but_no_answer():
    with pytest.raises(NoAnswer, match="maximum context length"):
        await searched(Full())


async def test_a_hint_that_does_not_fit_is_left_out():
    model = Full(ending=1.0, letters="a")
    model.room = len(TASK.question) + 1 + 6
    group = await hinted(model, limits={"iterations": 2})
    assert group.rollouts and not any(rollout.hinted for rollout in group.rollouts)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_a_value_that_is_no_number_fails_the_tree_and_keeps_what_it_has(value):
    class Broken(Scripted):
        def value(self, text):
            return value if len(text) > 24 else 0.5

    model = Broken(ending=0.2)
    tree = await searched(model, value={"type": "value_model"}, limits={"iterations": 20})
    assert tree.ended == "failed"
    assert f"the value model gave {value}" in tree.error
    assert len(tree.nodes) > 3


async def test_an_engine_that_says_nothing_ends_the_search():
    class Silent(Scripted):
        def step(self, text, i, temperature, stops):
            nothing = replace(super().step(text, i, temperature, stops), text="", token_ids=(), tokens=(), logprobs=())
            return replace(nothing, stop="\n" if stops else None)

    tree = await searched(Silent(), limits={"iterations": 5})
    assert (tree.ended, tree.spent.empty, tree.spent.iterations) == ("exhausted", 3, 1)


async def test_a_policy_that_never_ends_a_step_is_cut_off_and_counted():
    class Endless(Scripted):
        def step(self, text, i, temperature, stops):
            return replace(super().step(text, i, temperature, stops), stop=None, finish_reason="length")

    tree = await searched(Endless(), limits={"iterations": 40, "depth": 3})
    assert tree.ended in {"exhausted", "iterations"}
    assert max(len(tree.path(node.index)) for node in tree.nodes if not node.terminal) == 3
    assert tree.spent.truncated >= tree.spent.iterations
    assert tree.answer > 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"limits": {"iterations": None}}, "a search would not end"),
        ({"limits": {"iterations": 0}}, "greater than 0"),
        ({"limits": {"tokens": 0}}, "greater than 0"),
        ({"expand": {"type": "steps", "n": 0}}, "greater than 0"),
        ({"hints": {"prompt": "Try."}}, "does not contain {answer}"),
        ({"value": {"type": "weighted", "parts": []}}, "at least 1 item"),
    ],
)
def test_a_search_that_cannot_be_is_refused(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Search.model_validate({"type": "search", **config})


def test_adaptive_branching_adds_children_where_their_values_differ():
    adaptive = Adaptive(factor=2, most=10)
    assert adaptive.more([0.5, 0.5, 0.5]) == 0
    assert adaptive.more([0.0, 0.0, 0.9]) == 1  # 2 * |0.9 - 0.3| = 1.2
    assert adaptive.more([-9.0, 0.0, 9.0]) == 10
