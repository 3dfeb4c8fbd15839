"""Rationalisation (STaR): who gets a hint, what the hint changes, and what it leaves alone."""

import pytest
from pydantic import ValidationError

from selftaught.blocks import Completion, Context, RolloutVerifier, Verifier
from selftaught.core.errors import BadRecipe, NoAnswer
from selftaught.records import Message, Task, Verdict
from selftaught.sampling.rationalise import Rationalise


class Hintable:
    """A ChatModel that knows no answer but the one it is given."""

    digest = "d1"

    def __init__(self, *, knows=""):
        self.knows, self.prompts = knows, []

    async def chat(self, messages, *, n, **_):
        self.prompts.append([m.content for m in messages])
        text = "42" if "42" in messages[-1].content else self.knows
        return [Completion(text, (1,), (0.0,), "stop", 3) for _ in range(n)]


class Says42(RolloutVerifier):
    type: str = "says42"

    def verdict(self, task, rollout):
        return Verdict.of(self.name, rollout.text == "42")


class Broken(RolloutVerifier):
    type: str = "broken"

    def verdict(self, task, rollout):
        return Verdict.errored(self.name, "no sandbox")


SAYS_42 = (Says42(),)


def task(answer="42"):
    return Task(messages=(Message(role="user", content="6 x 7?"),), answer=answer, source="test")


async def sampled(model, of, verifiers=SAYS_42, **fields):
    return await Rationalise(k=3, hint_k=2, **fields).sample(of, Context(models={"policy": model}, verifiers=verifiers))


async def test_a_task_that_cannot_be_asked_with_the_hint_keeps_what_it_has():
    class Short(Hintable):
        async def chat(self, messages, **asked):
            if len(messages[-1].content) > len("6 x 7?"):
                raise NoAnswer("maximum context length")
            return await super().chat(messages, **asked)

    group = await sampled(Short(knows="41"), task())
    assert [(r.index, r.hinted) for r in group.rollouts] == [(0, False), (1, False), (2, False)]


async def test_a_failed_task_is_sampled_again_with_the_answer():
    model = Hintable(knows="41")
    group = await sampled(model, task(), hint=r"\frac{x}: {answer}.")
    assert model.prompts == [["6 x 7?"], ["6 x 7?\n\n" + r"\frac{x}: 42."]]
    assert [(r.index, r.hinted, r.text) for r in group.rollouts] == [
        (0, False, "41"),
        (1, False, "41"),
        (2, False, "41"),
        (3, True, "42"),
        (4, True, "42"),
    ]
    assert group.task == task()


async def test_a_solved_task_gets_no_hint():
    model = Hintable(knows="42")
    assert not any(r.hinted for r in (await sampled(model, task())).rollouts)
    assert len(model.prompts) == 1


@pytest.mark.parametrize(("of", "verifiers"), [(task(answer=None), SAYS_42), (task(), (Broken(),))])
async def test_without_an_answer_or_a_verdict_there_is_no_hint(of, verifiers):
    model = Hintable(knows="41")
    assert len((await sampled(model, of, verifiers)).rollouts) == 3


async def test_it_needs_a_verifier():
    with pytest.raises(BadRecipe, match="Add a block under verify"):
        await sampled(Hintable(), task(), verifiers=())


def test_a_hint_names_the_answer():
    with pytest.raises(ValidationError, match=r"does not contain \{answer\}"):
        Rationalise(hint="Try again.")


def test_the_cost_counts_the_second_try():
    assert Rationalise(k=8, hint_k=4, max_tokens=10).cost() == 120


class Crashing(Verifier):
    type: str = "crashing"

    async def verify(self, group, context):
        raise ZeroDivisionError("no denominator")


async def test_a_verifier_that_crashes_has_failed_nothing():
    """So nothing is hinted, and the step continues: `verify` says what broke."""
    group = await sampled(Hintable(knows="41"), task(), (Crashing(),))
    assert [r.hinted for r in group.rollouts] == [False] * 3


async def test_a_verifier_that_is_not_required_has_failed_nothing():
    group = await sampled(Hintable(knows="41"), task(), (Says42(required=False),))
    assert [r.hinted for r in group.rollouts] == [False] * 3
