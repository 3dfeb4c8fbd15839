"""A search equals the naive one node by node, spends what its limits say, and is a function of the engine's answers."""

import asyncio
import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Context
from selftaught.core.errors import NoAnswer
from selftaught.curation.step_pairs import StepPairs
from selftaught.curation.step_values import StepValues
from selftaught.curation.tree_traces import TreeTraces
from selftaught.search.backup import Mean, QValue, VisitMean
from selftaught.search.searcher import Adaptive, Search
from selftaught.search.selection import DVTS, UCB, UCT, Beam, Greedy, Rebase
from selftaught.search.tree import SearchNode, SearchTree, worth
from selftaught.search.votes import Vote
from tests.search import reference
from tests.search.scripted import TASK, Answering, Right, Rolling, Scripted, opened

SELECTIONS = {
    "ucb": {"type": "ucb", "c": 0.7},
    "uct": {"type": "uct", "c": 0.7},
    "puct": {"type": "puct", "c": 0.7},
    "greedy": {"type": "greedy"},
    "beam": {"type": "beam", "width": 2},
    "dfs": {"type": "dfs"},
    "dvts": {"type": "dvts", "beams": 2},
    "rebase": {"type": "rebase", "width": 6, "temperature": 0.3},
    "best_first": {"type": "best_first"},
}
ASKED = {"c": 0.7, "width": 2, "beams": 2, "T": 0.3, "gamma": 0.9, "depth": 4}


async def searched(model, verifiers=(), **config):
    ctx = context(model, verifiers=verifiers)
    return (await Search.model_validate({"type": "search", **config}).sample(TASK, ctx)).tree


def valued(kind, rollouts):
    """The value of one `kind`; those that make roll-outs make them as `rollouts` says."""
    if kind == "weighted":
        parts = [{"value": {"type": "value_model"}}, {"weight": 3, "value": {"type": "outcome"} | rollouts}]
        return {"type": "weighted", "parts": parts}
    return {"type": kind} | ({} if kind == "value_model" else rollouts)


def context(model, **more):
    return Context(models={"policy": model, "value": model}, **more)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    ending=st.sampled_from([0.0, 0.2, 0.6]),
    select=st.sampled_from(sorted(SELECTIONS)),
    backup=st.sampled_from(["visit_mean", "max", "q_value", "mean"]),
    n=st.integers(1, 4),
    iterations=st.integers(1, 25),
    ahead=st.integers(0, 3),
    branch=st.integers(1, 2),
    leaves=st.integers(1, 4),
    prune=st.sampled_from([0.0, 0.3]),
    again=st.sampled_from([{}, {"coverage": 0.2}, {"coverage": 0.9}, {"widening": 0.3}, {"widening": 0.6}]),
    rollout=st.booleans(),
    value=st.sampled_from(["value_model", "outcome", "weighted", "vote"]),
    rollouts=st.integers(1, 4),
    keep=st.sampled_from([True, True, False]),
)
async def test_a_search_equals_the_naive_one(
    seed, ending, select, backup, n, iterations, ahead, branch, leaves, prune, again, rollout, value, rollouts, keep
):
    if backup in {"mean", "q_value"} and value != "value_model":
        value = "weighted"  # two thirds of equal roll-outs tie by the formula, and in floats now and then do not
    letters = "123" if value == "vote" else "abcdef"
    kind = Rolling if rollout else Answering
    model = kind(seed, ending, letters, forgetful=False)
    tree = await searched(
        model,
        (Right(),),
        select=SELECTIONS[select] | ({} if select in reference.FRONTIERS else {"leaves": leaves}),
        expand={"type": "steps", "n": n, "rollout": 64 if rollout else None, **again},
        value=valued(value, {"n": rollouts, "keep": keep}),
        prune=prune,
        backup={"type": backup} | ({"gamma": 0.9} if backup == "q_value" else {}),
        look_ahead={"steps": ahead, "branch": branch} if ahead else None,
        limits={"iterations": iterations, "depth": 4},
    )
    ask = ASKED | {
        "n": n,
        "iterations": iterations,
        "look_ahead": ahead,
        "prune": prune,
        "branch": branch,
        "leaves": leaves,
        "rollout": rollout,
        "value": value,
        "rollouts": rollouts,
        "keep": keep,
    }
    ask |= {"width": 6} if select == "rebase" else {}
    ask |= {"coverage": again.get("coverage"), "alpha": again.get("widening")}
    expected = reference.search(kind(seed, ending, letters, forgetful=False), TASK.question, select, backup, ask)
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


