"""The async client against a real HTTP server that fails in the ways vLLM cannot be made to."""

import asyncio
import importlib.util
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import ChatModel, Context
from selftaught.core.errors import BadInput, NoAnswer, Unavailable, WrongModel
from selftaught.inference.endpoint import Endpoint, RetryPolicy, Usage, served_name
from selftaught.inference.limiter import CLIENT, ENGINE, PRIORITY, ROUNDS, SHARE, USERS
from selftaught.inference.remote import RemoteModel
from selftaught.records import Message
from selftaught.round.models import tasks_in_flight

DIGEST = "abcd1234" * 8
NAME = "rft-abcd1234"
ASK = (Message(role="user", content="1 + 1?"),)
Reply = Callable[[int, dict[str, Any]], tuple[int, Any]]


def answer(body: dict[str, Any], model: str = NAME, **choice: Any) -> dict[str, Any]:
    """A chat completion as vLLM gives it: `n` choices of two tokens."""
    tokens = {"content": [{"token": "2", "logprob": -0.5}, {"token": "", "logprob": -0.25}]}
    one = {"message": {"content": "2"}, "finish_reason": "stop", "token_ids": [34, 2], "logprobs": tokens} | choice
    n = body.get("n", 1)
    return {"model": model, "choices": [one] * n, "usage": {"prompt_tokens": 5, "completion_tokens": 2 * n}}


class Server(ThreadingHTTPServer):
    """Answers POSTs with `reply(number, body)`: a status and JSON, or None to drop the connection in mid-answer."""

    daemon_threads = True
    listed: tuple[str, ...] = (NAME, "rft")

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.bodies, self.headers_seen = reply, list[dict[str, Any]](), list[Any]()
        self.paths: list[str] = []
        self.now = self.most = 0
        self.lock, self.signs = threading.Lock(), 0
        self.stopped = threading.Event()  # nothing is answered while it is set

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    share: int | None = None

    def do_GET(self) -> None:
        while self.server.stopped.is_set():
            time.sleep(0.01)
        self.server.signs += 1
        self.send(200, {"data": [{"id": name} for name in self.server.listed]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
            self.server.bodies.append(body)
            self.server.headers_seen.append(self.headers)
            self.server.paths.append(self.path)
            number = len(self.server.bodies)
        status, content = self.server.reply(number, body)
        with self.server.lock:
            self.server.now -= 1
        self.send(status, content)

    def send(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) + (100 if content is None else 0)))
        if self.share:
            self.send_header(ENGINE, "one")
            self.send_header(SHARE, str(self.share))
        if isinstance(content, str):
            self.send_header("Content-Encoding", content)
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = content is None

    def log_message(self, format: str, *args: Any) -> None: ...


@contextmanager
def serving(reply: Reply = lambda number, body: (200, answer(body))) -> Generator[Server]:
    with Server(reply) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def endpoint(server: Server, **policy: Any) -> Endpoint:
    return Endpoint(server.url, "rft", DIGEST, policy=RetryPolicy(**policy))


async def test_n_completions_come_from_one_request_with_ids_and_logprobs():
    with serving() as server:
        async with endpoint(server) as model:
            assert isinstance(model, ChatModel)
            completions = await model.chat(ASK, n=3, temperature=0.7, max_tokens=9, stop=["\n"])
    assert len(server.bodies) == 1 and len(completions) == 3
    assert completions[0].token_ids == (34, 2) and completions[0].logprobs == (-0.5, -0.25)
    assert (completions[0].text, completions[0].finish_reason, completions[0].prompt_tokens) == ("2", "stop", 5)
    asked = server.bodies[0]
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["stop"]) == (NAME, 0.7, 9, ["\n"])


