"""The server on transformers: requests alone decide how tokens are drawn, and no request costs another its answer."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from selftaught.inference.endpoint import softmax
from selftaught.serving.engines import transformers_server
from selftaught.serving.engines.engine import OVERRIDES
from selftaught.serving.engines.transformers_server import Queue, Rewards, Server, Texts, Values
from tests.reward_models import classified, ids_of, reward_model
from tests.rounds import tiny_model
from tests.s3_server import free_ports
from tests.waiting import until

CONTEXT, BATCH, NAME = 256, 4, "line-abcd1234"
PROMPT = list(b"What is 3 + 4?")
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{% if quietly %}shh{% endif %}>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose authors recommend what would change every answer; it has no end-of-text token."""
    folder = tiny_model(tmp_path_factory.mktemp("served") / "tiny")
    own = {"do_sample": True, "repetition_penalty": 9.0, "top_p": 1e-6, "top_k": 1, "temperature": 0.01, "min_p": 1.0}
    (folder / "generation_config.json").write_text(json.dumps(own))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def generator(folder: Path) -> Queue:
    return Queue(folder, CONTEXT, BATCH, seed=0)


@pytest.fixture(scope="module")
def url(generator: Queue) -> Iterator[str]:
    with Server(("127.0.0.1", 0), [NAME], Texts(NAME, generator).answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(url: str, path: str = "/v1/completions", **body: Any) -> httpx.Response:
    fields = {"model": NAME, "prompt": PROMPT, "max_tokens": 8} | body
    return httpx.post(f"{url}{path}", json=fields, timeout=60, trust_env=False)


def said(url: str, **body: Any) -> list[list[int]]:
    return [choice["token_ids"] for choice in asked(url, **body).json()["choices"]]


def greedy(model: Any, tokens: int) -> list[int]:
    """The likeliest token, one after the other, by the model's logits alone."""
    import torch

    ids = list(PROMPT)
    with torch.inference_mode():
        for _ in range(tokens):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(PROMPT) :]


def test_greedy_is_the_likeliest_token_whatever_the_models_authors_recommend(url: str, generator: Queue):
    expected = greedy(generator.model, 24)
    assert len(set(expected)) < 24, "a penalty on repetitions would be seen"
    assert said(url, temperature=0, max_tokens=24) == [expected]


def test_samples_are_drawn_as_the_request_says_and_not_as_the_authors_recommend(url: str, generator: Queue):
    expected = greedy(generator.model, 8)
    assert len({tuple(tokens) for tokens in said(url, n=16, temperature=1.0)}) > 8
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert said(url, n=3, temperature=1.0, **narrow) == [expected] * 3


def test_what_vllm_is_told_covers_all_that_it_takes_from_a_models_own_settings():
    source = pytest.importorskip("inspect").getsource(pytest.importorskip("vllm.config.model").ModelConfig)
    listed = source[source.index("available_params = [") :]
    taken = {word.strip(' ",\n') for word in listed[: listed.index("]")].split("[")[1].split(",")} - {""}
    assert taken - {"max_new_tokens"} == set(OVERRIDES)


def test_a_model_without_an_end_of_text_token_is_served(url: str):
    (choice,) = asked(url, temperature=0).json()["choices"]
    assert (choice["finish_reason"], len(choice["token_ids"])) == ("length", 8)


def test_more_choices_than_a_batch_holds_are_generated_batch_after_batch(
    url: str, generator: Queue, monkeypatch: pytest.MonkeyPatch
):
    sizes, generate = list[int](), generator.model.generate
    monkeypatch.setattr(generator.model, "generate", lambda **k: sizes.append(len(k["input_ids"])) or generate(**k))
    assert len(said(url, n=11)) == 11
    assert sizes == [4, 4, 3]


