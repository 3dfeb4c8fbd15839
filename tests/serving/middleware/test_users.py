"""Users first, as an engine keeps to it: nobody is put before users, and rounds are told what users leave to them."""

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
from selftaught.serving.middleware.users import BESIDE, JUST_NOW, LATELY, Places, UsersFirst

CHAT = "/v1/chat/completions"
ROUND = {PRIORITY: "1", CLIENT: "a"}


class Application:
    """Keeps what an engine would be asked: priorities of the header, and bodies."""

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
    wrapped = UsersFirst(app, Places(128, beside=128))
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
async def test_nobody_is_put_before_users(path: str, headers: dict[str, str], priority: str):
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
    place = Path(vllm.submodule_search_locations[0]) / "entrypoints"  # read, because importing it takes half a minute
    assert f'PRIORITY_HEADER = "{PRIORITY}"' in (place / "generate/base/serving.py").read_text()
    for kind in ("chat_completion", "completion", "responses"):
        assert "priority=self._get_priority(request, raw_request)" in (place / f"openai/{kind}/serving.py").read_text()


async def test_a_round_is_told_its_share_and_a_user_nothing():
    app = Application()
    told, user = await ask(app, CHAT, ROUND), await ask(app, CHAT, {})
    listed = await ask(app, "/v1/models", ROUND, method="GET")
    assert told.headers[SHARE] == listed.headers[SHARE] == "192" and told.headers[ENGINE]
    assert SHARE not in user.headers and ENGINE not in user.headers


@pytest.mark.parametrize(("beside", "shares"), [(None, ["24", "13"]), ("5", ["24", "5"])])
def test_the_places_are_those_that_the_engine_is_started_with(
    monkeypatch: pytest.MonkeyPatch, beside: str | None, shares: list[str]
):
    monkeypatch.setattr("sys.argv", ["vllm", "--model=x", "--max-num-seqs=16", "--block-size", "32"])
    monkeypatch.delenv(BESIDE, raising=False)
    if beside:
        monkeypatch.setenv(BESIDE, beside)
    transport = httpx.ASGITransport(UsersFirst(Application()))

    async def told() -> list[str]:
        async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
            before = await client.get("/v1/models", headers=ROUND)
            await client.post(CHAT)
            return [answer.headers[SHARE] for answer in (before, await client.get("/v1/models", headers=ROUND))]

    assert asyncio.run(told()) == shares


def test_users_count_for_as_long_as_they_are_likely_to_come_back():
    now = 0.0
    places = Places(128, beside=128, clock=lambda: now)
    with places.taken(""), places.taken(""):
        assert places.share("a") == 110
    with places.taken(""):
        now = LATELY
        assert places.share("a") == 110
        now = LATELY + 1
        assert places.share("a") == 111
    now = 2 * LATELY + 2
    assert places.share("a") == 192


def test_beside_users_rounds_have_less_and_without_them_what_keeps_the_engine_full():
    now = 0.0
    places = Places(128, beside=16, clock=lambda: now)
    assert places.share("a") == 192
    with places.taken(""):
        assert places.share("a") == 16
    now = LATELY + 1
    assert places.share("a") == 192
    with ExitStack() as there:
        for _ in range(100):
            there.enter_context(places.taken(""))
        assert places.share("a") == 12


def test_rounds_share_what_users_leave():
    now = 0.0
    places = Places(128, beside=128, clock=lambda: now)
    with places.taken("a"):
        assert places.share("a") == 192
        with places.taken("b"):
            assert places.share("b") == 1, "until the other has been told to make room"
            now = 1000.0
            assert places.share("a") == places.share("b") == 96
        assert places.share("a") == 96, "who was answered just now is about to ask again"
        now += JUST_NOW + 1
        assert places.share("a") == 192
        assert places.share("c") == 1


def test_who_has_only_asked_what_is_served_has_its_share():
    """Each client begins with that question: two that begin together do not have the whole engine each."""
    places = Places(128, beside=128, clock=lambda: 0.0)
    assert places.share("a") == 192
    assert places.share("b") == 1
    assert places.share("a") == places.share("b") == 96


@given(
    sequences=st.integers(1, 300),
    users=st.integers(0, 400),
    beside=st.integers(1, 300),
    asked=st.lists(st.integers(0, 8), min_size=1, max_size=60),
)
def test_what_rounds_are_told_together_leaves_room_for_one_user_more(
    sequences: int, users: int, beside: int, asked: list[int]
):
    """However often and in whatever order clients ask: together no more than the room, but for one sequence each."""
    places = Places(sequences, beside, clock=lambda: 0.0)
    told = dict[int, int]()
    with ExitStack() as there:
        for _ in range(users):
            there.enter_context(places.taken(""))
        for client in asked:
            told[client] = places.share(str(client))
            above_one = sum(share - 1 for share in told.values())
            assert above_one < (min(beside, sequences - users) if users else 2 * sequences) or not above_one
        assert min(told.values()) >= 1
        for client in [*told, *told]:
            told[client] = places.share(str(client))
        assert len(set(told.values())) == 1, "in the end all have as many"


async def turns() -> None:
    for _ in range(300):
        await asyncio.sleep(0)


class Round:
    """A client that always has requests waiting at its limiter; each is answered after a turn of the loop."""

    numbers = itertools.count()

    def __init__(self, places: Places, waiting: int = 50) -> None:
        self.limiter, self._places = Limiter(64), places
        self._name = f"round {next(self.numbers)}"
        self.limiter.hear(places.told(self._name))
        self._tasks = [asyncio.create_task(self._stream()) for _ in range(waiting)]

    async def _stream(self) -> None:
        while True:
            async with self.limiter.turn(1):
                with self._places.taken(self._name):
                    await asyncio.sleep(0)
                    self.limiter.hear(self._places.told(self._name))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_clients_that_keep_to_their_shares_leave_users_room():
    """The limiter and the engine's count together, whoever comes first."""
    places = Places(32, beside=6, clock=lambda: 0.0)
    rounds = [Round(places)]
    await turns()
    assert rounds[0].limiter.flying == 48
    rounds.append(Round(places))
    assert sum(one.limiter.limit for one in rounds) == 49, "the second begins with one"
    await turns()
    assert [one.limiter.flying for one in rounds] == [24, 24]
    with places.taken(""), places.taken(""):
        await turns()
        assert [one.limiter.flying for one in rounds] == [3, 3]
        await rounds[1].end()
        assert rounds[1].limiter.flying == 0
    await rounds[0].end()
