"""Delays a response's head until its first part: ASGI middleware for vLLM (`--middleware`).

vLLM sends the head of a stream at once, long before the first token. A gateway on Go's net/http, as Traefik is, cuts
an answer whose head comes while it still looks for the end of the request that it has just passed on: passing the head
on closes the request's body, the look at it fails, and with it the connection to the engine (golang/go#40747,
traefik/traefik#11767; a moment on an idle machine, longer on a busy one). Nobody can use a head without its answer, so
here it goes out with the first part of it. That costs no time, and the gateway has that of a prefill; one that waits
for a core for longer still cuts (docs/operations.md says what its operator can do).

An application that fails between the two is answered for by its server, with 500, as it is before its head.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Holding:
    """Wraps an ASGI application."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        held: list[Message] = []

        async def sent(message: Message) -> None:
            held.append(message)
            if message["type"] != "http.response.start":
                for each in held:
                    await send(each)
                held.clear()

        await self._app(scope, receive, sent)