async def test_token_ids_are_resumed_as_they_are_and_the_stop_string_is_told():
    def completion(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        logprobs = {"tokens": ["4", "\n"], "token_logprobs": [-0.5, -0.25]}
        one = {"text": "4\n", "finish_reason": "stop", "stop_reason": "\n", "token_ids": [34, 2], "logprobs": logprobs}
        return 200, {"model": NAME, "choices": [one] * body["n"], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}

    with serving(completion) as server:
        async with endpoint(server) as model:
            said = await model.complete([5, 6, 7], n=2, temperature=0.5, max_tokens=9, stop=["\n"])
    asked = server.bodies[0]
    assert asked["prompt"] == [5, 6, 7]
    assert asked["include_stop_str_in_output"] is True
    assert [(s.text, s.stop, s.token_ids, s.tokens, s.logprobs) for s in said] == [
        ("4\n", "\n", (34, 2), ("4", "\n"), (-0.5, -0.25))
    ] * 2


async def test_a_chats_opening_is_resumed_and_its_tokens_are_told():
    with serving(lambda _, body: (200, answer(body) | {"prompt_token_ids": [1, 2, 3]})) as server:
        async with endpoint(server) as model:
            (said,) = await model.complete(ASK)
    assert said.prompt_ids == (1, 2, 3)
    assert (said.tokens, said.stop) == (("2", ""), None)
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "1 + 1?"}]


def tokenizing(_: int, body: dict[str, Any]) -> tuple[int, Any]:
    """A byte is a token, the chat's opening is its last message and a zero, and what is asked is continued by 4."""
    if "max_tokens" in body:
        one = {"text": "4", "finish_reason": "stop", "token_ids": [52], "logprobs": {"token_logprobs": [-0.5]}}
        return 200, {"model": NAME, "choices": [one] * body["n"], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"] + "\0"
    return 200, {"tokens": list(text.encode())}


@given(begun=st.text(max_size=20))
@settings(max_examples=20, deadline=None)
async def test_an_answer_that_is_begun_is_resumed_on_its_own_tokens(begun: str):
    with serving(tokenizing) as server:
        async with endpoint(server) as model:
            said = await model.chat([*ASK, Message(role="assistant", content=begun)], n=2, stop=["\n"])
    asked = server.bodies[-1]
    assert bytes(asked["prompt"]).decode() == f"1 + 1?\0{begun}"
    assert (asked["n"], asked["stop"], asked.get("include_stop_str_in_output")) == (2, ["\n"], None)
    assert [(each.text, each.token_ids, each.logprobs) for each in said] == [("4", (52,), (-0.5,))] * 2


@pytest.mark.parametrize("status", [400, 404, 405])
async def test_a_hosted_model_that_cannot_resume_an_answer_is_named(status: int):
    with serving(lambda _, body: (status, {"error": {"message": "no such path"}})) as server:
        async with RemoteModel(server.url, "gpt-x") as model:
            with pytest.raises(BadInput, match="what gpt-x's tokens are, which `prefill`"):
                await model.chat([*ASK, Message(role="assistant", content="It is")])


async def test_a_server_that_tells_no_token_ids_cannot_be_searched():
    with serving(lambda _, body: (200, answer(body, token_ids=None))) as server:
        async with endpoint(server) as model:
            with pytest.raises(BadInput, match="does not tell token ids, which a search needs"):
                await model.complete(ASK)


async def test_the_odds_of_words_are_those_of_first_tokens_in_any_case():
    tops = [("True", -0.5), (" true", -2.0), ("False", -1.5), ("Maybe", -3.0)]
    content = [{"token": "True", "logprob": -0.5, "top_logprobs": [{"token": t, "logprob": p} for t, p in tops]}]
    with serving(lambda _, body: (200, answer(body, logprobs={"content": content}))) as server:
        async with endpoint(server) as model:
            odds = await model.odds([ASK], ["true", "false", "never"])
    assert odds == [pytest.approx([math.exp(-0.5) + math.exp(-2.0), math.exp(-1.5), 0.0])]
    assert (server.bodies[0]["max_tokens"], server.bodies[0]["top_logprobs"]) == (1, 20)


async def test_a_model_behind_a_url_is_asked_for_log_probabilities_where_odds_are_asked_for():
    """OpenAI's servers and vLLM's refuse `top_logprobs` without `logprobs`."""
    content = [{"token": "True", "logprob": -0.1, "top_logprobs": [{"token": "True", "logprob": -0.1}]}]
    with serving(lambda _, body: (200, answer(body, logprobs={"content": content}))) as server:
        async with RemoteModel(server.url, "gpt-x") as model:
            assert await model.odds([ASK], ["true"]) == [pytest.approx([math.exp(-0.1)])]
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)


