"""Connections that grow old: closed with an answer, never before one, and only the old ones. On a real server."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from selftaught.serving.connections import Aging

AGE = 0.6


async def answer(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return
    await asyncio.sleep(1.2 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"whole"})


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("SELFTAUGHT_CONNECTION_SECONDS", str(AGE))
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(Aging(answer), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def test_a_young_connection_is_kept(url: str):
    with httpx.Client() as client:
        assert [client.get(url).headers.get("connection") for _ in range(3)] == [None] * 3


def test_an_old_one_is_closed_with_an_answer_and_the_next_is_new(url: str):
    with httpx.Client() as client:
        client.get(url)
        time.sleep(AGE + 0.1)
        last = client.get(url)
        assert (last.text, last.headers["connection"]) == ("whole", "close")
        assert "connection" not in client.get(url).headers


def test_an_answer_that_takes_longer_than_the_age_is_given_whole(url: str):
    with httpx.Client() as client:
        said = client.get(f"{url}/slow")
        assert said.text == "whole"
        assert "connection" not in client.get(url).headers


def test_nobody_who_asks_all_the_time_is_failed(url: str):
    with httpx.Client() as client:
        until, closed = time.monotonic() + 4 * AGE, 0
        while time.monotonic() < until:
            closed += client.get(url).raise_for_status().headers.get("connection") == "close"
            time.sleep(0.02)
    assert 2 <= closed <= 4
