"""Live engines: answers are those of the weights that were pushed, and the same for the same step and seed."""

import asyncio
from pathlib import Path

import pytest
import torch

from selftaught.blocks import Completion
from selftaught.core.errors import NoAnswer, WrongModel
from selftaught.records import Message
from selftaught.serving.engines.live import InProcess, OnTransformers, require_pushed
from selftaught.serving.weight_check import logprobs_of
from selftaught.training.rendering import chat_of
from tests.rounds import tiny_model

IDS = list(range(60, 80))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("live") / "tiny")


@pytest.fixture
def engine(folder: Path) -> InProcess:
    return InProcess(OnTransformers(folder, 128), "digest", seed=7)


def asked(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


async def answers(engine: InProcess, *texts: str, **more: int) -> list[list[Completion]]:
    given = {"n": 3, "max_tokens": 8} | more
    return await asyncio.gather(*(engine.chat(asked(text), **given) for text in texts))


async def test_the_same_step_gives_the_same_answers_and_another_step_others(folder: Path, engine: InProcess):
    again = InProcess(OnTransformers(folder, 128), "digest", seed=7)
    first, second = await answers(engine, "1?", "2?"), await answers(again, "1?", "2?")
    assert first == second
    assert [len(each) for each in first] == [3, 3]
    again.push([], 1)
    assert await answers(again, "1?", "2?") != first
    assert (engine.digest, again.digest) == ("digest+0", "digest+1")


async def test_answers_have_the_tokens_that_were_sampled(engine: InProcess):
    ((said, *_),) = await answers(engine, "1?")
    assert bytes(said.prompt_ids)  # of the byte-level tokenizer
    assert 0 < len(said.token_ids) <= 8
    assert len(said.tokens) == len(said.token_ids)
    assert said.finish_reason in ("stop", "length")
    (more,) = await engine.complete([*said.prompt_ids, *said.token_ids], max_tokens=4, temperature=0.0)
    assert more.prompt_tokens == len(said.prompt_ids) + len(said.token_ids)


async def test_what_is_resumed_is_what_the_trainer_reads(folder: Path, engine: InProcess):
    chat = chat_of(folder)
    begun = [*asked("1?"), Message(role="assistant", content="It is 1, o")]
    (said,) = await engine.chat(begun, max_tokens=4)
    assert said.prompt_ids == chat.begun(begun) == (*chat.opening(asked("1?")), *chat.tokens("It is 1, o"))
    assert 0 < len(said.token_ids) <= 4


async def test_a_request_that_does_not_fit_costs_no_other_its_answer(engine: InProcess):
    found = await asyncio.gather(
        engine.chat(asked("x" * 200), max_tokens=8), engine.chat(asked("1?"), max_tokens=8), return_exceptions=True
    )
    assert isinstance(found[0], NoAnswer)
    assert len(found[1]) == 1


async def test_odds_are_probabilities_of_the_next_token(engine: InProcess):
    ((a, b),) = await engine.odds([asked("1?")], ["A", "b"])
    assert 0 < a < 1
    assert 0 < b < 1


def test_weights_that_were_not_pushed_are_found(folder: Path, engine: InProcess):
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(torch.randn_like(weight))
    expected = logprobs_of(other, IDS)
    with pytest.raises(WrongModel, match="nats"):
        require_pushed(engine, IDS, expected)
    engine.push(other.named_parameters(), 1)
    require_pushed(engine, IDS, expected)
