"""Closes old connections: ASGI middleware for vLLM (`--middleware`).

A Service that is pointed at another version moves new connections alone. A client that keeps one alive would be
answered by the old version for as long as it likes. Here an answer on a connection older than `SECONDS` says
`Connection: close`, so the client's next request takes a new connection, which leads to the champion. Nothing is broken
off: an answer is given in full first. So a promotion is over for everybody after `SECONDS` and one answer.
"""

import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

SECONDS = 30.0
"""The age, unless SELFTAUGHT_CONNECTION_SECONDS says otherwise."""
FORGOTTEN = 3600.0
"""Seconds after which a connection that a client closed itself is forgotten."""
MOST = 10_000
"""Connections above which those to forget are looked for."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Aging:
    """Wraps an ASGI application. A connection is identified by the client's address and port."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._seconds = float(os.environ.get("SELFTAUGHT_CONNECTION_SECONDS", SECONDS))
        self._since: dict[tuple[str, int], float] = {}
        self._most = MOST

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] != "http" or client is None:
            await self._app(scope, receive, send)
            return
        connection = (client[0], client[1])
        since = self._known(connection)

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and time.monotonic() - since > self._seconds:
                self._since.pop(connection, None)
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, sent)

    def _known(self, connection: tuple[str, int]) -> float:
        """When the connection was first seen; those forgotten by their clients go now and then."""
        now = time.monotonic()
        if len(self._since) > self._most:
            self._since = {known: since for known, since in self._since.items() if now - since < FORGOTTEN}
            self._most = max(MOST, 2 * len(self._since))  # so that looking for them costs each connection the same
        return self._since.setdefault(connection, now)