CHATS = [(*ASK, Message(role="assistant", content=said), *ASK) for said in "abc"]


def believed(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to one chat: how likely `true` is follows from what was said in it."""
    logprob = -float("abc".index(body["messages"][1]["content"]))
    content = [{"token": "True", "logprob": logprob, "top_logprobs": [{"token": "True", "logprob": logprob}]}]
    return answer(body, logprobs={"content": content}, token_ids=None)


def in_batches(_: int, body: dict[str, Any]) -> tuple[int, Any]:
    """As vLLM's `/chat/completions/batch`, the choices the wrong way round."""
    if not isinstance(body["messages"][0], list):
        return 200, believed(body)
    each = [believed({"messages": messages})["choices"][0] for messages in body["messages"]]
    choices = [one | {"index": index} for index, one in enumerate(each)][::-1]
    return 200, {"model": NAME, "choices": choices, "usage": {"prompt_tokens": 15, "completion_tokens": 3}}


SURE = [pytest.approx([math.exp(-k)]) for k in range(3)]


async def test_the_odds_of_several_chats_come_in_their_order_from_one_request():
    with serving(in_batches) as server:
        async with Endpoint(server.url, "rft", DIGEST, template={"enable_thinking": False}) as model:
            assert await model.odds(CHATS, ["true"]) == SURE
            assert server.paths == ["/v1/chat/completions/batch"]
            assert await model.odds(CHATS[:1], ["true"]) == SURE[:1]
            assert server.paths[1:] == ["/v1/chat/completions"]
            assert model.usage.requests == 2
    asked = server.bodies[0]
    assert [messages[1]["content"] for messages in asked["messages"]] == ["a", "b", "c"]
    assert (asked["max_tokens"], asked["top_logprobs"], asked.get("n", 1)) == (1, 20, 1)
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}


@pytest.mark.parametrize("priority", [ROUNDS, USERS])
async def test_a_batch_names_the_priority_of_its_client(priority: int):
    """vLLM reads a batch's in the body alone, and one that names none is a user's."""
    with serving(in_batches) as server:
        async with endpoint(server, priority=priority) as model:
            await model.odds(CHATS, ["true"])
    assert [body["priority"] for body in server.bodies] == [priority]


def test_vllm_has_batches_of_chats_and_reads_their_priority_in_the_body():
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    package = Path(vllm.submodule_search_locations[0]) / "entrypoints"  # read, because importing it takes half a minute
    assert '"/v1/chat/completions/batch"' in (package / "openai/chat_completion/api_router.py").read_text()
    assert "priority=request.priority" in (package / "openai/chat_completion/batch_serving.py").read_text()


async def test_a_server_without_batches_is_asked_one_by_one_and_not_for_a_batch_again():
    def one_by_one(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        return (404, {"detail": "Not Found"}) if isinstance(body["messages"][0], list) else (200, believed(body))

    with serving(one_by_one) as server:
        async with endpoint(server) as model:
            for _ in range(2):
                assert await model.odds(CHATS, ["true"]) == SURE
    assert Counter(server.paths) == {"/v1/chat/completions/batch": 1, "/v1/chat/completions": 6}


async def test_a_model_that_is_gone_is_no_server_without_batches():
    with serving(lambda _, __: (404, {"error": {"message": "The model does not exist."}})) as server:
        async with endpoint(server) as model:
            with pytest.raises(WrongModel, match="does not exist"):
                await model.odds(CHATS, ["true"])


@pytest.mark.parametrize("indices", [[0, 1], [0, 1, 1], [0, 1, 3], [0, 1, 2, 3]])
async def test_a_batch_that_is_not_answered_chat_by_chat_is_no_answer(indices: list[int]):
    one = believed({"messages": [{}, {"content": "a"}]})["choices"][0]
    said = {"model": NAME, "choices": [one | {"index": i} for i in indices], "usage": {"prompt_tokens": 1}}
    with serving(lambda _, __: (200, said)) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=f"gave {len(indices)} answers to 3 chats"):
                await model.odds(CHATS, ["true"])


