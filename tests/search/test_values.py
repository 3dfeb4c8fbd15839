"""Node values: each is the formula it says it is, siblings are asked about together, and what is missing is said."""

from dataclasses import replace

import pytest

from selftaught.blocks import Completion, Context, RolloutVerifier, Verifier
from selftaught.records import Verdict
from selftaught.search.parts import BadValue, NodeValue
from selftaught.search.searcher import Limits, Search
from selftaught.search.tree import SearchTree
from selftaught.search.values import Answered, Constant, Outcome, Part, PTrue, Rule, ValueModel, Weighted, right
from selftaught.verification.equations import Equations
from selftaught.verification.format_rules import Rules
from tests.search.scripted import TASK, Scripted

STEP = Completion("", (7,), (-1.0,), "stop", 1, "\n", ("",), ())


class Right(Verifier):
    async def verify(self, group, context):
        return [Verdict.of("right", rollout.text.endswith("b")) for rollout in group.rollouts]


@pytest.fixture
async def grown():
    """A tree of three steps, two of which end the answer, and what a search may touch."""
    model = Scripted(seed=4, ending=0.5)
    tree = SearchTree(TASK)
    said = await model.complete(TASK.messages, n=6, stop=("\n",))
    tree.prompt_ids = said[0].prompt_ids
    nodes = [tree.add(tree.root, step) for step in said]
    return tree, nodes, Context(models={"policy": model, "value": model}, verifiers=(Right(),)), model


async def test_a_value_model_reads_prompt_and_path_of_all_siblings_in_one_request(grown):
    tree, nodes, context, model = grown
    texts = [bytes((*tree.prompt_ids, *node.ids())).decode() for node in nodes]
    assert await ValueModel().values(tree, nodes, context) == [model.value(text) for text in texts]
    assert tree.tally.value_calls == len(nodes)


async def test_without_a_value_model_yet_another_value_takes_its_place(grown):
    tree, nodes, _, model = grown
    alone = Context(models={"policy": model})
    block = ValueModel(before=Constant(value=0.25))
    assert await block.values(tree, nodes, alone) == [0.25] * len(nodes)
    assert tree.tally.value_calls == 0


async def test_values_outside_of_0_to_1_are_cut_and_no_number_is_told(grown):
    tree, nodes, context, model = grown
    model.value = lambda text: 1.5
    assert await ValueModel().values(tree, nodes, context) == [1.0] * len(nodes)
    model.value = lambda text: float("nan")
    with pytest.raises(BadValue, match="the value model gave nan for 6 of 6 nodes"):
        await ValueModel().values(tree, nodes, context)


@pytest.mark.parametrize(("odds", "value"), [([0.6, 0.2], 0.75), ([0.0, 0.0], 0.5), ([0.0, 0.4], 0.0)])
async def test_p_true_is_the_share_of_true(grown, odds, value):
    tree, nodes, context, model = grown

    async def said(chats, words):
        assert words == ["true", "false"]
        assert [m.role for m in chats[0]] == ["user", "assistant", "user"]
        assert chats[0][1].content == nodes[0].so_far().strip()
        return [odds]

    model.odds = said
    assert await PTrue().values(tree, nodes[:1], context) == pytest.approx([value])


async def test_p_true_may_see_the_gold_answer(grown):
    tree, nodes, context, model = grown
    seen = []

    async def said(chats, words):
        seen.append(chats[0][-1].content)
        return [[0.5, 0.5]]

    model.odds = said
    await PTrue(prompt="The answer is {answer}. Right?").values(tree, nodes[:1], context)
    assert seen == ["The answer is 2. Right?"]


async def test_the_verifier_speaks_of_ended_answers_alone(grown):
    tree, nodes, context, _ = grown
    expected = [float(node.text.endswith("b")) if node.terminal else 0.5 for node in nodes]
    assert await Answered().values(tree, nodes, context) == expected


async def test_an_outcome_is_the_share_of_completions_that_pass(grown):
    tree, nodes, context, model = grown
    before = tree.tally.tokens
    values = await Outcome(n=8).values(tree, nodes, context)
    for node, value in zip(nodes, values, strict=True):
        text = bytes((*tree.prompt_ids, *node.ids())).decode()
        right = [model.step(text, i, 1.0, False).text == "b" for i in range(8)]
        assert value == (float(node.text.endswith("b")) if node.terminal else sum(right) / 8)
    assert tree.tally.tokens - before == 8 * sum(not node.terminal for node in nodes)


async def test_verifiers_see_that_a_completion_was_cut_off(grown):
    tree, _, context, model = grown
    node = tree.add(tree.root, replace(STEP, text="1 + 1 = 2\n"))

    async def cut(prompt, **_):
        return [replace(STEP, text="so b", finish_reason="length", stop=None)] * 2

    model.complete = cut
    assert await Outcome(n=2).values(tree, [node], replace(context, verifiers=(Rules(),))) == [0]
    assert await Outcome(n=2).values(tree, [node], replace(context, verifiers=(Rules(finished=False),))) == [1]


