"""What comes through a gateway is counted apart, by its mark and its status, and nothing else is.

On a real server, as vLLM's would be wrapped.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest

from selftaught.serving.middleware.counting import HEADER, KEPT, Counting
from selftaught.serving.routes.canary import Answers, answered

MARK = "5f" * 16


@dataclass
class CountedApp:
    """A server that answers with the status that its path names, and what it has counted."""

    url: str = ""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def ask(self, path: str, mark: str = "", method: str = "POST") -> int:
        """The status of an answer."""
        headers = {HEADER: mark} if mark else {}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, trust_env=False).status_code

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def counts(self, mark: str = MARK) -> Answers | None:
        return answered(self.text, mark)


@pytest.fixture
def server() -> Iterator[CountedApp]:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raises":
            raise RuntimeError("as an engine does that is out of memory")
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
        await send({"type": "http.response.body", "body": b""})

    made = CountedApp()
    listening = socket.create_server(("127.0.0.1", 0))
    wrapped = Counting(answer, made.registry)
    running = uvicorn.Server(uvicorn.Config(wrapped, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    yield made
    running.should_exit = True
    thread.join()


def test_what_is_not_2xx_is_an_error_whoever_made_the_mistake(server: CountedApp):
    for path in ("/200", "/200", "/400", "/503", "/raises"):
        server.ask(path, MARK)
    assert server.counts() == Answers(5, 3)


def test_only_what_carries_the_mark_is_counted(server: CountedApp):
    for mark in ("", "other", MARK, MARK):
        server.ask("/500", mark)
    server.ask("/500", MARK, method="GET")
    assert server.counts() == Answers(2, 2)


def test_before_the_first_request_an_engine_that_counts_is_told_from_one_that_does_not(server: CountedApp):
    assert server.counts() == Answers()
    assert answered("# TYPE http_requests counter\nhttp_requests_total 3.0\n", MARK) is None


def test_who_reads_the_metrics_learns_no_mark(server: CountedApp):
    server.ask("/200", MARK)
    assert MARK not in server.text


def test_marks_that_somebody_makes_up_fill_no_memory(server: CountedApp):
    server.ask("/200", MARK)
    for made_up in range(KEPT):
        server.ask("/200", f"made-up-{made_up}")
    assert server.text.count("\nselftaught_gateway_answers_total{") == KEPT
    assert server.counts() == Answers()


def test_a_client_that_gives_up_before_it_is_answered_was_failed():
    """A gateway's time-out, and what the application says to a connection that is gone."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    made = CountedApp()
    scope = {"type": "http", "method": "POST", "headers": [(HEADER.encode(), MARK.encode())]}
    asyncio.run(Counting(answer, made.registry)(scope, gone, send))
    assert made.counts() == Answers(1, 1)


def test_a_client_that_has_read_enough_of_a_stream_was_not():
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    made = CountedApp()
    scope = {"type": "http", "method": "POST", "headers": [(HEADER.encode(), MARK.encode())]}
    asyncio.run(Counting(answer, made.registry)(scope, gone, send))
    assert made.counts() == Answers(1, 0)