async def test_a_batch_counts_as_its_chats_where_sequences_are_counted():
    """Two batches of three and room for four: one after the other."""

    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(0.05)
        return in_batches(number, body)

    with serving(slow) as server:
        async with endpoint(server, concurrency=4) as model:
            assert await asyncio.gather(*(model.odds(CHATS, ["true"]) for _ in range(2))) == [SURE] * 2
    assert server.most == 1


def valued(*values: float) -> Reply:
    """A value server's answer, its rows the wrong way round."""
    rows = [{"index": i, "probs": [value]} for i, value in enumerate(values)][::-1]
    return lambda _, body: (200, {"model": NAME, "data": rows, "usage": {"prompt_tokens": 4}})


async def test_values_come_in_the_order_of_the_inputs_from_beside_the_openai_endpoints():
    with serving(valued(0.25, 0.75)) as server:
        async with endpoint(server) as model:
            assert await model.values([[1, 2], [1, 3]]) == [0.25, 0.75]
            assert server.paths[-1] == "/classify"
    assert server.bodies[0]["input"] == [[1, 2], [1, 3]]
    assert server.bodies[0]["use_activation"] is False


async def test_another_number_of_values_is_refused():
    with serving(valued(0.25)) as server:
        async with endpoint(server) as model:
            with pytest.raises(BadInput, match="gave 1 values for 2 partial solutions"):
                await model.values([[1, 2], [1, 3]])


async def test_values_that_json_cannot_say_are_no_numbers():
    said = {"error": {"message": "Out of range float values are not JSON compliant", "code": 400}}
    with serving(lambda _, body: (400, said)) as server:
        async with endpoint(server) as model:
            assert all(map(math.isnan, await model.values([[1], [2]])))


async def test_a_value_server_that_died_is_told():
    with serving(lambda _, body: (503, {"error": "gone"})) as server:
        async with endpoint(server, patience=0.3) as model:
            with pytest.raises(Unavailable, match="answered 503"):
                await model.values([[1]])


def rewarding(*rows: list[list[float]], tag: tuple[int, ...] = (9,)) -> Reply:
    """A process reward model of two classes whose tokens are a text's letters; its rows the wrong way round."""

    def reply(_: int, body: dict[str, Any]) -> tuple[int, Any]:
        if "messages" in body:
            said = "".join(message["content"] for message in body["messages"])
            return 200, {"tokens": [9 if letter == "#" else ord(letter) for letter in said]}
        if "prompt" in body:
            return 200, {"tokens": tag}
        data = [{"index": index, "data": each} for index, each in enumerate(rows)][::-1]
        return 200, {"model": NAME, "data": data, "usage": {"prompt_tokens": 4}}

    return reply


def chat(said: str) -> list[Message]:
    return [Message(role="user", content="q"), Message(role="assistant", content=said)]


EVEN, SURE_OF_IT = [3.0, 3.0], [-1.0, 1000.0]


