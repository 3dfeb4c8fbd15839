"""Connections that grow old: closed with an answer, never before one, and only the old ones.

On a real server, with a clock that the tests put forward.
"""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from selftaught.serving.middleware.connections import MOST, Aging

AGE = 30.0


class Clock:
    """Stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("selftaught.serving.middleware.connections.time", made)
    return made


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[str]:
    async def answer(scope, receive, send):
        if scope["path"] == "/slow":
            clock.now += 2 * AGE
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"whole"})

    monkeypatch.setenv("SELFTAUGHT_CONNECTION_SECONDS", str(AGE))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Aging(answer), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_young_connection_is_kept(url: str):
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert [client.get(url).headers.get("connection") for _ in range(3)] == [None] * 3


def test_an_old_one_is_closed_with_an_answer_and_the_next_is_new(url: str, clock: Clock):
    with httpx.Client(timeout=60, trust_env=False) as client:
        client.get(url)
        clock.now += AGE + 1
        last = client.get(url)
        assert (last.text, last.headers["connection"]) == ("whole", "close")
        assert "connection" not in client.get(url).headers


def test_an_answer_that_takes_longer_than_the_age_is_given_whole(url: str):
    with httpx.Client(timeout=60, trust_env=False) as client:
        said = client.get(f"{url}/slow")
        assert (said.text, said.headers["connection"]) == ("whole", "close")
        assert "connection" not in client.get(url).headers


def test_nobody_who_asks_all_the_time_is_failed(url: str, clock: Clock):
    """A request every ten seconds: seconds 0 to 40, where the first connection is too old, 50 to 90, and so on."""
    closed: list[float] = []
    with httpx.Client(timeout=60, trust_env=False) as client:
        for clock.now in range(0, 140, 10):
            if client.get(url).raise_for_status().headers.get("connection") == "close":
                closed.append(clock.now)
    assert closed == [40, 90]


def test_many_short_connections_cost_the_next_one_nothing():
    """Looking for those to forget at each would hold up all answers, for as long as nothing can be forgotten."""

    async def nothing(scope: Any, receive: Any, send: Any) -> None: ...

    aging, looked = Aging(nothing), 0
    for port in range(20 * MOST):
        before = aging._since  # pyright: ignore[reportPrivateUsage]
        aging._known(("10.0.0.1", port))  # pyright: ignore[reportPrivateUsage]
        looked += aging._since is not before  # pyright: ignore[reportPrivateUsage]
    assert looked <= 5
