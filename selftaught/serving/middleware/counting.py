"""Counts responses to marked requests: ASGI middleware for vLLM (`--middleware`).

An engine's own metrics count whoever asks: users, clients in the cluster, a round's sampling. To compare two versions
by what users get, only those requests may count that a gateway has shared out between them. Its route sets a header
with a mark, redrawn for every step; what is answered to requests with that mark is counted here, by the mark's
digest, and read from the engine's /metrics with the rest.

A gateway *sets* the header, whatever the user sent. A client that reaches the engine itself would have to know the
mark: /metrics shows its digest alone, so it takes leave to read the HTTPRoute, or sight of others' requests.
"""

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

HEADER = "x-selftaught-step"
METRIC = "selftaught_gateway_answers_total"
KEPT = 100
"""Marks of which counts are kept, the newest: whoever makes marks up shall not fill the memory."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def label(mark: str) -> str:
    """How a mark is shown in the metrics."""
    return hashlib.sha256(mark.encode()).hexdigest()[:16]


class Counting:
    """Wraps an ASGI application. Counts go into `registry`, prometheus_client's own unless given."""

    def __init__(self, app: App, registry: Any = None) -> None:
        from prometheus_client import REGISTRY, Counter

        self._app = app
        self._counts = Counter(
            METRIC.removesuffix("_total"),
            "Answers to requests that a gateway shared out between two versions, by the step's mark.",
            ["step", "status"],
            registry=registry or REGISTRY,
        )
        self._kept: dict[str, set[str]] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        mark = _mark(scope)
        if not mark:
            await self._app(scope, receive, send)
            return
        status = ""

        async def received() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect":
                status = status or "none"  # whoever asked has given up, or the gateway for them
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = status or f"{message['status'] // 100}xx"
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            self._count(mark, status or "5xx")  # the server answers 500 for an application that raises

    def _count(self, mark: str, status: str) -> None:
        self._kept.setdefault(mark, set()).add(status)
        self._counts.labels(label(mark), status).inc()
        while len(self._kept) > KEPT:
            oldest = next(iter(self._kept))
            for counted in self._kept.pop(oldest):
                self._counts.remove(label(oldest), counted)


def _mark(scope: Message) -> str:
    """The mark of a request for an answer; empty where it has none."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return ""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == HEADER.encode()), "")