async def test_rewards_are_the_probabilities_of_the_classes_at_the_tags_of_each_chat():
    first, second = [EVEN, EVEN, SURE_OF_IT, EVEN, EVEN], [EVEN, EVEN, [0.0, math.log(3)]]
    with serving(rewarding(first, second)) as server:
        async with endpoint(server) as model:
            assert await model.rewards([chat("a#b#"), chat("c#")], "#") == [
                [(0.0, 1.0), (0.5, 0.5)],
                [pytest.approx((0.25, 0.75))],
            ]
    tag, *chats, pooled = server.bodies
    assert server.paths == ["/tokenize", "/tokenize", "/tokenize", "/pooling"]
    assert (tag["prompt"], tag["add_special_tokens"]) == ("#", False)
    assert [body["add_generation_prompt"] for body in chats] == [False, False]
    assert (pooled["task"], pooled["use_activation"]) == ("token_classify", False)
    assert sorted(pooled["input"]) == [[113, 97, 9, 98, 9], [113, 99, 9]]


async def test_a_tag_that_is_no_token_of_the_model_is_told():
    with serving(rewarding(tag=(1, 2))) as server:
        async with endpoint(server) as model:
            with pytest.raises(BadInput, match=r"'#': is 2 tokens to .*Name the tag that the model was trained with"):
                await model.rewards([chat("a#")], "#")


@pytest.mark.parametrize(
    ("rows", "text"),
    [(([EVEN] * 2,), "2 scores of 3 tokens"), (([EVEN] * 3, [EVEN]), "2 answers to 1 solutions"), ((), "0 answers")],
)
async def test_scores_of_other_tokens_are_no_answer(rows: tuple[list[list[float]], ...], text: str):
    with serving(rewarding(*rows)) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=text):
                await model.rewards([chat("a#")], "#")


@pytest.mark.parametrize("given", [1, 3, 7])
async def test_what_a_server_leaves_out_is_asked_for_again(given: int):
    with serving(lambda _, body: (200, answer(body | {"n": min(given, body["n"])}))) as server:
        async with endpoint(server) as model:
            assert len(await model.chat(ASK, n=8)) == 8
    assert [body["n"] for body in server.bodies] == list(range(8, 0, -given))


async def test_more_than_was_asked_for_is_dropped():
    with serving(lambda _, body: (200, answer(body | {"n": 40}))) as server:
        async with endpoint(server) as model:
            assert len(await model.chat(ASK, n=8)) == 8
            assert len(await model.complete([5], n=3)) == 3


@pytest.mark.parametrize("first", [0, 3])
async def test_a_server_that_gives_none_is_no_answer_and_both_numbers_are_told(first: int):
    with serving(lambda number, body: (200, answer(body | {"n": first if number == 1 else 0}))) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=f"gave {first} of the 8 completions that were asked for"):
                await model.chat(ASK, n=8)
            with pytest.raises(NoAnswer, match="gave 0 of the 1 completions"):
                await model.odds([ASK], ["yes"])


@pytest.mark.parametrize(
    ("said", "kept"),
    [("length", "length"), ("abort", "abort"), ("content_filter", "content_filter"), (None, "unknown"), ("x", "x")],
)
async def test_how_an_answer_ended_is_kept_as_it_was_told(said: str | None, kept: str):
    with serving(lambda _, body: (200, answer(body, finish_reason=said))) as server:
        async with endpoint(server) as model:
            assert [one.finish_reason for one in await model.chat(ASK, n=2)] == [kept] * 2
            assert [one.finish_reason for one in await model.complete(ASK, n=2)] == [kept] * 2


def logprobs(*values: float) -> dict[str, Any]:
    return {"content": [{"token": "2", "logprob": value} for value in values]}


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"token_ids": [1, 2, 3]}, "2 log-probabilities of 3 tokens"),
        ({"token_ids": [1] * 10, "logprobs": logprobs(*[-1.0] * 10)}, "10 tokens where at most 9 were asked for"),
        ({"logprobs": logprobs(-0.5, math.nan)}, "a log-probability of nan"),
        ({"logprobs": logprobs(-0.5, -math.inf)}, "a log-probability of -inf"),
        ({"logprobs": logprobs(-0.5, 80.0)}, "a log-probability of 80.0"),
        ({"token_ids": [1, 2**31]}, "choices.0.token_ids.1: Input should be less than 2147483648"),
        ({"token_ids": [-1, 2]}, "choices.0.token_ids.0: Input should be greater than or equal to 0"),
        ({"finish_reason": "x" * 101}, "choices.0.finish_reason: String should have at most 100 characters"),
        ({"message": {"content": ["2"]}}, "choices.0.message.content: Input should be a valid string"),
    ],
)
async def test_what_cannot_be_what_it_says_is_no_answer(choice: dict[str, Any], words: str):
    with serving(lambda _, body: (200, answer(body, **choice))) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=re.escape(words)):
                await model.chat(ASK, max_tokens=9)


