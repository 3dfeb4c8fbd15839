"""Turns that a tool answers: whose code runs, where what it prints stands, and when such a turn is left out.

Programs run in the real sandbox.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from selftaught.blocks import Context
from selftaught.core.errors import NoAnswer
from selftaught.curation.base import sampled as learnt_from
from selftaught.curation.transcripts import Transcripts
from selftaught.records import Group
from selftaught.sampling.dialogue import Dialogue
from selftaught.sandbox.process import refusal
from selftaught.testing import ScriptedModel, check_block, sums
from selftaught.verification.answer_match import AnswerMatch
from tests.sandbox.lost import lose_workers

TASK = sums()[0]
PROGRAM = {"name": "program", "kind": "action"}
OUTPUT = {"name": "output", "run": "program"}
CHECK = {"name": "check", "ask": "Is it right?"}
AGAIN = {"name": "program_2", "kind": "action", "when": {"check": "Retry"}, "ask": "Once more."}
OUTPUT_2 = {"name": "output_2", "run": "program_2"}
CHECK_2 = {"name": "check_2", "kind": "refinement", "when": {"check": "Retry"}, "ask": "And now?"}


@pytest.fixture(scope="module", autouse=True)
def _held() -> None:
    if said := refusal():
        pytest.skip(said)


def dialogue(*turns: dict[str, Any]) -> Dialogue:
    return Dialogue.model_validate({"turns": turns})


async def sampled(block: Dialogue, *answers: str, verified: bool = False) -> tuple[Group, ScriptedModel]:
    model = ScriptedModel(*answers)
    verifiers = (AnswerMatch(),) if verified else ()
    return await block.sample(TASK, Context(models={"policy": model}, verifiers=verifiers)), model


def said(group: Group, at: int = 0) -> list[str]:
    return [turn.content for turn in group.rollouts[at].turns]


async def test_what_the_code_prints_is_the_next_message_to_the_model():
    group, model = await sampled(dialogue(PROGRAM, OUTPUT, CHECK), "So:\n```python\nprint(2 + 3)\n```\n", "It is 5.")
    assert [(m.role, m.content) for m in model.asked[1]] == [
        ("user", TASK.question),
        ("assistant", "So:\n```python\nprint(2 + 3)\n```\n"),
        ("user", "5\n\nIs it right?"),
    ]
    tool = group.rollouts[0].turns[1]
    assert (tool.kind, tool.agent, tool.token_ids, tool.name) == ("tool", "tool", (), "output")
    assert group.rollouts[0].agents == {} and group.rollouts[0].text == "It is 5."


async def test_without_a_fence_the_answer_is_the_code_and_an_expression_has_a_value():
    group, model = await sampled(dialogue(PROGRAM, OUTPUT, {"name": "second"}), "6 * 7", "42")
    assert model.asked[1][-1].content == "42"
    assert said(group) == ["6 * 7", "42", "42"]


async def test_what_a_program_does_is_its_output_and_ends_nothing():
    group, _ = await sampled(dialogue(PROGRAM, OUTPUT, CHECK), "import os; os.kill(os.getpid(), 9)", "?")
    assert said(group)[1] == "the program crashed"


async def test_each_branch_has_its_own_output():
    group, _ = await sampled(dialogue(PROGRAM | {"n": 3}, OUTPUT), "1 + 1", "2 + 2", "1 + 1")
    assert [said(group, at)[1] for at in range(3)] == ["2", "4", "2"]
    assert [len(rollout.path) for rollout in group.rollouts] == [2, 2, 2]


async def test_an_output_that_is_an_attempt_is_judged():
    block = dialogue(
        PROGRAM,
        OUTPUT | {"kind": "attempt"},
        {"name": "praise", "when": "passed", "kind": "critique", "say": "Yes.", "ask": "?"},
    )
    for code, right in ((f"print({TASK.answer})", True), ("print(-1)", False)):
        group, _ = await sampled(block, code, verified=True)
        assert group.rollouts[0].answers == (1,)
        assert (said(group)[-1] == "Yes.") is right


# Rounds ---------------------------------------------------------------------------------------------------------------

ROUNDS = dialogue(PROGRAM, OUTPUT, CHECK, AGAIN, OUTPUT_2, CHECK_2)


async def test_a_second_round_where_the_first_asked_for_it():
    group, _ = await sampled(ROUNDS, "1", "No: retry.", "2", "It is 2.")
    assert [turn.name for turn in group.rollouts[0].turns if turn.name] == [
        "program", "output", "check", "program_2", "output_2", "check_2",
    ]  # fmt: skip
    assert said(group)[-3:] == ["2", "And now?", "It is 2."]


async def test_no_second_round_where_it_did_not_and_its_output_is_left_out_with_it():
    group, model = await sampled(ROUNDS, "1", "It is 1.")
    assert [turn.name for turn in group.rollouts[0].turns if turn.name] == ["program", "output", "check"]
    assert len(model.asked) == 2 and not ROUNDS.asks_verifiers


async def test_only_what_the_model_said_is_learnt():
    group, _ = await sampled(ROUNDS, "1", "retry", "2", "It is 2.")
    group = group.model_copy(update={"verdicts": ((),)})
    (rollout,) = group.rollouts
    example = Transcripts(keep=("all",), train="all", wrong="train").example(group, rollout)
    learnt = [segment for segment in example.sequences[0] if segment.weights]
    own = [turn for turn in rollout.turns if turn.role == "assistant" and turn.agent != "tool"]
    assert [segment.token_ids for segment in learnt] == [turn.token_ids for turn in own] and len(own) == 4


async def test_an_output_that_is_the_answer_is_not_learnt_with_the_rollout():
    group, _ = await sampled(dialogue({"name": "draft"}, PROGRAM | {"ask": "By program."}, OUTPUT), "About 4.", "2 + 3")
    example = learnt_from(group, group.rollouts[0])
    assert [message.content for message in example.messages()] == [TASK.question, "About 4.", "By program.", "2 + 3"]


def test_a_read_turn_is_the_turn_that_was_written():
    assert Dialogue.model_validate(ROUNDS.model_dump(mode="json")) == ROUNDS
    assert check_block(ROUNDS, sums()) == []


# Errors ---------------------------------------------------------------------------------------------------------------


async def test_a_sandbox_that_is_lost_costs_the_task_and_says_nothing_of_the_program(tmp_path: Path):
    attempt = asyncio.ensure_future(sampled(dialogue(PROGRAM, OUTPUT), "while True: pass"))
    while not attempt.done():
        await asyncio.sleep(0.1)
        lose_workers()
    with pytest.raises(NoAnswer, match="sandbox"):
        await attempt
    group, _ = await sampled(dialogue(PROGRAM, OUTPUT), "1 + 1")
    assert said(group)[1] == "2"


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([OUTPUT], "output: 'program' is not the name of a turn before it"),
        ([OUTPUT | {"run": "output"}], "'output' is not the name of a turn before it"),
        ([PROGRAM, AGAIN], "'check' is not the name of a turn before it"),
        ([PROGRAM, OUTPUT | {"n": 2}], "run is what a tool says"),
        ([PROGRAM, OUTPUT | {"ask": "?"}], "run is what a tool says"),
        ([PROGRAM, OUTPUT, CHECK, AGAIN, OUTPUT_2, {"name": "last"}], "last.ask is missing"),
        ([PROGRAM, CHECK | {"when": {}}], "at least 1"),
    ],
)
def test_turns_that_do_not_fit_are_refused(turns: list[dict[str, Any]], message: str):
    with pytest.raises(ValidationError, match=message):
        dialogue(*turns)