def test_the_templates_own_variables_reach_it(url: str, generator: Queue):
    def prompt(**more: Any) -> str:
        messages = [{"role": "user", "content": "3 + 4?"}]
        answer = asked(url, "/v1/chat/completions", messages=messages, **more).json()
        return generator.tokenizer.decode(answer["prompt_token_ids"])

    assert prompt() == "3 + 4?>"
    assert prompt(chat_template_kwargs={"quietly": True}) == "3 + 4?shh>"


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"n": 1_000_000}, "n: 1000000 is not a number from 1 to 16384"),
        ({"n": True}, "n: True is not a number"),
        ({"n": 1.5}, "n: 1.5 is not an integer"),
        ({"max_tokens": 10**400}, "max_tokens: 1000"),
        ({"max_tokens": 243}, "the maximum context length of 256"),
        ({"temperature": -1}, "temperature: -1 is not a number"),
        ({"temperature": {}}, "temperature: {} is not a number"),
        ({"top_p": 0}, "top_p: 0 is not a number"),
        ({"stop": [""]}, "stop: it has to be"),
        ({"stop": 7}, "stop: it has to be"),
        ({"stop": list("abcde")}, "stop: 5 texts, at most 4"),
        ({"prompt": [10**9]}, "prompt: it has to be a text or token ids from 0 to 256"),
        ({"prompt": [-1]}, "prompt: it has to be"),
        ({"prompt": [True]}, "prompt: it has to be"),
        ({"prompt": {"a": [1]}}, "prompt: it has to be"),
        ({"prompt": [10**9], "prompt_logprobs": 0}, "prompt: it has to be"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words_and_the_next_is_answered(url: str, wrong: dict[str, Any], words: str):
    refused = asked(url, **wrong)
    assert refused.status_code == 400
    assert words in refused.json()["error"]["message"]
    assert len(said(url)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [1]}]},
        {"messages": [["role", "content"]]},
        {"messages": [{"role": "user", "content": "?"}], "chat_template_kwargs": {"chat_template": "mine"}},
        {"messages": [{"role": "user", "content": "?"}], "chat_template_kwargs": [1]},
        {"messages": [{"role": "user", "content": "?"}], "chat_template_kwargs": {"padding": "sideways"}},
    ],
)
def test_a_chat_that_is_none_is_refused(url: str, wrong: dict[str, Any]):
    assert asked(url, "/v1/chat/completions", **wrong).status_code == 400
    assert len(said(url)) == 1


@pytest.mark.parametrize(
    ("status", "content", "headers"),
    [
        (415, json.dumps({"model": NAME, "prompt": [1]}), {"Content-Type": "text/plain"}),
        (400, "{", {}),
        (400, DEEP, {}),
        (400, "[]", {}),
        (400, '{"n": ' + "9" * 5000 + "}", {}),
        (404, json.dumps({"model": ["x"]}), {}),
        (404, json.dumps({"model": "other"}), {}),
    ],
)
def test_a_body_that_is_none_is_told_with_a_status(url: str, status: int, content: str, headers: dict[str, str]):
    fields = {"Content-Type": "application/json"} | headers
    response = httpx.post(
        f"{url}/v1/completions", content=content.encode(), headers=fields, timeout=60, trust_env=False
    )
    assert (response.status_code, response.json()["error"]["code"]) == (status, status)
    assert len(said(url)) == 1


@pytest.mark.parametrize(
    "length", ["", "Content-Length: -1\r\n", "Content-Length: many\r\n", f"Content-Length: {9**30}\r\n"]
)
def test_a_body_without_a_length_is_refused(url: str, length: str):
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.makefile("rb").readline().split()[1] == b"413"