ROOM = 9  # characters of a complete answer, and two of a step: no model here says more


@given(
    seed=st.integers(0, 10_000),
    ending=st.sampled_from([0.0, 0.1, 0.5]),
    letters=st.sampled_from(["1", "12", "123456"]),
    forgetful=st.booleans(),
    select=st.sampled_from(sorted(SELECTIONS)),
    leaves=st.integers(1, 4),
    expand=st.fixed_dictionaries({"n": st.integers(1, 4), "root_n": st.sampled_from([None, 6])}),
    retries=st.integers(0, 2),
    again=st.sampled_from([{}, {"coverage": 0.9}, {"widening": 0.3}, {"widening": 0.9}]),
    value=st.sampled_from(["value_model", "outcome", "weighted", "vote"]),
    rollouts=st.fixed_dictionaries({"n": st.integers(1, 3), "keep": st.booleans()}),
    backup=st.sampled_from(["visit_mean", "mean"]),
    more=st.fixed_dictionaries(
        {
            "look_ahead": st.sampled_from([None, {"steps": 2, "branch": 2}]),
            "adaptive": st.sampled_from([None, {"factor": 20, "most": 6}]),
            "end_gate": st.sampled_from([None, 0.7]),
            "hints": st.sampled_from([None, {"k": 2, "max_tokens": ROOM}]),
        }
    ),
    limits=st.fixed_dictionaries({"depth": st.sampled_from([2, 12])}, optional={"tokens": st.integers(1, 200)}),
    iterations=st.integers(1, 15),
)
async def test_a_search_costs_no_more_than_it_says(
    seed, ending, letters, forgetful, select, leaves, expand, retries, again, value, rollouts, backup, more, limits,
    iterations,
):  # fmt: skip
    search = Search.model_validate(
        {
            "type": "search",
            "select": SELECTIONS[select] | ({} if select in reference.FRONTIERS else {"leaves": leaves}),
            "expand": {"type": "steps", "max_tokens": 2, "retries": retries} | expand | again,
            "value": valued(value, rollouts | {"max_tokens": ROOM}),
            "backup": {"type": backup},
            "limits": ({} if "tokens" in limits else {"iterations": iterations}) | limits,
            "finish": ROOM,
            **more,
        }
    )
    model = Answering(seed, ending, letters, forgetful, room=ROOM)
    tree = (await search.sample(TASK, context(model, verifiers=(Right(),)))).tree
    assert tree.spent.tokens <= search.cost()


@settings(max_examples=50)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), iterations=st.integers(1, 8), prune=st.sampled_from([0, 0.5]))
async def test_every_token_of_a_roll_out_stays_in_the_tree_or_repeats_what_is_there(seed, n, iterations, prune):
    model = Rolling(seed, forgetful=False)
    expand, limits = {"type": "steps", "n": n, "rollout": 8, "merge": None}, {"iterations": iterations, "depth": 3}
    search = Search.model_validate(
        {"type": "search", "expand": expand, "value": {"type": "value_model"}, "prune": prune, "limits": limits}
    )
    tree = (await search.sample(TASK, context(model))).tree
    kept = sum(len(node.token_ids) for node in tree.nodes)
    assert kept == tree.spent.tokens  # nothing is merged here, so nothing may be missing
    assert tree.spent.tokens <= search.cost()
    assert all(tree.text(node.index).count("\n\n") == 0 for node in tree.nodes)


async def test_a_roll_out_goes_along_what_the_tree_has_and_is_one_request():
    model = Rolling(letters="a", forgetful=False)  # whatever it samples begins alike
    expand = {"type": "steps", "n": 12, "rollout": 8}
    tree = await searched(model, expand=expand, limits={"iterations": 1}, value={"type": "constant"})
    assert len(model.asked) == 1
    lines = sorted(tree.text(node.index) for node in tree.nodes if node.terminal)
    assert lines == sorted(set(lines))
    assert len([node for node in tree.nodes if node.parent == 0]) <= 3  # continues, ends, broke off
    assert tree.spent.duplicates > 0