@pytest.mark.parametrize("tokens", [-1, 10**30, 0.5, "many"])
async def test_a_usage_that_is_no_number_of_tokens_is_no_answer(tokens: Any):
    used = {"usage": {"prompt_tokens": tokens, "completion_tokens": 2}}
    with serving(lambda _, body: (200, answer(body) | used)) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=r"usage\.prompt_tokens"):
                await model.chat(ASK)


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
async def test_what_cannot_be_unpacked_is_no_answer(packing: str):
    """A proxy says that it packs what it does not."""
    with serving(lambda *_: (200, packing)) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=r"gave what cannot be unpacked"):
                await model.chat(ASK)


async def test_an_error_with_status_200_is_told_in_the_servers_words():
    with serving(lambda _, body: (200, {"error": {"message": "the scheduler is full"}})) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match=r"not an OpenAI-compatible response.*the scheduler is full"):
                await model.chat(ASK)


async def test_status_500_is_that_requests_alone_and_a_wrong_key_is_everybodys():
    with serving(lambda number, body: (500 if number == 1 else 401, {"error": "boom"})) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match="answered 500: boom"):
                await model.chat(ASK)
            with pytest.raises(BadInput, match="takes no request of ours \\(401\\): boom") as found:
                await model.chat(ASK)
    assert not isinstance(found.value, NoAnswer)


@pytest.mark.parametrize("rows", [[None], [None, {}, {"3": {"logprob": -1.0}}], [None, {"9": {"logprob": -1.0}}] * 2])
async def test_log_probabilities_of_another_prompt_are_no_answer(rows: list[Any]):
    with serving(lambda _, body: (200, answer(body, prompt_logprobs=rows))) as server:
        async with endpoint(server) as model:
            with pytest.raises(NoAnswer, match="of a prompt's 3 tokens"):
                await model.prompt_logprobs([1, 2, 3])


async def test_log_probabilities_of_a_prompt_are_those_of_its_tokens():
    rows = [None, {"2": {"logprob": -1.0}, "7": {"logprob": -0.1}}, {"3": {"logprob": -2.0}}]
    with serving(lambda _, body: (200, answer(body, prompt_logprobs=rows))) as server:
        async with endpoint(server) as model:
            assert await model.prompt_logprobs([1, 2, 3]) == [-1.0, -2.0]


async def test_how_tokens_are_drawn_is_said_where_it_is_not_the_default():
    with serving() as server:
        async with endpoint(server) as model:
            await model.chat(ASK)
            await model.chat(ASK, top_p=0.9, top_k=20, min_p=0.1)
            await model.complete([5], top_k=3)
    drawn = [{name: body[name] for name in ("top_p", "top_k", "min_p") if name in body} for body in server.bodies]
    assert drawn == [{}, {"top_p": 0.9, "top_k": 20, "min_p": 0.1}, {"top_k": 3}]


async def test_the_chat_templates_variables_go_with_every_chat_and_with_nothing_else():
    with serving(lambda _, body: (200, answer(body, logprobs=ONE))) as server:
        async with Endpoint(server.url, "rft", DIGEST, template={"enable_thinking": False}) as model:
            await model.chat(ASK, max_tokens=2)
            await model.complete(ASK, max_tokens=2)
            await model.odds([ASK], ["yes"])
            await model.complete([5], max_tokens=2)
    response = [body.get("chat_template_kwargs") for body in server.bodies]
    assert response == [{"enable_thinking": False}] * 3 + [None]


