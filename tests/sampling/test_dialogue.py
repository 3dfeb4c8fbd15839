"""Dialogues: the tree of turns, who sees what, when a turn is said, and what a rollout keeps of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Completion, Context, Verifier
from selftaught.core.errors import BadRecipe, NoAnswer
from selftaught.curation.base import asked_with
from selftaught.recipe import Stage
from selftaught.records import Function, Group, Message, Rollout, Task, ToolCall, Turn
from selftaught.records import conversation as seen_by
from selftaught.sampling.dialogue import Dialogue
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations
from tests.examples import conversation

RIGHT, WRONG = "The answer is 5.", "The answer is 6."
TASK = sums()[0]
ATTEMPT = {"name": "attempt", "n": 2}
SECOND = {"name": "second", "kind": "refinement", "ask": "Look again at: {attempt}"}


def dialogue(*turns: dict[str, Any]) -> Dialogue:
    return Dialogue.model_validate({"turns": turns})


async def sampled(
    block: Dialogue, *answers: str, task: Task = TASK, verifiers: tuple[Verifier, ...] = (), **roles: ScriptedModel
) -> tuple[Group, ScriptedModel]:
    model = ScriptedModel(*answers)
    context = Context(models={"policy": model, **roles}, verifiers=verifiers)
    return await block.sample(task, context), model


def said(rollout: Rollout) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in rollout.turns]


# The tree -------------------------------------------------------------------------------------------------------------


class Naming:
    """A model whose answers say what it was asked, and which of the answers to it each is: no two are alike."""

    digest = "naming"

    async def chat(self, messages: Sequence[Message], *, n: int = 1, **_: Any) -> list[Completion]:
        asked = "|".join(message.content for message in messages)
        return [Completion(f"<{asked}:{at}>", (at,), (-1.0,), "stop", 1) for at in range(n)]


def naive(widths: Sequence[int], thread: list[str]) -> list[list[str]]:
    """The leaves by plain recursion: at each turn of `widths`, so many answers to the thread so far."""
    if not widths:
        return [thread]
    question = [] if len(thread) == 1 else [f"{len(thread)}?"]
    asked = "|".join([*thread, *question])
    return [
        leaf
        for at in range(widths[0])
        for leaf in naive(widths[1:], [*thread, *question, f"<{asked}:{at}>"])
    ]  # fmt: skip


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
@settings(max_examples=25)
async def test_the_leaves_are_those_of_a_plain_recursion(widths: list[int]):
    turns = [{"name": f"t{at}", "n": n, "ask": f"{2 * at}?" if at else None} for at, n in enumerate(widths)]
    group = await dialogue(*turns).sample(TASK, Context(models={"policy": Naming()}))
    expected = [leaf[1:] for leaf in naive(widths, [TASK.question])]
    assert [[turn.content for turn in rollout.turns] for rollout in group.rollouts] == expected
    paths = [rollout.path for rollout in group.rollouts]
    assert len(set(paths)) == len(paths) and [rollout.index for rollout in group.rollouts] == list(range(len(paths)))


async def test_branches_that_said_the_same_are_asked_once():
    group, model = await sampled(dialogue(ATTEMPT, SECOND), WRONG, WRONG, RIGHT, WRONG)
    assert len(model.asked) == 2
    assert [rollout.text for rollout in group.rollouts] == [RIGHT, WRONG]


async def test_a_greedy_turn_after_branches_that_said_the_same_is_asked_for_once():
    """vLLM gives one greedy answer a request, and refuses more."""
    greedy = SECOND | {"temperature": 0}
    group, model = await sampled(dialogue(ATTEMPT | {"n": 3}, greedy), WRONG, WRONG, RIGHT, RIGHT, WRONG)
    assert len(model.asked) == 3
    assert [rollout.text for rollout in group.rollouts] == [RIGHT, RIGHT, WRONG]
    assert [rollout.completion_tokens for rollout in group.rollouts] == [2 * 16, 16, 2 * 16]
    assert {rollout.finish_reason for rollout in group.rollouts} == {"stop"}


async def test_shared_tokens_count_once():
    group, _ = await sampled(dialogue({"name": "attempt"}, SECOND | {"n": 3}), WRONG)
    assert sum(each.completion_tokens for each in group.rollouts) == 4 * len(WRONG)
    assert group.new_tokens <= dialogue({"name": "attempt"}, SECOND | {"n": 3}).cost()


def test_it_holds_to_what_every_sampler_has_to():
    assert check_block(dialogue(ATTEMPT, SECOND), sums()) == []


# Who sees what --------------------------------------------------------------------------------------------------------


async def test_a_turn_sees_the_thread_and_its_question():
    group, model = await sampled(dialogue({"name": "attempt"}, SECOND), r"\frac{x}{y} 6", RIGHT)
    assert [message.content for message in model.asked[1]] == [
        TASK.question, r"\frac{x}{y} 6", r"Look again at: \frac{x}{y} 6",
    ]  # fmt: skip
    assert said(group.rollouts[0])[1] == ("user", r"Look again at: \frac{x}{y} 6")


async def test_later_turns_see_what_the_first_was_asked_with_instead_of_the_task():
    plan = {"name": "plan", "kind": "action", "ask": "{task} Plan only.", "system": "Be terse."}
    group, model = await sampled(dialogue(plan, {"name": "solution", "ask": "Now solve it."}), "Add.", RIGHT)
    assert model.asked[1] == conversation(f"{TASK.question} Plan only.", "Add.", "Now solve it.")
    assert [asked_with(group, group.rollouts[0], at) for at in (0, 2)] == model.asked


@given(st.lists(st.booleans(), min_size=1, max_size=5))
@settings(max_examples=25)
async def test_the_plan_shows_what_each_turn_is_asked_with(fresh: list[bool]):
    """Whatever is seen by whom; the model answers with the names that stand for its answers there."""
    turns = [
        {"name": f"t{at}", "view": "fresh" if alone else "thread", "ask": f"{at}? {{t{at - 1}}}" if at else "{task} 0?"}
        for at, alone in enumerate(fresh)
    ]
    block = dialogue(*turns, {"name": "last", "ask": "Go on.", "system": "Be terse.", "prefill": "So"})
    _, model = await sampled(block, *(f"[{name}]" for name in block.turn_names))
    assert list(block.prompts(TASK).values()) == model.asked


async def test_what_another_role_was_asked_with_is_not_seen():
    """A teacher that was given the answer has not told the policy."""
    hint = {"name": "hint", "by": "teacher", "kind": "feedback", "ask": "{task} It is {answer}. Give a hint."}
    _, model = await sampled(
        dialogue(hint, {"name": "solution", "ask": "Solve it."}), RIGHT, teacher=ScriptedModel("Add.")
    )
    assert model.asked == [conversation(f"{TASK.question}\n\nAdd.\n\nSolve it.")]


async def test_what_is_said_for_the_first_turn_is_said_to_what_it_was_asked_with():
    given = {"name": "plan", "kind": "action", "ask": "{task} Plan only.", "say": "Add."}
    _, model = await sampled(dialogue(given, {"name": "solution", "ask": "Now solve it."}), RIGHT)
    assert model.asked == [conversation(f"{TASK.question} Plan only.", "Add.", "Now solve it.")]


async def test_another_role_is_heard_as_the_user_and_its_digest_is_kept():
    critic = ScriptedModel("Six is too many.", digest="c")
    turns = ({"name": "attempt"}, {"name": "critique", "by": "critic", "kind": "critique"}, {"name": "second"})
    group, model = await sampled(dialogue(*turns), WRONG, RIGHT, critic=critic)
    assert [(m.role, m.content) for m in critic.asked[0]] == [("user", f"{TASK.question}\n\n{WRONG}")]
    assert [(m.role, m.content) for m in model.asked[1]] == [
        ("user", TASK.question), ("assistant", WRONG), ("user", "Six is too many."),
    ]  # fmt: skip
    assert group.rollouts[0].agents == {"critic": "c"}
    assert group.rollouts[0].text == RIGHT
    assert dialogue(*turns).roles() == {"policy", "critic"}


async def test_what_is_said_afresh_sees_its_question_alone_and_is_not_seen():
    fresh = {"name": "aside", "view": "fresh", "kind": "critique", "ask": "Is {attempt} right?"}
    group, model = await sampled(dialogue({"name": "attempt"}, fresh, SECOND), WRONG, "No.", RIGHT)
    assert [message.content for message in model.asked[1]] == [f"Is {WRONG} right?"]
    assert "No." not in "".join(message.content for message in model.asked[2])
    (aside,) = [turn for turn in group.rollouts[0].turns if turn.aside]
    assert aside.asked == model.asked[1]


async def test_a_text_of_the_task_can_be_said_and_marks_the_prompt():
    task = TASK.model_copy(update={"texts": {"reference": "2 + 3 = 5"}})
    turns = ({"name": "attempt"}, {"name": "second", "ask": "It is {text.reference}."})
    group, _ = await sampled(dialogue(*turns), WRONG, RIGHT, task=task)
    assert group.rollouts[0].hinted
    assert [turn.hinted for turn in group.rollouts[0].turns] == [False, True, True]


# Prefilled answers ----------------------------------------------------------------------------------------------------

PREFILLED = {"name": "begun", "prefill": "2 + 3 = "}


@given(begun=st.text(min_size=1, max_size=20), answers=st.lists(st.text(max_size=10), min_size=1, max_size=3))
@settings(max_examples=25)
async def test_a_prefilled_answer_is_what_was_given_and_what_the_model_made_of_it(begun: str, answers: list[str]):
    group, model = await sampled(dialogue(PREFILLED | {"prefill": begun, "n": len(answers)}), *answers)
    assert model.asked == [(*TASK.messages, Message(role="assistant", content=begun))]
    for rollout, own in zip(group.rollouts, answers, strict=True):
        (turn,) = rollout.turns
        assert (turn.content, turn.prefill, turn.own) == (begun + own, begun, own)
        assert bytes(turn.token_ids).decode() == own
        assert len(turn.logprobs) == rollout.completion_tokens == len(own.encode())


async def test_branches_are_resumed_each_on_its_own_beginning():
    second = SECOND | {"prefill": "Again, {attempt}"}
    group, model = await sampled(dialogue(ATTEMPT, second), RIGHT, WRONG, " Yes.", " No.")
    assert [asked[-1].content for asked in model.asked[1:]] == [f"Again, {RIGHT}", f"Again, {WRONG}"]
    assert [rollout.text for rollout in group.rollouts] == [f"Again, {RIGHT} Yes.", f"Again, {WRONG} No."]


async def test_what_was_prefilled_is_no_part_of_the_prompt_and_is_seen_by_later_turns():
    first = PREFILLED | {"view": "fresh", "ask": "{task} Be brief."}
    group, _ = await sampled(dialogue(first), "5")
    (turn, *_) = group.rollouts[0].turns
    assert [(message.role, message.content) for message in turn.asked] == [("user", f"{TASK.question} Be brief.")]
    thread, model = await sampled(dialogue(PREFILLED, {"name": "check", "ask": "Sure?"}), "5", "Yes.")
    assert [message.content for message in model.asked[1]] == [TASK.question, "2 + 3 = 5", "Sure?"]
    assert not thread.rollouts[0].hinted


async def test_a_beginning_that_names_the_answer_marks_the_turn():
    group, _ = await sampled(dialogue(PREFILLED | {"prefill": "It is {answer}"}), ".")
    assert group.rollouts[0].hinted and group.rollouts[0].turns[0].hinted


def test_a_row_without_a_beginning_does_not_say_so():
    assert "prefill" not in Turn(content=RIGHT).to_row()


# Conditions -----------------------------------------------------------------------------------------------------------


async def test_a_condition_goes_by_each_branch():
    group, _ = await sampled(
        dialogue(ATTEMPT, SECOND | {"when": "failed"}), RIGHT, WRONG, RIGHT, verifiers=(AnswerMatch(),)
    )
    assert [[text for _, text in said(rollout)] for rollout in group.rollouts] == [
        [RIGHT], [WRONG, f"Look again at: {WRONG}", RIGHT],
    ]  # fmt: skip


@pytest.mark.parametrize(("answers", "again"), [((RIGHT, WRONG), 0), ((WRONG, WRONG), 2)])
async def test_all_failed_waits_for_every_branch(answers: tuple[str, str], again: int):
    block = dialogue(ATTEMPT, SECOND | {"when": "all_failed"})
    group, _ = await sampled(block, *answers, verifiers=(AnswerMatch(),))
    assert sum(len(rollout.answers) == 2 for rollout in group.rollouts) == again


@pytest.mark.parametrize(("when", "second"), [("failed", False), ("all_failed", False), ("passed", True)])
async def test_a_verifier_that_is_not_required_fails_no_answer(when: str, second: bool):
    block = dialogue({"name": "attempt"}, SECOND | {"when": when})
    group, _ = await sampled(block, WRONG, RIGHT, verifiers=(AnswerMatch(required=False),))
    assert (len(group.rollouts[0].answers) == 2) is second


async def test_feedback_is_that_of_required_verifiers():
    block = dialogue({"name": "attempt"}, {"name": "second", "ask": "Wrong: {feedback}."})
    group, _ = await sampled(block, WRONG, RIGHT, verifiers=(AnswerMatch(required=False),))
    assert group.rollouts[0].turns[1].content == "Wrong: ."


async def test_feedback_of_one_verifier_is_that_ones_alone():
    says = {"name": "check", "kind": "feedback", "ask": "Check it.", "say": "Wrong: {feedback.equations}."}
    verifiers = (AnswerMatch(), Equations())
    group, _ = await sampled(dialogue({"name": "attempt"}, says), "2 + 3 = 6", verifiers=verifiers)
    assert [turn.content for turn in group.rollouts[0].turns[1:]] == ["Check it.", "Wrong: 2 + 3 is not 6."]
    assert not group.rollouts[0].turns[1].hinted
    group, _ = await sampled(dialogue({"name": "attempt"}, says), "Six.", verifiers=verifiers)
    assert group.rollouts[0].turns[-1].content == "Wrong: ."
    with pytest.raises(BadRecipe, match=r"\{feedback.equations\} is of no verifier"):
        await sampled(dialogue({"name": "attempt"}, says), "Six.", verifiers=(AnswerMatch(),))


async def test_feedback_that_names_the_answer_marks_the_prompt():
    leaking = {"name": "second", "ask": "Wrong: {feedback}"}
    group, _ = await sampled(dialogue({"name": "attempt"}, leaking), WRONG, RIGHT, verifiers=(AnswerMatch(),))
    assert "against 5" in group.rollouts[0].turns[1].content
    assert group.rollouts[0].turns[1].hinted


async def test_a_condition_without_verifiers_is_said():
    with pytest.raises(BadRecipe, match="turn 'second' depends"):
        await sampled(dialogue(ATTEMPT, SECOND | {"when": "failed"}), WRONG)


async def test_a_prompt_that_has_become_too_long_ends_its_branch():
    class Short(ScriptedModel):
        async def chat(self, messages: Sequence[Message], **asked: Any) -> list[Completion]:
            if len(messages) > 1:
                raise NoAnswer("maximum context length")
            return await super().chat(messages, **asked)

    group = await dialogue(ATTEMPT, SECOND).sample(TASK, Context(models={"policy": Short(RIGHT)}))
    assert [(each.text, each.finish_reason) for each in group.rollouts] == [(RIGHT, "length")] * 2


@pytest.mark.parametrize("shown", [(), ("3 + 4?", "7")])
@pytest.mark.parametrize("view", ["thread", "fresh"])
async def test_where_nothing_was_said_there_is_no_rollout(view: str, shown: tuple[str, ...]):
    """Whatever the first turn sees, and although a task that shows answers has messages of the assistant."""

    class Silent(ScriptedModel):
        async def chat(self, messages: Sequence[Message], **asked: Any) -> list[Completion]:
            raise NoAnswer("maximum context length")

    task = TASK.model_copy(update={"messages": (*conversation(*shown), *TASK.messages)})
    first = {"name": "plan", "kind": "critique", "view": view, "ask": "{task} What is to be done?"}
    with pytest.raises(NoAnswer):
        await dialogue(first, SECOND | {"ask": "Do it."}).sample(task, Context(models={"policy": Silent()}))


# Recipes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "match"),
    [
        ((ATTEMPT, ATTEMPT), "two turns are called attempt"),
        (({"name": "attempt", "ask": "{second}"}, SECOND), r"\{second\} is not said before it"),
        ((ATTEMPT, SECOND | {"ask": "Look at {atempt}"}), r"Did you mean \{attempt\}"),
        (
            (ATTEMPT, SECOND | {"ask": "See {critique}"}),
            r"\{critique\} is not a slot. There are \{task\}, .*\{attempt\}\.",
        ),
        ((ATTEMPT | {"when": "failed"},), "no answer before the first turn"),
        ((ATTEMPT, {"name": "second"}), "policy would speak twice in a row"),
        ((ATTEMPT | {"temperature": 0},), "n: 2 with temperature: 0"),
        (({"name": "task"},), "slot of its own"),
        (({"name": "attempt", "say": RIGHT, "prefill": "So: "},), "leave out n and prefill"),
        ((PREFILLED | {"prefill": "{second}"}, SECOND | {"ask": "Sure?"}), r"\{second\} is not said before it"),
    ],
)
def test_turns_that_cannot_follow_one_another_are_refused(turns: tuple[dict[str, Any], ...], match: str):
    with pytest.raises(ValidationError, match=match):
        dialogue(*turns)


@pytest.mark.parametrize("text", ["Print f'{name}: {x}'.", "End with \\boxed{result}.", '{"key": 1}', "{i}{j}"])
def test_braces_of_code_are_no_slots(text: str):
    assert dialogue(ATTEMPT | {"ask": text}).turns[0].ask == text


def test_a_reason_is_that_of_a_verifier_of_the_stage():
    stage = {
        "sample": {"type": "dialogue", "turns": [ATTEMPT, SECOND | {"ask": "{feedback.equation}"}]},
        "verify": [{"type": "answer_match"}, {"type": "equations"}],
        "evaluate": {"type": "accuracy"},
    }
    with pytest.raises(ValidationError, match=r"sample: 'dialogue' goes by the verifier 'equation', .*'equations'"):
        Stage.model_validate(stage)
    own = {"type": "strategy", "label": "told", "sample": stage.pop("sample")}
    with pytest.raises(ValidationError, match=r"evaluate: 'dialogue' goes by the verifier 'equation', .*'equations'"):
        Stage.model_validate(stage | {"sample": {"type": "iid"}, "evaluate": own})


def test_a_verifier_may_have_any_name():
    assert dialogue(ATTEMPT, SECOND | {"ask": "{feedback.gold} {feedback.x}"}).verifiers == ("gold", "x")


@pytest.mark.parametrize("again", [{"when": "failed"}, {"ask": "{feedback} Again."}, {"when": "all_failed"}])
async def test_where_nothing_was_said_yet_no_verifier_is_asked(again: dict[str, Any]):
    """The first turn is left out where its text has nothing to make wrong: the task has no rollout."""
    drift = {"name": "drift", "say": "{text.reference}", "inject_error": "number"}
    attempt = {"name": "attempt", "ask": "{drift} Go on."}
    task = TASK.model_copy(update={"texts": {"reference": "No figures at all."}})
    block = dialogue(drift, attempt, {"name": "second", "ask": "Again."} | again)
    with pytest.raises(NoAnswer, match="nothing of what turn 'drift' says"):
        await sampled(block, WRONG, task=task, verifiers=(AnswerMatch(),))


async def test_all_failed_looks_at_branches_in_which_the_turn_cannot_be_said_too():
    critique = {"name": "critique", "kind": "critique", "ask": "Why?", "when": "failed"}
    again = {"name": "again", "ask": "By {critique}: the answer is {answer}.", "when": "all_failed"}
    group, _ = await sampled(
        dialogue(ATTEMPT, critique, again), WRONG, RIGHT, "Off by one.", verifiers=(AnswerMatch(),)
    )
    assert "again" not in {turn.name for rollout in group.rollouts for turn in rollout.turns}


def test_a_turn_that_quotes_one_that_may_be_left_out_may_be_left_out_too():
    turns = [
        {"name": "attempt"},
        {"name": "critique", "by": "critic", "kind": "critique", "ask": "Why?", "when": "failed"},
        {"name": "advice", "by": "critic", "kind": "critique", "ask": "So, after {critique}?"},
        {"name": "second"},
    ]
    with pytest.raises(ValidationError, match=r"second.ask is missing: policy would speak twice in a row"):
        dialogue(*turns)


def test_only_a_dialogue_that_looks_at_verifiers_says_so():
    assert not dialogue(ATTEMPT, SECOND).asks_verifiers
    assert dialogue(ATTEMPT, SECOND | {"when": "passed"}).asks_verifiers


CALL = ToolCall(id="c1", function=Function(name="add", arguments="{}"))


async def test_calls_in_the_tasks_own_messages_are_asked_with_in_every_turn():
    asked = (
        *TASK.messages,
        Message(role="assistant", content="", tool_calls=(CALL,)),
        Message(role="tool", content="5", tool_call_id="c1"),
        Message(role="user", content="So?"),
    )
    task = TASK.model_copy(update={"messages": asked})
    group, model = await sampled(dialogue({"name": "attempt"}, {"name": "second", "ask": "Sure?"}), RIGHT, task=task)
    assert model.asked == [asked, (*asked, *conversation("", RIGHT, "Sure?")[1:])]
    assert not group.rollouts[0].turns[0].asked


def test_a_call_is_spelt_out_to_a_speaker_that_did_not_make_it():
    turns = [
        Turn(kind="action", content="Let me add.", tool_calls=(CALL,)),
        Turn(role="tool", kind="tool", content="5", tool_call_id="c1"),
    ]
    policy = [message for message, _ in seen_by(TASK.messages, turns)]
    assert policy == [*TASK.messages, *(turn.message for turn in turns)]
    critic = [message for message, _ in seen_by(TASK.messages, turns, "critic")]
    assert critic == [Message(role="user", content=f"{TASK.question}\n\nLet me add.\nadd({{}})\n\n5")]