@pytest.mark.parametrize("select", [SELECTIONS["ucb"] | {"leaves": 3}, *(SELECTIONS[each] for each in SELECTIONS)])
async def test_a_search_that_is_not_exhausted_costs_half_of_what_it_says_or_more(select):
    """All shares of rebase may be half a child, each of them rounded up, so there it may be twice the budget."""
    expand = {"type": "steps", "n": 4, "max_tokens": 2, "merge": None}
    limits = {"iterations": 6, "depth": 99}
    search = Search.model_validate(
        {
            "type": "search",
            "select": select,
            "expand": expand,
            "limits": limits,
            "finish": 1,
            "value": {"type": "constant"},
        }
    )
    tree = (await search.sample(TASK, context(Scripted(ending=0.0, forgetful=False)))).tree
    assert search.cost() / 2 <= tree.spent.tokens <= search.cost()


def test_the_longest_request_may_be_a_roll_out():
    value = {
        "type": "weighted",
        "parts": [
            {"value": {"type": "rule", "check": {"type": "equations"}, "then": {"type": "outcome", "max_tokens": 300}}}
        ],
    }
    assert Search.model_validate({"type": "search", "value": value}).longest() == 300


# Roll-outs that are kept --------------------------------------------------------------------------------------------


class Saying(Scripted):
    """Its complete answers are `texts`, its steps the lines of that after what was said; it breaks off after `room`."""

    texts: tuple[str, ...] = ("x\ny\nb",)
    room = 99

    def step(self, text, i, temperature, stops):
        said = self.texts[i % len(self.texts)]
        had = text[text.index(">") + 1 :]
        said = said.removeprefix(had) or "b"
        line = said.splitlines(keepends=True)[0] if stops else said[: self.room]
        ids = tuple(line.encode())
        step = super().step(text, i, temperature, stops)
        return replace(
            step, text=line, token_ids=ids, tokens=tuple(line), logprobs=(-1.0,) * len(ids),
            stop="\n" if stops and line.endswith("\n") else None,
            finish_reason="stop" if line == said or stops else "length",
        )  # fmt: skip


def errors_printed(*texts, room=99):
    model = Saying(forgetful=False)
    model.texts, model.room = texts, room
    return model


OUTCOME = {"type": "outcome", "n": 3}


async def kept(model, **config):
    asked = {"expand": {"type": "steps", "n": 1}, "value": OUTCOME, "limits": {"iterations": 1}} | config
    return await searched(model, (Right(),), **asked)


async def test_a_right_answer_that_only_a_roll_out_came_to_is_the_trees():
    tree = await kept(errors_printed("x\ny\nc", "x\ny\nb", "x\nz\nd"))
    assert [(tree.text(node.index), node.value, node.terminal) for node in tree.nodes[1:]] == [
        ("x\n", pytest.approx(1 / 3), False),
        ("x\ny\n", 0.5, False),
        ("x\nz\n", 0.0, False),
        ("x\ny\nc", 0.0, True),
        ("x\ny\nb", 1.0, True),
        ("x\nz\nd", 0.0, True),
    ]
    assert tree.answer == 5
    assert tree.spent.tokens == 2 + 3 * 3


async def test_roll_outs_that_another_model_made_are_not_the_policys_answers():
    said, other = errors_printed("x\ny\nb"), errors_printed("x\ny\nc")
    other.digest = "e" * 64
    search = Search.model_validate(
        {
            "type": "search",
            "expand": {"type": "steps", "n": 1},
            "value": OUTCOME | {"role": "fast"},
            "limits": {"iterations": 1},
        }
    )
    for models, texts in (
        ({"policy": said, "fast": other}, ["x\n", "y\nb"]),  # the end is the policy's own
        ({"policy": said}, ["x\n", "y\n", "b"]),
    ):
        tree = (await search.sample(TASK, Context(models=models, verifiers=(Right(),)))).tree
        assert [node.text for node in tree.nodes[1:]] == texts


async def test_what_a_roll_out_says_below_the_depth_limit_is_one_last_step():
    tree = await kept(errors_printed("x\ny\nz\nb"), limits={"iterations": 9, "depth": 2})
    assert [node.text for node in tree.nodes[1:]] == ["x\n", "y\n", "z\nb"]


async def test_a_roll_out_that_breaks_off_is_steps_and_no_answer():
    tree = await kept(errors_printed("x\ny\nb", room=2), value=OUTCOME | {"n": 1}, finish=1)
    assert [(node.text, node.terminal) for node in tree.nodes[1:3]] == [("x\n", False), ("y\n", False)]