ONE = {"content": [{"token": "2", "logprob": -0.5, "top_logprobs": []}, {"token": "", "logprob": -0.25}]}


async def test_usage_counts_every_answered_request():
    with serving() as server:
        async with endpoint(server) as model:
            await asyncio.gather(*(model.chat(ASK, n=2) for _ in range(5)))
            assert model.usage == Usage(5, 25, 20, model.usage.seconds)
            assert model.usage.seconds > 0


async def test_a_server_without_token_ids_still_works():
    with serving(lambda _, body: (200, answer(body, token_ids=None, logprobs=None))) as server:
        async with endpoint(server) as model:
            (completion,) = await model.chat(ASK)
    assert completion.text == "2" and completion.token_ids == () and completion.logprobs == ()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_may_heal_is_tried_again(status: int):
    with serving(lambda number, body: (status, {}) if number < 3 else (200, answer(body))) as server:
        async with endpoint(server) as model:
            assert len(await model.chat(ASK)) == 1
    assert len(server.bodies) == 3


async def test_a_server_that_dies_in_mid_answer_is_tried_again():
    with serving(lambda number, body: (200, None) if number == 1 else (200, answer(body))) as server:
        async with endpoint(server) as model:
            assert len(await model.chat(ASK)) == 1
    assert len(server.bodies) == 2


async def test_patience_ends_and_the_message_names_the_url():
    with serving(lambda _, body: (503, {"error": {"message": "overloaded"}})) as server:
        async with endpoint(server, patience=0.5) as model:
            begin = time.monotonic()
            with pytest.raises(Unavailable, match=f"{server.url}.*503.*overloaded"):
                await model.chat(ASK)
            assert time.monotonic() - begin < 60
    assert len(server.bodies) >= 2


async def test_an_answer_that_takes_too_long_is_unavailable():
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(0.5)
        return 200, answer(body)

    with serving(slow) as server:
        model = endpoint(server, timeout=0.1, patience=0.0)
        with pytest.raises(Unavailable, match="Timeout on reading"):
            await model.chat(ASK)
        await model.aclose()


