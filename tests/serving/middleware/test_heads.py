"""A head waits for the first part of its answer, on a real server: nothing is lost, a failure before it is a 500."""

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from selftaught.serving.middleware.heads import Holding

PARTS = ["data: first\n\n", "data: second\n\n", "data: [DONE]\n\n"]


async def parts(which: list[str]):
    for part in which:
        if part == "fail":
            raise RuntimeError("a failure of the test")
        yield part


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    routes = [
        Route("/whole", lambda _: Response("whole")),
        Route("/empty", lambda _: Response(status_code=204)),
        Route("/stream", lambda _: StreamingResponse(parts(PARTS))),
        Route("/nothing", lambda _: StreamingResponse(parts([]))),
        Route("/fails", lambda _: StreamingResponse(parts(["fail"]))),
    ]
    app = Starlette(routes=routes)
    app.add_middleware(Holding)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("whole", 200, "whole"), ("empty", 204, ""), ("stream", 200, "".join(PARTS)), ("nothing", 200, "")],
)
def test_answers_are_what_they_were(url: str, path: str, status: int, text: str):
    said = httpx.get(f"{url}/{path}", timeout=60, trust_env=False)
    assert (said.status_code, said.text) == (status, text)


def test_a_stream_that_fails_before_its_first_part_is_a_500_and_no_broken_stream(url: str):
    assert httpx.get(f"{url}/fails", timeout=60, trust_env=False).status_code == 500


async def test_a_head_goes_out_with_the_first_part_and_everything_after_it_at_once():
    """What the server has been given, when the application has sent each of its messages."""
    seen: list[str] = []
    known: list[int] = []
    messages = ["http.response.start", *["http.response.body"] * 3]

    async def app(scope, receive, send):
        for kind in messages:
            await send({"type": kind})
            known.append(len(seen))

    async def send(message):
        seen.append(message["type"])

    await Holding(app)({"type": "http"}, send, send)
    assert known == [0, 2, 3, 4]
    assert seen == messages