async def test_a_node_with_as_many_roll_outs_as_children_grows_without_a_request():
    model = errors_printed("x\ny\nc", "x\nz\nd", "x\nw\ne")
    await kept(model, expand={"type": "steps", "n": 3}, limits={"iterations": 1})
    asked = len(model.asked)
    tree = await kept(
        model := errors_printed("x\ny\nc", "x\nz\nd", "x\nw\ne"),
        expand={"type": "steps", "n": 3},
        limits={"iterations": 2},
    )
    assert len(model.asked) == asked
    assert tree.nodes[1].visits == 1


async def test_a_step_that_is_only_like_another_is_dropped_with_what_follows():
    """Nobody said what follows one of them after the other."""
    merge = {"type": "edit_distance", "most": 2}
    tree = await kept(
        errors_printed("x\nyy\nb", "x\nyz\nc"),
        expand={"type": "steps", "n": 1, "merge": merge},
        value=OUTCOME | {"n": 2},
    )
    assert [node.text for node in tree.nodes[1:]] == ["x\n", "yy\n", "b"]
    assert tree.spent.duplicates == 1
    assert tree.nodes[1].value == 0.5


async def test_a_right_answer_of_a_roll_out_solves_the_task():
    tree = await kept(errors_printed("x\ny\nb"), limits={"iterations": 50, "solved": True})
    assert (tree.ended, tree.spent.iterations) == ("solved", 1)


async def test_a_node_whose_context_is_full_is_worth_nothing_and_the_search_continues():
    model = Full(ending=0.0)
    model.room = len(TASK.question) + 1 + 2
    asked = {"expand": {"type": "steps", "n": 2}, "limits": {"iterations": 20}, "finish": 1}
    tree = await kept(model, value=OUTCOME | {"keep": False}, **asked)
    assert tree.ended == "exhausted"
    full = [node for node in tree.nodes[1:] if len(tree.ids(node.index)) > 2]
    assert full
    assert all(node.value == 0 for node in full)


async def test_a_vote_keeps_its_roll_outs_each_with_whether_it_gave_the_voted_answer():
    tree, model = SearchTree(TASK), errors_printed("x\n7", "x\n7", "x\n6")
    tree.prompt_ids = tuple(b"?>")
    (estimate,) = await Vote(n=3).estimates(tree, grown(tree, tree.root, 0.0), context(model))
    assert estimate.value == pytest.approx(2 / 3)
    assert [rollout.worth for rollout in estimate.rollouts] == [1.0, 1.0, 0.0]


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


async def test_a_search_for_a_solution_stops_at_the_first_answer_that_passes():
    model = Scripted(seed=3, ending=0.3)
    ctx = Context(models={"policy": model}, verifiers=(Right(),))
    search = Search.model_validate({"type": "search", "limits": {"iterations": 200, "solved": True}})
    group = await search.sample(TASK, ctx)
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
    ctx = Context(models={"policy": model}, verifiers=(Right(),))
    search = Search.model_validate({"type": "search", "hints": {"k": 2}, **config})
    group = await search.sample(TASK, ctx)
    verdicts = tuple((verdict,) for verdict in await Right().verify(group, ctx))
    return group.model_copy(update={"verdicts": verdicts})


async def test_a_tree_without_a_right_answer_is_helped_by_the_gold_answer():
    group = await hinted(Hinted(ending=0.3), limits={"iterations": 4})
    helped = [rollout for rollout in group.rollouts if rollout.hinted]
    assert [rollout.text for rollout in helped] == ["x\ny\nb"]  # said twice, which is one answer
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
    assert {example.target.type for example in examples} == {"imitate", "prefer", "regress"}
    for example in examples:
        assert "Hint" not in bytes(example.sequences[0][0].token_ids).decode()
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
    assert sum(rollout.hinted for rollout in group.rollouts) == 1  # of two that said the same
    assert group.new_tokens == model.said


class Full(Scripted):
    """An engine whose context holds `room` characters."""

    room = 0

    async def complete(self, prompt, **asked):
        if len(opened(prompt)) > self.room:
            raise NoAnswer(f"maximum context length of {self.room}")
        return await super().complete(prompt, **asked)


