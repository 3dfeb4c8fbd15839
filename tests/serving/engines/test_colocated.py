"""vLLM in the trainer's process: it computes with the weights that were pushed, and answers as asked."""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from selftaught.core.errors import BadInput, NoAnswer, WrongModel
from selftaught.records import Message
from selftaught.serving.engines.colocated import Colocated
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.live import InProcess, OnTransformers, require_pushed
from selftaught.serving.weight_check import PROMPTS, logprobs_of
from tests.training.test_parallel import environment

pytestmark = pytest.mark.model
SUM = [Message(role="user", content="What is 17 + 25? Answer with the number.")]


@pytest.fixture(scope="module")
def engine(starter_model: Path) -> Generator[InProcess]:
    """One for all: a process has room for one."""
    importlib.import_module("flask")  # as in a process that MLflow's server was imported in
    variables = dict(os.environ)
    live = InProcess(Colocated(starter_model, EngineOptions(context=256)), "digest", seed=7)
    yield live
    live.close()
    assert not dist.is_initialized()
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture(scope="module")
def trained(starter_model: Path):
    """The model that is trained, in the trainer's precision."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(starter_model, dtype=torch.float32)


def test_weights_that_were_pushed_are_computed_with(engine: InProcess, trained):
    ids = engine.tokens(PROMPTS[0])
    with torch.no_grad():
        for weight in trained.parameters():
            weight.mul_(1.02)
    expected = logprobs_of(trained, ids)
    with pytest.raises(WrongModel, match="nats"):
        require_pushed(engine, ids, expected)
    engine.push(trained.named_parameters(), 1)
    require_pushed(engine, ids, expected)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.div_(1.02)
    engine.push(trained.named_parameters(), 0)
    require_pushed(engine, ids, logprobs_of(trained, ids))


async def test_the_same_step_gives_the_same_answers_and_another_step_others(engine: InProcess):
    engine.push([], 2)
    first = await engine.chat(SUM, n=4, max_tokens=12)
    engine.push([], 2)
    assert await engine.chat(SUM, n=4, max_tokens=12) == first
    engine.push([], 3)
    assert await engine.chat(SUM, n=4, max_tokens=12) != first
    assert len({each.text for each in first}) > 1
    assert engine.digest == "digest+3"


async def test_equal_prompts_of_two_requests_draw_apart(engine: InProcess):
    one, other = await asyncio.gather(engine.chat(SUM, n=4, max_tokens=12), engine.chat(SUM, n=4, max_tokens=12))
    assert not {each.token_ids for each in one} & {each.token_ids for each in other}


async def test_answers_are_those_of_transformers(engine: InProcess, starter_model: Path, trained):
    """Greedily, in single precision here and half there, the first tokens are the same."""
    engine.push(trained.named_parameters(), 0)
    (here,) = await engine.chat(SUM, temperature=0.0, max_tokens=4)
    (there,) = await InProcess(OnTransformers(starter_model, 256), "digest", 7).chat(SUM, temperature=0.0, max_tokens=4)
    assert here == there
    assert here.prompt_ids == there.prompt_ids


async def test_a_continuation_ends_with_its_stop_string(engine: InProcess):
    (said,) = await engine.complete(engine.tokens("1, 2, 3, 4,"), stop=[","], temperature=0.0, max_tokens=8)
    assert (said.text, said.stop, said.finish_reason) == (" 5,", ",", "stop")


async def test_odds_are_those_of_transformers(engine: InProcess, starter_model: Path, trained):
    engine.push(trained.named_parameters(), 0)
    (here,) = await engine.odds([SUM], ["the", "42"])
    (there,) = await InProcess(OnTransformers(starter_model, 256), "digest", 7).odds([SUM], ["the", "42"])
    assert here == pytest.approx(there, rel=0.2)


async def test_a_request_that_does_not_fit_costs_no_other_its_answer(engine: InProcess):
    found = await asyncio.gather(
        engine.chat(SUM, max_tokens=250), engine.chat(SUM, max_tokens=2), return_exceptions=True
    )
    assert isinstance(found[0], NoAnswer)
    assert len(found[1]) == 1


def test_a_model_that_vllm_cannot_run_says_what_to_set(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"architectures": ["NoSuchForCausalLM"], "model_type": "llama"}')
    with pytest.raises(BadInput, match="SELFTAUGHT_LIVE_ENGINE=transformers"):
        Colocated(tmp_path, EngineOptions())


def test_processes_that_torchrun_started_have_an_engine_each(starter_model: Path, tmp_path: Path):
    """They generate different numbers of tokens, so no engine waits for another; then the processes still meet."""
    script = str(Path(__file__).with_name("several_colocated.py"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*torchrun, script, str(starter_model), str(tmp_path)], check=True, env=environment())
    one, other = (json.loads((tmp_path / f"{number}.json").read_text()) for number in range(2))
    assert one == other
    assert len(one) == 4
