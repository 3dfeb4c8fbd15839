"""A real engine with the real model: what it answers, what it refuses, and that it is gone when it has to be."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from selftaught.core.errors import BadInput, Unavailable, WrongModel
from selftaught.core.loopback import bearer
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.records import Message, Segment
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import TRANSFORMERS, VLLM_FLAGS
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.sessions import PidFile, reap
from selftaught.serving.middleware.counting import HEADER
from selftaught.serving.routes.canary import Answers, answered
from selftaught.serving.weight_check import Reference, check_fresh, fresh, reference_logprobs, reference_of
from selftaught.training.rendering import chat_of, rendered
from tests.waiting import parent, until

pytestmark = pytest.mark.model
DIGEST, OTHER = "abcd1234" * 8, "eeee1234" * 8
ASK = (Message(role="user", content="Tom has 4 apples and buys 5 more. How many apples does Tom have now?"),)

SHORT = (Message(role="user", content="What is the capital of France? Answer in one short sentence."),)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engines(home: Path) -> Iterator[LocalEngines]:
    """Engines that also count as those of a cluster do."""
    counting = ("--middleware", "selftaught.serving.middleware.counting.Counting")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selftaught.serving.engines.engine.VLLM_FLAGS", (*VLLM_FLAGS, *counting))
        with LocalEngines(home, forkserver=True) as engines:
            yield engines
    assert list((home / "engines").glob("*.json")) == []


@pytest.fixture(scope="module")
def served(engines: LocalEngines, starter_model: Path) -> Served:
    return engines.deploy("rft", DIGEST, starter_model)


@pytest.fixture(scope="module")
def reference(starter_model: Path) -> Reference:
    return reference_logprobs(starter_model)


def open_endpoint(served: Served, digest: str = DIGEST, patience: float = 1.0) -> Endpoint:
    return Endpoint(served.url, "rft", digest, policy=RetryPolicy(patience=patience), key=served.key)


def noted(home: Path) -> PidFile:
    (path,) = (home / "engines").glob("*.json")
    return PidFile.model_validate_json(path.read_bytes())


async def test_n_completions_with_their_token_ids_and_logprobs(served: Served):
    async with open_endpoint(served) as model:
        completions = await model.chat(ASK, n=4, temperature=1.0, max_tokens=12)
        assert model.usage.requests == 1
        assert model.usage.completion_tokens == sum(len(one.token_ids) for one in completions)
    assert len(completions) == 4
    assert len({one.text for one in completions}) > 1
    for one in completions:
        assert 0 < len(one.token_ids) == len(one.logprobs) <= 12
        assert all(logprob <= 0 for logprob in one.logprobs)
        assert one.finish_reason in {"stop", "length"}


async def test_greedy_answers_repeat_whatever_is_asked_beside_them(served: Served):
    """Five tokens: before the seventh two words are as likely, and bf16 decides."""
    async with open_endpoint(served) as model:
        hot = [model.chat(ASK, n=2, temperature=2.0, max_tokens=8) for _ in range(3)]
        cold = [model.chat(ASK, temperature=0.0, max_tokens=5) for _ in range(3)]
        answers = await asyncio.gather(*hot, *cold)
    assert len({answer[0].text for answer in answers[3:]}) == 1


async def test_the_odds_of_several_chats_at_a_time_are_those_of_each_for_a_round(served: Served):
    chats = [(*ASK, Message(role="assistant", content=said), *SHORT) for said in ("4 + 5 = 9", "4 + 5 = 10", "9")]
    async with open_endpoint(served) as model:
        together = await model.odds(chats, ["the", "paris"])
        assert model.usage.requests == 1
        alone = [(await model.odds([chat], ["the", "paris"]))[0] for chat in chats]
    assert len({row[0] for row in alone}) == 3
    assert together == [pytest.approx(row, rel=0.02) for row in alone]


async def test_another_digest_is_refused(served: Served):
    with pytest.raises(WrongModel, match="rft-abcd1234, rft, not rft-ffff0000"):
        async with open_endpoint(served, digest="ffff0000" * 8):
            pass


async def test_a_prompt_longer_than_the_context_is_told_in_the_servers_words(served: Served):
    async with open_endpoint(served) as model:
        with pytest.raises(BadInput, match="1024"):
            await model.chat([Message(role="user", content="one two three " * 600)])


def test_what_an_engine_answers_to_marked_requests_is_counted_apart(served: Served):
    """As the runtimes of a cluster have it: whoever does not come through the gateway's route counts for nothing."""
    metrics, ask = served.url.replace("/v1", "/metrics"), {"model": "rft", "prompt": "one", "max_tokens": 1}
    marked, long = {HEADER: "a step"}, ask | {"prompt": "one two " * 600}
    with httpx.Client(base_url=served.url, headers=bearer(served.key), timeout=60, trust_env=False) as users:
        right = [users.post("/completions", json=ask, headers=marked) for _ in range(3)]
        wrong = [users.post("/completions", json=long, headers=marked) for _ in range(2)]
        others = [users.post("/completions", json=each) for each in (ask, long)]
        others.append(users.post("/completions", json=ask, headers={HEADER: "another step"}))
        counted = answered(users.get(metrics).text, "a step")
    assert [answer.status_code for answer in (*right, *wrong)] == [200] * 3 + [400] * 2
    assert [answer.status_code for answer in others] == [200, 400, 200]
    assert counted == Answers(given=5, errors=2)