async def test_a_path_that_fills_the_context_is_not_resumed_and_the_search_is():
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
        ({"expand": {"type": "steps", "coverage": 0.9, "widening": 0.5}}, "give one of them"),
        ({"expand": {"type": "steps", "unit": "answer", "rollout": 64}}, "leave one of them out"),
        ({"value": {"type": "weighted", "parts": []}}, "at least 1 item"),
    ],
)
def test_a_search_that_cannot_be_is_refused(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Search.model_validate({"type": "search", **config})


def test_adaptive_branching_grows_so_many_children_in_all():
    adaptive = Adaptive(factor=2, most=10)
    assert adaptive.more([0.5, 0.5, 0.5]) == 0
    assert adaptive.more([0.0, 1.0, 1.0]) == 0  # 2 * 2/3 is fewer than there are
    assert adaptive.more([-9.0, 0.0, 9.0]) == 7
    assert Adaptive(factor=6, most=6).more([0.0, 1.0, 1.0]) == 1
    assert Adaptive(factor=6, most=6).more([0.0, 0.0, 0.0, 1.0]) == 0


async def test_verdicts_reach_the_nodes_above_an_answer():
    """A search that knows the verifiers' word grows other nodes than one that knows nothing."""
    trees = []
    for value in ({"type": "verifier"}, {"type": "constant"}):
        ctx = Context(models={"policy": Scripted(6, ending=0.3, letters="abc")}, verifiers=(Right(),))
        search = Search.model_validate({"type": "search", "value": value, "limits": {"iterations": 12}})
        trees.append((await search.sample(TASK, ctx)).tree)
    known, blind = ([node.text for node in tree.nodes] for tree in trees)
    assert known != blind
    inner = [node for node in trees[0].nodes if trees[0].children[node.index]]
    assert any(node.value < 0.5 for node in inner)
    assert any(node.value > 0.5 for node in inner)


async def test_an_answer_that_the_end_gate_finished_may_solve_the_task():
    asked = {"end_gate": 0.0, "limits": {"iterations": 20, "solved": True}, "value": {"type": "constant"}}

    class Ends(Hinted):
        def step(self, text, i, temperature, stops):
            step = super().step(text, i, temperature, stops)
            return step if stops else replace(step, text="b")

    ctx = Context(models={"policy": Ends(ending=0.0)}, verifiers=(Right(),))
    group = await Search.model_validate({"type": "search", **asked}).sample(TASK, ctx)
    assert group.tree.ended == "solved"
    assert [rollout.text.endswith("b") for rollout in group.rollouts] == [True]
    (answer,) = group.rollouts
    assert [node.visits for node in group.tree.path(answer.index)[:-1]] == [1]


class Straight(Scripted):
    """Says x, y, and then answers b: the same to everyone who asks."""

    def step(self, text, i, temperature, stops):
        said = {">": "x\n", "x\n": "y\n"}.get(text[text.rindex(">") :].lstrip(">") or ">", "b")
        step = super().step(text, i, temperature, stops)
        ids = tuple(said.encode())
        return replace(
            step,
            text=said,
            stop=None if said == "b" else "\n",
            token_ids=ids,
            tokens=tuple(said),
            logprobs=(-1.0,) * len(ids),
        )


async def test_an_answer_that_a_look_ahead_came_to_is_the_trees():
    asked = {"expand": {"type": "steps", "n": 1}, "value": {"type": "constant"}, "look_ahead": {"steps": 3}}
    ctx = Context(models={"policy": (model := Straight())}, verifiers=(Right(),))
    search = Search.model_validate({"type": "search", **asked, "limits": {"iterations": 9, "solved": True}})
    group = await search.sample(TASK, ctx)
    assert (group.tree.ended, group.tree.spent.iterations) == ("solved", 1)
    assert [rollout.text for rollout in group.rollouts] == ["x\ny\nb"]
    assert len(model.asked) == 3
    search = Search.model_validate({"type": "search", **asked, "limits": {"iterations": 9}})
    group = await search.sample(TASK, Context(models={"policy": (model := Straight())}))
    assert (group.tree.ended, group.tree.spent.duplicates) == ("exhausted", 0)
    assert len(model.asked) == 3  # its steps are children enough


async def test_a_look_ahead_ends_at_a_step_that_is_pruned_and_at_the_depth_limit():
    asked = {"expand": {"type": "steps", "n": 1}, "look_ahead": {"steps": 9}, "finish": 1}
    low = {"value": {"type": "constant", "value": 0.1}, "prune": 0.2, "limits": {"iterations": 1}}
    tree = await searched(Scripted(ending=0.0), **asked, **low)
    assert len([node for node in tree.nodes if not node.terminal]) == 2
    tree = await searched(
        Scripted(ending=0.0), **asked, value={"type": "constant"}, limits={"iterations": 1, "depth": 4}
    )
    assert max(len(tree.path(node.index)) for node in tree.nodes if not node.terminal) == 4


async def test_a_look_ahead_that_fills_the_context_ends_there():
    model = Full(ending=0.0)
    model.room = len(TASK.question) + 1 + 4
    tree = await searched(
        model, value={"type": "constant"}, look_ahead={"steps": 9}, expand={"type": "steps", "n": 1}, finish=1
    )
    assert tree.ended == "exhausted"
    assert [len(tree.ids(node.index)) for node in tree.nodes] == [0, 2, 4, 6]


async def test_a_policy_that_answers_in_one_line_is_asked_for_more_answers_under_widening():
    """Without it, its tree ends with the root's first children (`test_a_tree_of_which_all_paths_have_ended…`)."""
    expand = {"type": "steps", "n": 2, "widening": 0.5, "merge": None}
    asked = {"expand": expand, "value": {"type": "constant"}, "limits": {"iterations": 9}}
    sizes = []
    for iterations in range(1, 10):
        tree = await searched(Scripted(ending=1.0, forgetful=False), **asked | {"limits": {"iterations": iterations}})
        sizes.append(len(tree.nodes) - 1)
    assert tree.ended == "iterations"
    assert sizes == [2, 3, 4, 5, 6, 7, 8, 9, 10]  # ceil(2 sqrt(N)) is 2, 3, 4, 4, 5, …: all are done with, so one more


@pytest.mark.parametrize(("widening", "children"), [(0.5, [2, 3, 4, 4, 5, 5, 6, 6]), (0.25, [2, 3, 3, 3, 3, 4, 4, 4])])
async def test_a_node_has_so_many_children_by_its_nth_visit(widening, children):
    expand = {"type": "steps", "n": 2, "widening": widening, "merge": None}
    found = []
    for visits in range(1, 9):
        limits = {"iterations": visits, "depth": 99}
        tree = await searched(
            Scripted(ending=0.0, forgetful=False), expand=expand, value={"type": "constant"}, limits=limits
        )
        assert tree.nodes[0].visits == visits
        found.append(len(tree.children[0]))
    assert found == children


async def test_widening_ends_where_nothing_new_comes():
    expand = {"type": "steps", "n": 2, "widening": 0.5}
    tree = await searched(Scripted(ending=1.0, letters="a"), expand=expand, limits={"nodes": 50})
    assert (tree.ended, len(tree.nodes), tree.spent.duplicates) == ("exhausted", 2, 3)


@pytest.mark.parametrize("select", [{"type": "beam", "width": 3}, {"type": "ucb", "leaves": 3}])
async def test_nodes_that_are_chosen_together_grow_at_once_and_stand_in_their_order(select):
    """The node that is asked about first answers last."""

    class Slow(Scripted):
        at_once = most = 0

        async def complete(self, prompt, **asked):
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            for _ in range(100 - len(self.asked)):
                await asyncio.sleep(0)
            self.at_once -= 1
            return await super().complete(prompt, **asked)

    asked = {
        "select": select,
        "value": {"type": "value_model"},
        "limits": {"iterations": 4, "depth": 6},
    }
    slow = Slow(seed=2, ending=0.1)
    tree = await searched(slow, **asked)
    assert slow.most == 3
    assert [node.text for node in tree.nodes] == [
        node.text for node in (await searched(Scripted(seed=2, ending=0.1), **asked)).nodes
    ]


async def test_a_hinted_answer_resumes_from_the_steps_that_the_search_found():
    class Alike(Hinted):
        """Its own answers begin as the hinted ones do, and are wrong."""

        def step(self, text, i, temperature, stops):
            step = super().step(text, i, temperature, stops)
            if HINT in text:
                return step
            said, stop = ("x\n", "\n") if text.endswith(">") else ("a", None)
            ids = tuple(said.encode())
            return replace(step, text=said, stop=stop, token_ids=ids, tokens=tuple(said), logprobs=(-1.0,) * len(ids))

    group = await hinted(Alike(), expand={"type": "steps", "n": 1}, limits={"iterations": 3})
    tree = group.tree
    assert [node.text for node in tree.nodes[1:]] == ["x\n", "a", "y\n", "b"]
    assert [node.hinted for node in tree.nodes[1:]] == [False, False, True, True]
    (value,) = [each for each in StepValues(minimum=0).curate([group], 0) if each.completion[0].content == "x\n"]
    assert value.regress.label == pytest.approx(1 / 3)
    assert value.regress.right


async def test_hinted_answers_that_the_check_fails_are_left_out():
    for least, kept in ((5, 1), (6, 0)):
        check = {"type": "rules", "min_chars": least}
        group = await hinted(Hinted(ending=0.3), hints={"k": 2, "check": check}, limits={"iterations": 4})
        assert sum(rollout.hinted for rollout in group.rollouts) == kept


# Back-up --------------------------------------------------------------------------------------------------------------


def grown(tree, parent, *estimates, ended=False):
    """Children of `parent` with `estimates`; they end their answers where it is said."""
    step = Scripted(ending=1.0 if ended else 0.0).step("?", 0, 1.0, True)
    children = [tree.add(parent, step) for _ in estimates]
    parent.expanded = True
    for child, estimate in zip(children, estimates, strict=True):
        child.estimate = child.value = estimate
    return children


def test_an_answer_counts_once_in_the_mean_over_visits():
    tree = SearchTree(TASK)
    (node,) = grown(tree, tree.root, 0.5)
    grown(tree, tree.root, 0.0, 1.0, ended=True)
    VisitMean().back_up(tree.root)
    assert tree.root.value == 0.5
    grown(tree, node, 0.0, 0.0, ended=True)
    VisitMean().back_up(node)
    assert (node.value, tree.root.value) == (0.0, pytest.approx(1 / 3))


def test_a_running_mean_begins_with_the_nodes_own_value():
    tree = SearchTree(TASK)
    (node,) = grown(tree, tree.root, 0.8)
    Mean().back_up(tree.root)
    grown(tree, node, 0.2, 0.1)
    Mean().back_up(node)
    assert (node.value, node.visits) == (pytest.approx(1.1 / 3), 3)
    assert [child.visits for child in node.children] == [1, 1]
    assert (tree.root.value, tree.root.visits) == (pytest.approx(1.1 / 4), 4)


def test_the_answer_of_a_deeper_parent_is_compared_by_what_it_is_worth():
    """By the gain over its parent, the shallow one would be stood by."""
    tree = SearchTree(TASK)
    (deep,) = grown(tree, tree.root, 0.68)
    (shallow,) = grown(tree, tree.root, 0.38, ended=True)
    QValue().back_up(tree.root)
    (answer,) = grown(tree, deep, 0.90, ended=True)
    QValue().back_up(deep)
    assert max(tree.terminals(), key=worth) is answer
    assert (shallow.value, answer.value, deep.value) == (0.38, 0.90, pytest.approx(0.90))
    assert tree.root.value == pytest.approx((0.90 + 0.38) / 2)


def test_a_beam_is_of_what_can_grow():
    """An answer that ended takes no slot in it; a layer without anything to grow gives way to the one above."""
    tree = SearchTree(TASK)
    *_, third = grown(tree, tree.root, 0.9, 0.8, 0.1)
    tree.root.grown = True
    first, second = Beam(width=2).choose(tree)
    grown(tree, first, 0.9, ended=True)
    (under,) = grown(tree, second, 0.3)
    first.grown = second.grown = True
    first.close_if_done()
    assert Beam(width=2).choose(tree) == [under]
    under.closed = True
    second.close_if_done()
    assert Beam(width=2).choose(tree) == [third]


def test_rebase_shares_what_is_left_of_its_width_by_the_softmax_of_values():
    """exp(.9 / .2), exp(.5 / .2), exp(.1 / .2) are .867, .117 and .016 of their sum."""
    tree = SearchTree(TASK)
    select = Rebase(width=10, temperature=0.2)
    assert (select.choose(tree), select.children(tree, [tree.root])) == ([tree.root], [10])
    good, fair, _ = grown(tree, tree.root, 0.9, 0.5, 0.1)
    tree.root.grown = True
    assert select.choose(tree) == [good, fair]
    assert select.children(tree, [good, fair]) == [9, 1]
    grown(tree, tree.root, *[1.0] * 9, ended=True)  # of ten paths nine have ended
    assert (select.choose(tree), select.children(tree, [good])) == ([good], [1])
    grown(tree, good, 0.0, ended=True)
    assert select.choose(tree) == []


async def test_rebase_keeps_its_shares_where_the_end_gate_takes_nodes_of_the_layer():
    """Of ten, nine go to the step of .9 and one to that of .5; the gate takes the first, the other still has one."""

    class Valued(Scripted):
        def value(self, text):
            return {"a": 0.9, "b": 0.5, "c": 0.1}[text[text.index(">") + 1]]

    tree = await searched(
        Valued(ending=0.0, letters="abc", forgetful=False),
        select={"type": "rebase", "width": 10, "temperature": 0.2},
        value={"type": "value_model"},
        end_gate=0.85,
        limits={"iterations": 2},
    )
    assert {tree.nodes[i].text: len(tree.children[i]) for i in tree.children[0]} == {"a\n": 1, "b\n": 1, "c\n": 0}


def test_rebase_of_many_nodes_that_all_round_to_none_grows_the_best():
    tree = SearchTree(TASK)
    first, *_ = grown(tree, tree.root, 0.6, 0.5, 0.5, 0.5, 0.5)
    tree.root.grown = True
    select = Rebase(width=2, temperature=100)
    assert (select.choose(tree), select.children(tree, [first])) == ([first], [1])


@pytest.mark.parametrize(("width", "shares"), [(4, [1, 1, 1]), (5, [2, 2, 2])])
def test_rebase_rounds_each_share_on_its_own(width, shares):
    """The paper's formula; its code's ceilings of what is left would be 2, 1, 1 and 2, 2, 1."""
    tree = SearchTree(TASK)
    layer = grown(tree, tree.root, 0.5, 0.5, 0.5)
    tree.root.grown = True
    select = Rebase(width=width)
    assert select.children(tree, select.choose(tree)) == shares
    assert select.choose(tree) == list(layer)


def test_the_beams_of_dvts_know_nothing_of_each_other():
    """Of the root's four children two are the better ones and of one beam: the other beam grows its own best."""
    tree = SearchTree(TASK)
    a, b, c, d = grown(tree, tree.root, 0.9, 0.2, 0.8, 0.1)
    tree.root.grown = True
    select = DVTS(beams=2)
    assert select.choose(tree) == [a, b]
    (under,) = grown(tree, a, 0.05)
    grown(tree, b, 0.3, ended=True)
    a.grown = b.grown = True
    b.close_if_done()
    assert select.choose(tree) == [under, d]  # a's step, poor as it is; b has answered, so its beam continues elsewhere
    under.closed = True
    a.close_if_done()
    assert select.choose(tree) == [c, d]


def test_a_walk_that_is_under_way_is_a_loss_to_the_next_one_and_to_none_later():
    """.9 once more and lost is .45, below .6; .6 is then .3; the third leaf is the last one that is open."""
    tree = SearchTree(TASK)
    good, fair, poor = grown(tree, tree.root, 0.9, 0.6, 0.1)
    (last,) = grown(tree, good, 0.5)
    tree.root.grown = good.grown = True
    tree.root.visits = good.visits = 1
    assert Greedy(leaves=3).choose(tree) == [last, fair, poor]
    assert Greedy(leaves=9).choose(tree) == [last, fair, poor]
    assert Greedy(leaves=1).choose(tree) == [last]
    assert [(node.visits, node.value) for node in tree.nodes] == [(1, 0.0), (1, 0.9), (0, 0.6), (0, 0.1), (0, 0.5)]
    (more, _) = grown(tree, good, 0.4, 0.3)
    assert Greedy(leaves=3).choose(tree) == [
        last,
        fair,
        more,
    ]  # 0.9 / 2 is less than 0.6, and more than 0.6 / 2 and 0.1
    assert UCB(c=1).choose(tree) == [fair]


@pytest.mark.parametrize(
    ("score", "expected"), [(UCB(c=1).score, 0.5 + math.sqrt(2 * math.log(4))), (UCT(c=1).score, 1.677)]
)
def test_a_visited_child_scores_as_the_papers_say(score, expected):
    parent, child = SearchNode(0, visits=4), SearchNode(1, value=0.5, visits=1)
    assert score(child, parent) == pytest.approx(expected, abs=1e-3)