async def test_a_weighted_value_is_the_mean_by_weight(grown):
    tree, nodes, context, _ = grown
    block = Weighted(parts=(Part(weight=3, value=Constant(value=1.0)), Part(weight=1, value=Constant(value=0.2))))
    assert await block.values(tree, nodes, context) == pytest.approx([0.8] * len(nodes))


async def test_what_a_rule_fails_is_worth_nothing_and_the_rest_what_another_value_says(grown):
    tree, _, context, model = grown
    wrong, right = (tree.add(tree.root, replace(STEP, text=text)) for text in ("1 + 1 = 3\n", "1 + 1 = 2\n"))
    assert await Rule(check=Equations()).values(tree, [wrong, right], context) == [0, 1]
    expected = model.value(bytes((*tree.prompt_ids, *right.ids())).decode())
    assert await Rule(check=Equations(), then=ValueModel()).values(tree, [wrong, right], context) == [0, expected]
    assert tree.tally.value_calls == 1


async def test_a_check_that_crashes_fails_nothing(grown):
    tree, nodes, context, _ = grown

    class Crashing(RolloutVerifier):
        type: str = "crashing"

        def verdict(self, task, rollout):
            raise ZeroDivisionError

    rule = Rule.model_construct(check=Crashing(), then=Constant(value=0.7))
    assert await rule.values(tree, nodes, context) == [0.7] * len(nodes)


async def test_what_a_rule_cannot_judge_is_worth_what_another_value_says(grown):
    """A verifier that errors is neither a pass nor a failure: it zeroes no node."""

    class Unsure(Verifier):
        async def verify(self, group, context):
            said = {"a": Verdict.errored("unsure", "no sandbox"), "b": Verdict.of("unsure", False)}
            return [said.get(rollout.text, Verdict.of("unsure", True)) for rollout in group.rollouts]

    tree, _, context, _ = grown
    nodes = [tree.add(tree.root, replace(STEP, text=text)) for text in "abc"]
    rule = Rule.model_construct(check=Unsure(), then=Constant(value=0.25))
    assert await rule.values(tree, nodes, context) == [0.25, 0.0, 0.25]


class Careful(Verifier):
    """Right as `Right` is, but it breaks on each answer of some letters, and on its own."""

    type: str = "careful"
    breaks: str = "a"

    async def verify(self, group, context):
        if all(rollout.text[-1] in self.breaks for rollout in group.rollouts):
            raise ZeroDivisionError("no denominator")
        said = {True: Verdict.errored("careful", "no sandbox")}
        return [said.get(r.text[-1] in self.breaks, Verdict.of("careful", r.text[-1] == "b")) for r in group.rollouts]


async def test_an_answer_that_no_verifier_could_judge_counts_for_nothing(grown):
    tree, _, context, _ = grown
    context = replace(context, verifiers=(Careful(),))
    answers = [(text, "stop") for text in "aabac"]
    assert await right(tree, answers, context) == [None, None, True, None, False]
    assert await right(tree, answers[:3], replace(context, verifiers=(Careful(), Careful(breaks="b")))) == [
        False,
        False,
        None,
    ]


async def test_a_verifier_that_is_not_required_decides_about_no_answer(grown):
    tree, _, context, _ = grown
    context = replace(context, verifiers=(Right(), Careful(breaks="c", required=False)))
    assert await right(tree, [(text, "stop") for text in "abc"], context) == [False, True, False]
    alone = replace(context, verifiers=(Right(required=False),))
    assert await right(tree, [("a", "stop")], alone) == [True]


async def test_a_tree_of_which_no_answer_could_be_judged_fails_with_the_reason(grown):
    _, _, context, _ = grown
    broken = replace(context, verifiers=(Careful(breaks="abcdef"),))
    for value in (Outcome(n=2), Answered()):
        group = await Search(value=value, limits=Limits(iterations=4)).sample(TASK, broken)
        why = "no verifier could judge any answer: ZeroDivisionError: no denominator"
        assert (group.tree.ended, group.tree.error.startswith(why)) == ("failed", True)


@pytest.mark.parametrize("value", [Outcome(n=1), Answered()], ids=lambda value: value.name)
async def test_an_answer_that_could_not_be_judged_fails_no_tree(grown, value: NodeValue):
    _, _, context, _ = grown
    search = Search(value=value, limits=Limits(iterations=9))
    contexts = [replace(context, models={"policy": Scripted(n)}, verifiers=(Careful(breaks="a"),)) for n in range(20)]
    trees = [(await search.sample(TASK, each)).tree for each in contexts]
    assert all(tree.ended != "failed" for tree in trees)
    worths = {node.estimate for tree in trees for node in tree.nodes[1:] if node.terminal and node.text[-1] == "a"}
    assert worths <= {0.5} if isinstance(value, Answered) else worths  # what its parent is worth