def test_deploying_again_is_the_same_engine(home: Path, engines: LocalEngines, served: Served, starter_model: Path):
    before = noted(home)
    assert engines.deploy("rft", DIGEST, starter_model) == served
    assert noted(home) == before


async def test_a_second_engine_of_the_fork_server_is_its_own_and_draws_its_own(
    home: Path, engines: LocalEngines, served: Served, starter_model: Path, reference: Reference
):
    other = engines.deploy("rft", OTHER, starter_model)
    assert other.url != served.url
    assert await fresh(other, reference) < 0.06
    async with open_endpoint(served) as one, open_endpoint(other, OTHER) as another:
        answers = [await model.chat(ASK, n=4, temperature=1.0, max_tokens=24) for model in (one, another)]
    engines.remove("rft", OTHER)
    assert {one.text for one in answers[0]} != {one.text for one in answers[1]}
    (log,) = (home / "engines").glob("forkserver.*.log")
    assert log.read_text().count("ready to fork") == 1


async def test_an_answer_is_trained_on_as_it_was_sampled(served: Served, starter_model: Path):
    await _trained_on_as_it_was_sampled(served, starter_model)


def test_an_engine_answers_who_has_the_key_alone(served: Served):
    _answers_who_has_the_key(served)


def test_the_weights_are_proven_fresh(served: Served, reference: Reference):
    assert check_fresh(served, reference) < 0.06


def test_other_weights_are_not_fresh(served: Served, starter_model: Path):
    import torch
    import transformers

    auto = cast(Any, transformers)
    torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
    other = auto.AutoModelForCausalLM.from_pretrained(starter_model, dtype="auto")
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1 + 0.02 * torch.randn_like(weights))
    with pytest.raises(WrongModel, match="apart on average"):
        check_fresh(served, reference_of(other, auto.AutoTokenizer.from_pretrained(starter_model)))


def test_kill_9_of_the_engine_is_unavailable_and_a_new_one_heals(
    home: Path, engines: LocalEngines, served: Served, starter_model: Path
):
    engine = noted(home).engine
    (server,) = (pid for pid in engine.session() if parent(pid) == engine.pid)
    left = [pid for pid in engine.session() if pid != server]
    os.kill(server, signal.SIGKILL)
    begin = time.monotonic()

    async def ask() -> None:
        async with open_endpoint(served):
            pass

    with pytest.raises(Unavailable, match=served.url):
        asyncio.run(ask())
    assert time.monotonic() - begin < 60
    assert until(lambda: engine.session() == []), f"{left} outlived the server"
    again = engines.deploy("rft", DIGEST, starter_model)
    assert noted(home).engine != engine
    check_fresh(again, reference_logprobs(starter_model))


OWNER = """
import sys
from pathlib import Path
from selftaught.serving.engines.pool import LocalEngines
LocalEngines(Path(sys.argv[1])).deploy("rft", "abcd1234" * 8, Path(sys.argv[2]))
"""


def test_kill_9_of_the_owner_leaves_no_process(tmp_path: Path, starter_model: Path):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), str(starter_model)])
    assert until(lambda: len(list((tmp_path / "engines").glob("*.json"))) == 1, 300)
    engine = noted(tmp_path).engine
    assert until(lambda: len(engine.session()) >= 3, 300), "launcher, server, engine core"
    owner.kill()
    owner.wait()
    assert until(lambda: engine.session() == [])
    assert reap(tmp_path / "engines") == ["rft-abcd1234"]