async def test_a_server_that_has_stalled_is_found_long_before_its_answer_is_given_up():
    """As after SIGSTOP: connections are taken, and nothing is said on them."""

    def stop(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        server.stopped.set()
        while server.stopped.is_set():
            time.sleep(0.01)
        return 200, answer(body)

    with serving(stop) as server:
        async with endpoint(server, timeout=600.0, patience=600.0, pulse=0.1) as model:
            try:
                with pytest.raises(Unavailable, match=r"has stalled: it has not answered /v1/models for .* s\."):
                    await asyncio.gather(*(model.chat(ASK) for _ in range(5)))
            finally:
                server.stopped.clear()


async def test_an_answer_that_takes_long_is_waited_for_while_the_server_shows_signs_of_life():
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        while server.signs < 4:
            time.sleep(0.01)
        return 200, answer(body)

    with serving(slow) as server:
        async with endpoint(server, concurrency=1, pulse=1.0) as model:
            assert len(await asyncio.gather(*(model.chat(ASK) for _ in range(2)))) == 2


async def test_nobody_there_is_unavailable():
    with serving() as server:
        url = server.url
    with pytest.raises(Unavailable, match="Is the server running"):
        async with Endpoint(url, "rft", DIGEST, policy=RetryPolicy(patience=0.3)):
            pass


@pytest.mark.parametrize(
    "body", [{"error": {"message": "context of 1024"}}, {"message": "context of 1024"}, {"detail": "context of 1024"}]
)
async def test_a_bad_request_carries_the_servers_words_and_is_not_repeated(body: dict[str, Any]):
    with serving(lambda _, __: (400, body)) as server:
        async with endpoint(server) as model:
            with pytest.raises(BadInput, match="context of 1024"):
                await model.chat(ASK)
    assert len(server.bodies) == 1


async def test_an_answer_of_another_model_is_refused():
    with serving(lambda _, body: (200, answer(body, model="rft-ffff0000"))) as server:
        async with endpoint(server) as model:
            with pytest.raises(WrongModel, match="rft-ffff0000"):
                await model.chat(ASK)
            assert model.usage.requests == 0


async def test_an_endpoint_that_lists_another_digest_is_refused_before_the_first_request():
    with serving() as server:
        server.listed = ("rft-ffff0000", "rft")
        with pytest.raises(WrongModel, match="rft-ffff0000"):
            async with endpoint(server):
                pass
    assert server.bodies == []


async def test_a_model_that_is_gone_is_the_wrong_model():
    with serving(lambda _, __: (404, {"error": {"message": "The model does not exist."}})) as server:
        async with endpoint(server) as model:
            with pytest.raises(WrongModel, match="does not exist"):
                await model.chat(ASK)


async def test_no_more_requests_are_in_flight_than_allowed():
    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        time.sleep(0.05)
        return 200, answer(body)

    with serving(slow) as server:
        async with endpoint(server, concurrency=3) as model:
            await asyncio.gather(*(model.chat(ASK) for _ in range(12)))
    assert server.most == 3


async def test_a_round_says_that_it_is_one_and_a_person_does_not():
    with serving() as server:
        for policy in (RetryPolicy(), RetryPolicy(), RetryPolicy(priority=USERS)):
            async with Endpoint(server.url, "rft", DIGEST, policy=policy) as model:
                await model.chat(ASK)
                await model.chat(ASK)
    assert [seen[PRIORITY] for seen in server.headers_seen] == ["1"] * 4 + [None] * 2
    clients = [seen[CLIENT] for seen in server.headers_seen]
    assert clients[0] == clients[1] != clients[2] == clients[3] and clients[4:] == [None] * 2
    assert all("priority" not in body for body in server.bodies), "other servers refuse what they do not know"


async def test_what_is_in_flight_is_counted_in_sequences():
    """By the server itself: the sum of `n` of the requests that it answers at a time."""
    now, most, lock, three = 0, 0, threading.Lock(), threading.Barrier(3, timeout=60)

    def slow(number: int, body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal now, most
        with lock:
            now += body["n"]
            most = max(most, now)
        three.wait()
        with lock:
            now -= body["n"]
        return 200, answer(body)

    with serving(slow) as server:
        async with endpoint(server, concurrency=12) as model:
            await asyncio.gather(*(model.chat(ASK, n=4) for _ in range(12)))
    assert most == 12


async def test_the_room_is_what_the_engine_says_and_known_before_the_first_request(monkeypatch: pytest.MonkeyPatch):
    """A round keeps so many tasks in flight, and 32 at least."""
    for share, room, tasks in ((200, 200, 200), (13, 13, 32), (None, 128, 128)):
        monkeypatch.setattr(Handler, "share", share)
        with serving() as server:
            async with endpoint(server, concurrency=128) as model:
                assert (model.room, tasks_in_flight(Context(models={"policy": model}))) == (room, tasks)
        assert server.bodies == []


async def test_the_key_comes_from_the_named_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RFT_KEY", "s3cret")
    with serving() as server:
        async with Endpoint(server.url, "rft", DIGEST, api_key_env="RFT_KEY") as model:
            await model.chat(ASK)
    assert Counter(headers["Authorization"] for headers in server.headers_seen) == {"Bearer s3cret": 1}


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RFT_KEY", raising=False)
    with pytest.raises(BadInput, match="RFT_KEY"):
        Endpoint("http://127.0.0.1:1/v1", "rft", DIGEST, api_key_env="RFT_KEY")


def test_served_name_is_the_line_and_eight_digits():
    assert served_name("rft", DIGEST) == NAME


async def test_a_conversation_with_calls_of_tools_is_sent_as_openais_protocol_has_it():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    rows = [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ]
    with serving() as server:
        async with endpoint(server) as model:
            await model.chat([Message.from_row(each) for each in rows])
    assert server.bodies[0]["messages"] == rows
