"""Users first: no request gets ahead of users', and rounds get the shares that users leave."""

import asyncio
import importlib.util
import itertools
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.inference.limiter import CLIENT, ENGINE, PRIORITY, SHARE, Limiter
from selftaught.serving.middleware.users import BESIDE_USERS, CLIENT_WINDOW, USER_WINDOW, Shares, UsersFirst

CHAT = "/v1/chat/completions"
ROUND = {PRIORITY: "1", CLIENT: "a"}


class Application:
    """Records the priorities in headers, and the bodies, that would reach the engine."""

    def __init__(self) -> None:
        self.priorities: list[list[str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = PRIORITY.lower().encode()
        self.priorities.append([value.decode() for header, value in scope["headers"] if header == name])
        message = await receive()
        self.bodies.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def ask(app: Application, path: str, headers: dict[str, str], body: bytes = b"{}", method: str = "POST"):
    wrapped = UsersFirst(app, Shares(128, beside_users=128))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://engine") as client:
        return await client.request(method, path, headers=headers, content=body)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses"])
@pytest.mark.parametrize(
    ("headers", "priority"),
    [
        ({}, "0"),
        ({PRIORITY: "-5"}, "0"),
        ({PRIORITY: "soon"}, "0"),
        ({PRIORITY: "0"}, "0"),
        ({PRIORITY: "1"}, "1"),
        ({PRIORITY: "1000"}, "1"),
        ({PRIORITY: "9" * 5000}, "1"),
        (ROUND, "1"),
    ],
)
async def test_no_priority_is_above_users(path: str, headers: dict[str, str], priority: str):
    app = Application()
    await ask(app, path, headers)
    assert app.priorities == [[priority]]


@pytest.mark.parametrize("path", ["/inference/v1/generate", "/v1/chat/completions/batch", "/v1/systemone", "/classify"])
@pytest.mark.parametrize("named", [b"-5", b'"-5"', b"-5.0", b"3"])
async def test_where_the_body_alone_is_read_it_names_what_the_header_does(path: str, named: bytes):
    app = Application()
    await ask(app, path, {}, b'{"pri\\u006frity": ' + named + b', "input": [1]}')
    await ask(app, path, ROUND, b'{"priority": ' + named + b"}")
    assert [json.loads(body) for body in app.bodies] == [{"priority": 0, "input": [1]}, {"priority": 1}]


@pytest.mark.parametrize("body", [b"no JSON", b"[1]", b"", b"\xff", b'{"input": 1}', b"[" * 100_000])
async def test_a_body_without_a_priority_is_passed_on_as_it_is(body: bytes):
    app = Application()
    await ask(app, "/classify", {}, body)
    assert app.bodies == [body]


def test_vllm_has_the_header_and_reads_it_for_these_paths():
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or not vllm.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    package = Path(vllm.submodule_search_locations[0]) / "entrypoints"  # read, because importing it takes half a minute
    assert f'PRIORITY_HEADER = "{PRIORITY}"' in (package / "generate/base/serving.py").read_text()
    for kind in ("chat_completion", "completion", "responses"):
        assert (
            "priority=self._get_priority(request, raw_request)" in (package / f"openai/{kind}/serving.py").read_text()
        )


async def test_a_round_is_told_its_share_and_a_user_nothing():
    app = Application()
    found, user = await ask(app, CHAT, ROUND), await ask(app, CHAT, {})
    listed = await ask(app, "/v1/models", ROUND, method="GET")
    assert found.headers[SHARE] == listed.headers[SHARE] == "192" and found.headers[ENGINE]
    assert SHARE not in user.headers and ENGINE not in user.headers


@pytest.mark.parametrize(("beside_users", "shares"), [(None, ["24", "13"]), ("5", ["24", "5"])])
def test_shares_follow_the_engines_command_line(
    monkeypatch: pytest.MonkeyPatch, beside_users: str | None, shares: list[str]
):
    monkeypatch.setattr("sys.argv", ["vllm", "--model=x", "--max-num-seqs=16", "--block-size", "32"])
    monkeypatch.delenv(BESIDE_USERS, raising=False)
    if beside_users:
        monkeypatch.setenv(BESIDE_USERS, beside_users)
    transport = httpx.ASGITransport(UsersFirst(Application()))

    async def shares_returned() -> list[str]:
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            before = await client.get("/v1/models", headers=ROUND)
            await client.post(CHAT)
            return [answer.headers[SHARE] for answer in (before, await client.get("/v1/models", headers=ROUND))]

    assert asyncio.run(shares_returned()) == shares


def test_users_count_for_a_while_after_their_last_answer():
    now = 0.0
    shares = Shares(128, beside_users=128, clock=lambda: now)
    with shares.request(""), shares.request(""):
        assert shares.share("a") == 110
    with shares.request(""):
        now = USER_WINDOW
        assert shares.share("a") == 110
        now = USER_WINDOW + 1
        assert shares.share("a") == 111
    now = 2 * USER_WINDOW + 2
    assert shares.share("a") == 192


def test_rounds_get_less_with_users_and_a_full_engine_without():
    now = 0.0
    shares = Shares(128, beside_users=16, clock=lambda: now)
    assert shares.share("a") == 192
    with shares.request(""):
        assert shares.share("a") == 16
    now = USER_WINDOW + 1
    assert shares.share("a") == 192
    with ExitStack() as there:
        for _ in range(100):
            there.enter_context(shares.request(""))
        assert shares.share("a") == 12


def test_rounds_share_what_users_leave():
    now = 0.0
    shares = Shares(128, beside_users=128, clock=lambda: now)
    with shares.request("a"):
        assert shares.share("a") == 192
        with shares.request("b"):
            assert shares.share("b") == 1, "until the other has received its smaller share"
            now = 1000.0
            assert shares.share("a") == shares.share("b") == 96
        assert shares.share("a") == 96, "a client that was just answered is about to send more"
        now += CLIENT_WINDOW + 1
        assert shares.share("a") == 192
        assert shares.share("c") == 1


def test_a_client_that_only_listed_the_models_has_a_share():
    """Each client starts with that request: two that start together do not both get the entire engine."""
    shares = Shares(128, beside_users=128, clock=lambda: 0.0)
    assert shares.share("a") == 192
    assert shares.share("b") == 1
    assert shares.share("a") == shares.share("b") == 96


@given(
    sequences=st.integers(1, 300),
    users=st.integers(0, 400),
    beside_users=st.integers(1, 300),
    asked=st.lists(st.integers(0, 8), min_size=1, max_size=60),
)
def test_the_shares_leave_room_for_one_more_user(sequences: int, users: int, beside_users: int, asked: list[int]):
    """In any order of requests: together no more than is available, except one sequence each."""
    shares = Shares(sequences, beside_users, clock=lambda: 0.0)
    fields = dict[int, int]()
    with ExitStack() as there:
        for _ in range(users):
            there.enter_context(shares.request(""))
        for client in asked:
            fields[client] = shares.share(str(client))
            above_one = sum(share - 1 for share in fields.values())
            assert above_one < (min(beside_users, sequences - users) if users else 2 * sequences) or not above_one
        assert min(fields.values()) >= 1
        for client in [*fields, *fields]:
            fields[client] = shares.share(str(client))
        assert len(set(fields.values())) == 1, "in the end all shares are equal"


async def turns() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


class Round:
    """A client that always has requests waiting at its limiter; each is answered after a turn of the loop."""

    numbers = itertools.count()

    def __init__(self, shares: Shares, waiting: int = 50) -> None:
        self.limiter, self._shares = Limiter(64), shares
        self._name = f"round {next(self.numbers)}"
        self.limiter.update(shares.response_headers(self._name))
        self._tasks = [asyncio.create_task(self._stream()) for _ in range(waiting)]

    async def _stream(self) -> None:
        while True:
            async with self.limiter.turn(1):
                with self._shares.request(self._name):
                    await asyncio.sleep(0)
                    self.limiter.update(self._shares.response_headers(self._name))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_clients_within_their_shares_leave_room_for_users():
    """The limiter together with the engine's shares, whoever comes first."""
    shares = Shares(32, beside_users=6, clock=lambda: 0.0)
    rounds = [Round(shares)]
    await turns()
    assert rounds[0].limiter.in_flight == 48
    rounds.append(Round(shares))
    assert sum(one.limiter.limit for one in rounds) == 49, "the second starts with one"
    await turns()
    assert [one.limiter.in_flight for one in rounds] == [24, 24]
    with shares.request(""), shares.request(""):
        await turns()
        assert [one.limiter.in_flight for one in rounds] == [3, 3]
        await rounds[1].end()
        assert rounds[1].limiter.in_flight == 0
    await rounds[0].end()