async def _trained_on_as_it_was_sampled(served: Served, folder: Path) -> None:
    """Prompt and answer to the token, with the token that ended it; of an answer that a stop string cut, its text."""
    chat = chat_of(folder)
    async with open_endpoint(served) as model:
        said = await model.chat(SHORT, n=8, max_tokens=64)
        (cut,) = await model.chat(SHORT, temperature=0.0, max_tokens=64, stop=["is"])
    ended = [one for one in said if one.finish_reason == "stop"]
    assert ended
    for one in ended:
        assert one.token_ids[-1] in chat.ends
        (row,) = rendered(answered_with(one.text, one.token_ids), chat)
        assert row.ids == one.prompt_ids + one.token_ids
        assert rendered(answered_with(one.text, one.token_ids, one.prompt_ids), chat) == [row]
    assert (cut.finish_reason, cut.token_ids[-1] in chat.ends) == ("stop", False)
    (row,) = rendered(answered_with(cut.text, cut.token_ids), chat)
    assert row.ids[-1] == chat.end
    assert chat.text(row.ids[len(cut.prompt_ids) : -1]) == cut.text


def answered_with(text: str, ids: tuple[int, ...], prompt: tuple[int, ...] = ()) -> tuple[Segment, ...]:
    return Segment.context(SHORT, prompt), Segment.answer(text, ids)


def test_without_vllm_transformers_serves_the_same_interface(
    tmp_path: Path, starter_model: Path, reference: Reference, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: TRANSFORMERS)
    with LocalEngines(tmp_path) as engines:
        served = engines.deploy("rft", DIGEST, starter_model)
        assert check_fresh(served, reference) < 1e-3
        asyncio.run(_chat_with_transformers(served))
        asyncio.run(_trained_on_as_it_was_sampled(served, starter_model))
        _refuses_what_it_cannot_do(served)
        asyncio.run(_chat_with_transformers(served))


async def _chat_with_transformers(served: Served) -> None:
    async with open_endpoint(served) as model:
        hot, cold, again = await asyncio.gather(
            model.chat(ASK, n=3, temperature=1.5, max_tokens=12),
            model.chat(ASK, temperature=0.0, max_tokens=40, stop=["9"]),
            model.chat(ASK, temperature=0.0, max_tokens=40, stop=["9"]),
        )
        assert len({one.text for one in hot}) > 1
        assert cold == again
        assert "9" not in cold[0].text
        assert model.usage.completion_tokens == sum(len(one.token_ids) for one in (*hot, *cold, *again))
        with pytest.raises(BadInput, match="maximum context length of 1024"):
            await model.chat([Message(role="user", content="one two three " * 600)])


def _refuses_what_it_cannot_do(served: Served) -> None:
    """Each with a status and words, and whoever asks next is answered."""

    key = bearer(served.key)

    def asked(**body: Any) -> httpx.Response:
        fields = {"model": served.name, "prompt": "Two and two are", "max_tokens": 3, "temperature": 0} | body
        return httpx.post(f"{served.url}/completions", json=fields, headers=key, timeout=60, trust_env=False)

    assert asked(stop=None, n=None).json()["usage"]["completion_tokens"] == 3
    assert asked(stop="END").status_code == 200
    for wrong in (
        {"prompt": []},
        {"prompt": ["no", "two"]},
        {"prompt": None},
        {"max_tokens": 0},
        {"n": -1},
        {"n": "two"},
    ):
        assert (asked(**wrong).status_code, next(iter(wrong))) == (
            400,
            asked(**wrong).json()["error"]["message"].split(":")[0],
        )
    assert asked(prompt=[10**9]).status_code == 400
    other = httpx.post(f"{served.url}/completions", content=b"{", headers=key, timeout=60, trust_env=False)
    assert other.status_code == 415
    _answers_who_has_the_key(served)


def _answers_who_has_the_key(served: Served) -> None:
    """Loopback is every user's, and every web page's."""
    root, key = served.url.removesuffix("/v1"), bearer(served.key)
    with httpx.Client(timeout=60, trust_env=False) as anybody:
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json"):
            assert anybody.get(f"{root}{path}").status_code == 401
        for path in ("/v1/chat/completions", "/v1/completions", "/classify", "/tokenize"):
            assert anybody.post(f"{root}{path}", json={"model": served.name}).status_code == 401
        assert anybody.get(f"{root}/v1/models", headers=key | {"Host": "evil.example"}).status_code == 421
        assert anybody.get(f"{root}/v1/models", headers=key).status_code == 200
        assert anybody.get(f"{root}/health").status_code == 200


def test_without_vllm_transformers_gives_the_values_of_a_value_model(
    tmp_path: Path, starter_model: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch

    from selftaught.training.loops.value import load_value, save_value

    monkeypatch.setattr("selftaught.serving.engines.engine.server_module", lambda: TRANSFORMERS)
    (tmp_path / "value").mkdir()
    save_value(load_value(starter_model, torch.float32), starter_model, tmp_path / "value")
    with LocalEngines(tmp_path) as engines:
        served = engines.deploy("rft-value", DIGEST, tmp_path / "value")
        # All prompts in one batch there, one by one here, in bf16.
        assert check_fresh(served, reference_logprobs(tmp_path / "value")) < 0.03