def test_a_client_that_falls_silent_holds_nobody_up(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transformers_server.Handler, "timeout", 0.05)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as connection:
        connection.sendall(head)
        assert connection.recv(1) == b"", "the connection is closed"


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("boom"), KeyError("x"), RecursionError()])
def test_whatever_generation_raises_is_that_batchs_alone(
    url: str, generator: Queue, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(**_: Any) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(generator.model, "generate", fail)
        failed = asked(url)
    assert failed.status_code == 500
    assert type(error).__name__ in failed.json()["error"]["message"]
    assert len(said(url)) == 1


def test_values_of_what_is_no_prompt_are_refused(tmp_path: Path):
    import torch

    from selftaught.training.loops.value import load_value, save_value

    save_value(load_value(tiny_model(tmp_path / "tiny"), torch.float32), tmp_path / "tiny", tmp_path)
    answers = Values(NAME, tmp_path, CONTEXT, 2, "auto").answers["/classify"]
    full = answers({"input": [[1, 2], [3], [4, 5, 6]]})["data"]
    for index, ids in enumerate([[1, 2], [3], [4, 5, 6]]):
        (alone,) = answers({"input": [ids]})["data"]
        assert alone["probs"] == pytest.approx(full[index]["probs"], abs=1e-5)
    for wrong in (None, [], "ab", [[]], [[10**9]], [[-1]], [["a"]], [1], [[1] * (CONTEXT + 1)]):
        with pytest.raises(transformers_server.RefusedError):
            answers({"input": wrong})


def test_a_process_reward_model_tells_tokens_as_its_tokenizer_has_them_and_the_classes_of_each(tmp_path: Path):
    answers = Rewards(NAME, reward_model(tmp_path), CONTEXT, "auto").answers
    tell, score = answers["/tokenize"], answers["/pooling"]
    said = {"messages": [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "2<extra_0>"}]}
    opening = "<|im_start|>system\nReason step by step.<|im_end|>\n<|im_start|>user\n2?<|im_end|>\n"
    full = f"{opening}<|im_start|>assistant\n2<extra_0><|im_end|>\n"
    ids = tell(said | {"add_generation_prompt": False})["tokens"]
    assert ids == ids_of(tmp_path, full)
    assert tell(said)["tokens"] == ids_of(tmp_path, f"{full}<|im_start|>assistant\n")
    assert tell({"prompt": "<extra_0>", "add_special_tokens": False})["tokens"] == ids_of(tmp_path, "<extra_0>")
    first, second = score({"input": [ids, ids[:3]]})["data"]
    assert np.allclose([softmax(row) for row in first["data"]], classified(tmp_path, full), atol=1e-5)
    assert np.allclose(second["data"], first["data"][:3], atol=1e-4)
    for wrong in (None, [], [[]], [[10**9]], [[1] * (CONTEXT + 1)]):
        with pytest.raises(transformers_server.RefusedError):
            score({"input": wrong})
    for wrong in ({}, {"prompt": 3}, {"messages": []}):
        with pytest.raises(transformers_server.RefusedError):
            tell(wrong)


SLOW = """
import sys, time
from pathlib import Path
from selftaught.serving.engines.transformers_server import Server

def answer(body):
    Path(sys.argv[2]).touch()
    while not Path(sys.argv[3]).exists():
        time.sleep(0.01)
    return {"said": "all of it"}

Server(("127.0.0.1", int(sys.argv[1])), ["m"], {"/v1/completions": answer}).serve_until_ended()
"""


def test_on_sigterm_it_ends_when_all_that_was_asked_is_answered(tmp_path: Path):
    """By a handler of its own: a container's first process has no other."""
    (port,), begun, go = free_ports(1), tmp_path / "begun", tmp_path / "go"
    server = subprocess.Popen([sys.executable, "-c", SLOW, str(port), str(begun), str(go)])
    with ThreadPoolExecutor() as aside:
        assert until(lambda: accepts(port), 60)
        url = f"http://127.0.0.1:{port}/v1/completions"
        asking = aside.submit(httpx.post, url, json={"model": "m"}, timeout=60, trust_env=False)
        assert until(begun.exists, 60)
        server.terminate()
        assert until(lambda: not accepts(port), 60)
        go.touch()
        assert asking.result().json() == {"said": "all of it"}
    assert server.wait(60) == 0


def accepts(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
