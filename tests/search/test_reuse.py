"""A search that resumes from an earlier round's tree: as if it had never stopped, with nothing that is not its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Completion, Context, Earlier
from selftaught.curation.by_effort import effort
from selftaught.records import Group, Message, Task, Tree
from selftaught.search.control import Controlled
from selftaught.search.outcomes import outcomes
from selftaught.search.searcher import Search
from tests.search import reference
from tests.search.scripted import TASK, Right, Rolling, Scripted, opened
from tests.search.test_searcher import SELECTIONS, valued

DIGEST = "7" * 64
OTHER = Task(messages=(Message(role="user", content="What is 2 + 2?"),), answer="4", source="test")


class Policy(Rolling):
    """Gives further steps, or roll-outs, when it is asked again; what is greedy is the same letter each time."""

    def __init__(self, seed: int = 0, ending: float = 0.3, **fields: object) -> None:
        super().__init__(seed, ending, forgetful=False, **fields)

    async def complete(self, prompt, *, n=1, temperature=1.0, max_tokens=256, stop=()) -> list[Completion]:
        if temperature:
            return await super().complete(prompt, n=n, temperature=temperature, max_tokens=max_tokens, stop=stop)
        return [self.step(opened(prompt), i, temperature, False) for i in range(n)]

    def step(self, text: str, i: int, temperature: float, stops: bool) -> Completion:
        kind = Scripted if stops or not temperature else Rolling
        return kind.step(self, text, i, temperature, stops)


class Moved(Policy):
    """Another value model."""

    def value(self, text: str) -> float:
        return super().value(f"{text} again")


class Dated(Policy):
    """Its template tells another date than the one of the day before."""

    async def complete(self, prompt, **asked) -> list[Completion]:
        first = isinstance(prompt[0], Message)
        return await super().complete([*prompt[:-1], _dated(prompt[-1])] if first else prompt, **asked)


def _dated(message: Message) -> Message:
    return message.model_copy(update={"content": f"Today is Monday. {message.content}"})


def search(**fields: object) -> Search:
    given = {"type": "search", "reuse": True, "control": 0.0, "value": {"type": "value_model"}}
    return Search.model_validate(given | {"limits": {"iterations": 4, "depth": 4}} | fields)


def context(policy: Scripted, value: Scripted | None = None) -> Context:
    return Context(models={"policy": policy, "value": value or policy}, verifiers=(Right(),))


async def grown(policy: Scripted, **fields: object) -> Group:
    """What a round keeps of the task: it has been a row since."""
    group = await search(**fields).sample(TASK, context(policy))
    return Group.from_row(group.to_row())


async def gone_on(
    group: Group, policy: Scripted, judge: Scripted | None = None, *, valued: bool = True, **fields: object
) -> Group:
    had = {group.id: Earlier(trees=DIGEST, group=group, valued=valued)}
    return await search(**fields).in_round([TASK], 0, 2048, had).sample(TASK, context(policy, judge))


def own(tree: Tree) -> list[dict[str, object]]:
    """The nodes that the search grew, with all that is known of them but their values."""
    assert tree.growth
    return [node.model_dump(exclude={"value", "estimate"}) for node in tree.nodes[: tree.growth.nodes]]


def values(tree: Tree) -> list[float]:
    assert tree.growth
    return [number for node in tree.nodes[: tree.growth.nodes] for number in (node.value, node.estimate)]


AGAIN = [{}, {"coverage": 0.2}, {"coverage": 0.9}, {"widening": 0.3}, {"widening": 0.6}]
AGAIN += [{**again, "rollout": 64} for again in AGAIN]
shapes = st.fixed_dictionaries(
    {
        "select": st.sampled_from(sorted(SELECTIONS)),
        "backup": st.sampled_from(["visit_mean", "max", "q_value", "mean"]),
        "n": st.integers(1, 4),
        "leaves": st.integers(1, 3),
        "prune": st.sampled_from([0.0, 0.3]),
        "end_gate": st.sampled_from([None, 0.8]),
        "again": st.sampled_from(AGAIN),
        "adaptive": st.sampled_from([None, {"factor": 6.0}]),
    }
)


def settled(shape: dict) -> dict[str, object]:
    """The fields of the search that `shape` says."""
    leaves = {} if shape["select"] in reference.FRONTIERS else {"leaves": shape["leaves"]}
    return {
        "select": SELECTIONS[shape["select"]] | leaves,
        "backup": {"type": shape["backup"]},
        "expand": {"type": "steps", "n": shape["n"], **shape["again"]},
        **{name: shape[name] for name in ("prune", "end_gate", "adaptive")},
    }


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    ending=st.sampled_from([0.0, 0.2, 0.6]),
    shape=shapes,
    ahead=st.integers(0, 3),
    iterations=st.integers(1, 6),
    more=st.integers(1, 6),
    value=st.sampled_from(["value_model", "outcome", "weighted", "vote"]),
)
async def test_resumed_it_is_the_tree_of_one_search_that_never_stopped(
    seed, ending, shape, ahead, iterations, more, value
):
    fields = settled(shape) | {"look_ahead": {"steps": ahead} if ahead else None, "value": valued(value, {"n": 2})}
    full = await grown(Policy(seed, ending), limits={"iterations": iterations + more, "depth": 4}, **fields)
    policy = Policy(seed, ending)
    half = await grown(policy, limits={"iterations": iterations, "depth": 4}, **fields)
    both = await gone_on(half, policy, limits={"iterations": more, "depth": 4}, **fields)
    assert own(both.tree) == own(full.tree)
    assert values(both.tree) == values(full.tree)
    assert both.tree.growth == full.tree.growth
    assert both.tree.ended == full.tree.ended
    assert both.rollouts == full.rollouts
    assert both.tree.iterations == full.tree.iterations == effort(full) or not list(full.accepted())


@settings(max_examples=100)
@given(seed=st.integers(0, 10_000), ending=st.sampled_from([0.0, 0.2, 0.6]), shape=shapes)
async def test_values_given_again_by_the_same_model_are_the_ones_that_were_kept(seed, ending, shape):
    """Without look-aheads, whose words are of the old values, and answers that the gate took over from their parent."""
    fields = settled(shape) | {"end_gate": None}
    policy, again = Policy(seed, ending), Policy(seed, ending)
    half, same = await grown(policy, **fields), await grown(again, **fields)
    kept = await gone_on(half, policy, **fields)
    anew = await gone_on(same, again, valued=False, **fields)
    assert own(anew.tree) == own(kept.tree)
    assert values(anew.tree) == pytest.approx(values(kept.tree))
    assert anew.tree.spent.value_calls == kept.tree.spent.value_calls + half.tree.growth.nodes - 1


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), shape=shapes, ahead=st.integers(0, 2))
async def test_no_tree_mixes_the_values_of_two_models(seed, shape, ahead):
    fields = settled(shape) | {"end_gate": None, "look_ahead": {"steps": ahead} if ahead else None}
    half = await grown(Policy(seed), **fields)
    moved = Moved(seed)
    tree = (await gone_on(half, Policy(seed), moved, valued=False, **fields)).tree
    opening = bytes(tree.prompt_ids).decode()
    for node in tree.nodes[1 : tree.growth.nodes]:
        assert node.estimate == moved.value(opening + tree.text(node.index))


async def test_roll_outs_that_give_values_again_stay_in_the_tree():
    value = {"type": "outcome", "n": 3}
    policy = Policy(7)
    half = await grown(policy)
    tree = (await gone_on(half, policy, valued=False, value=value)).tree
    had = half.tree.growth.nodes
    left = [i for i in range(had) if tree.children[i] and not tree.growth.opened[i] and not half.tree.children[i]]
    assert left
    assert sum(len(node.token_ids) for node in tree.nodes) <= half.tree.spent.tokens + tree.spent.tokens
    assert tree.growth.nodes <= len(tree.nodes)


# What is taken up ----------------------------------------------------------------------------------------------------


async def test_where_the_prompt_has_other_tokens_by_now_it_begins_from_nothing():
    half = await grown(Policy())
    assert (await gone_on(half, Policy())).tree.begun
    tree = (await gone_on(half, Dated())).tree
    assert tree.begun is None
    assert bytes(tree.prompt_ids).decode().startswith("Today")


async def test_hinted_steps_and_the_answer_that_ended_a_search_are_no_steps_of_the_policys():
    wrong = {"letters": "acdef", "ending": 0.0}  # none is right, and no path comes to an end on its own
    fields = {"hints": {"k": 3}, "limits": {"iterations": 1, "depth": 3}}
    half = await grown(Policy(**wrong), **fields)
    assert any(node.hinted for node in half.tree.nodes)
    assert half.tree.growth.nodes < sum(not node.hinted for node in half.tree.nodes)
    both = await gone_on(half, Policy(**wrong), **fields | {"hints": None})
    assert not any(node.hinted for node in both.tree.nodes)
    assert both.tree.begun.nodes == half.tree.growth.nodes
    ended = [node for node in both.tree.nodes if node.terminal]
    assert [node.index for node in ended] == [len(both.tree.nodes) - 1], "one answer, decoded by this round"


async def test_an_answers_log_probabilities_are_those_of_all_its_tokens():
    policy = Policy(ending=0.2)
    both = await gone_on(await grown(policy), policy)
    assert any(rollout.index >= both.tree.begun.nodes for rollout in both.rollouts)
    for rollout in both.rollouts:
        assert bytes(rollout.turns[0].token_ids).decode() == rollout.text
        assert len(rollout.turns[0].logprobs) == rollout.completion_tokens


@pytest.mark.parametrize("limits", [{"iterations": 3}, {"nodes": 7}, {"tokens": 20}])
async def test_limits_count_what_this_round_adds(limits):
    policy = Policy(ending=0.0)
    half = await grown(policy, limits={"iterations": 6})
    tree = (await gone_on(half, policy, limits=limits)).tree
    fresh = (await grown(Policy(ending=0.0), limits=limits)).tree
    assert tree.ended == fresh.ended
    most = {"iterations": 0, "nodes": 2, "tokens": 6}
    added = tree.growth.nodes - tree.begun.nodes
    spent = {"iterations": tree.spent.iterations, "nodes": added, "tokens": tree.spent.tokens - 1}
    ((name, limit),) = limits.items()
    assert limit - 1 <= spent[name] <= limit + most[name]
    assert tree.iterations == half.tree.iterations + tree.spent.iterations


async def test_tokens_are_this_rounds_alone():
    policy = Policy(ending=0.2)
    half = await grown(policy)
    before = len(policy.asked)
    both = await gone_on(half, policy)
    new = both.tree.nodes[both.tree.begun.nodes : both.tree.growth.nodes]
    assert len(policy.asked) - before == both.tree.spent.iterations
    assert both.new_tokens >= sum(len(node.token_ids) for node in new)
    assert both.new_tokens < both.tree.spent.iterations * 3 * 2 + 3, "three steps of two tokens each, and the opening"


async def test_a_search_that_ends_at_a_right_answer_ends_at_once_where_it_has_one():
    fields = {"limits": {"iterations": 30, "solved": True}}
    half = await grown(Policy(letters="b"), **fields)
    assert half.tree.ended == "solved"
    policy = Policy(letters="b")
    both = await gone_on(half, policy, **fields)
    assert both.tree.ended == "solved"
    assert not policy.asked
    assert (both.tree.iterations, both.new_tokens) == (half.tree.iterations, 1)


async def test_a_deeper_limit_opens_what_the_shallow_one_had_closed():
    policy = Policy(ending=0.0)
    half = await grown(policy, limits={"iterations": 50, "depth": 1})
    assert half.tree.ended == "exhausted"
    both = await gone_on(half, policy, limits={"iterations": 50, "depth": 2})
    assert both.tree.growth.nodes > half.tree.growth.nodes


# Where it may be ------------------------------------------------------------------------------------------------------


async def test_a_search_that_does_not_say_so_keeps_nothing_for_later():
    tree = (await search(reuse=False).sample(TASK, context(Policy()))).tree
    assert tree.growth is None
    assert not {"begun", "growth"} & tree.to_row().keys(), "rows of before have the digest that they had"


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        ({}, True),
        ({"value": {"type": "p_true"}}, True),
        ({"limits": {"tokens": 90}, "prune": 0.1, "select": {"type": "beam"}, "hints": {"k": 2}}, True),
        ({"reuse": False}, False),
        ({"expand": {"type": "steps", "temperature": 0.9}}, False),
        ({"expand": {"type": "steps", "unit": "sentence"}}, False),
        ({"expand": {"type": "steps", "stop": ["\n\n"]}}, False),
        ({"backup": {"type": "max"}}, False),
        ({"look_ahead": {"steps": 1}}, False),
    ],
)
def test_a_search_resumes_from_one_whose_nodes_grew_alike(change, goes_on):
    assert search().continues(search(**change)) == search(**change).continues(search()) == goes_on


def test_a_search_that_ends_at_its_gate_cannot_go_on():
    with pytest.raises(ValidationError, match="mode: full"):
        search(mode="simple")


async def test_a_tree_that_goes_on_has_no_control_and_the_share_is_of_the_others():
    policy = Policy(ending=0.2)
    had = {TASK.id: Earlier(trees=DIGEST, group=await grown(policy), valued=True)}
    attempts = search(control=1.0).in_round([TASK, OTHER], 0, 2048, had)
    assert isinstance(attempts, Controlled)
    went_on, fresh = [await attempts.sample(task, context(policy)) for task in (TASK, OTHER)]
    assert (went_on.control, fresh.tree.begun) == (None, None)
    assert fresh.control.budget == fresh.tree.spent.tokens
    counts = outcomes([went_on, fresh])
    assert (counts["search.reused"], counts["search.reused_nodes"]) == (1, went_on.tree.begun.nodes - 1)
