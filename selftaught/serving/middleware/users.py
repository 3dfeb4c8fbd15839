"""Users first: ASGI middleware for vLLM (`--middleware`) that keeps rounds from delaying users.

Requests have one of two priorities, users' or rounds'; a higher one in a header or body is replaced. How many sequences
rounds may have in flight depends on the load from users. The clients of rounds share them equally, and each response
returns the client's share (`selftaught.inference.limiter` enforces it). The order of requests is up to the engine
(`--scheduling-policy priority`).
"""

import argparse
import json
import os
import secrets
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager, nullcontext
from typing import Any

from selftaught.inference.limiter import CLIENT, ENGINE, PRIORITY, ROUNDS, SHARE, USERS

BY_HEADER = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
"""Paths for which the priority in vLLM's header overrides the one in the body; elsewhere vLLM reads only the body."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BESIDE_USERS = "SELFTAUGHT_BESIDE_USERS"
"""Environment variable: the sequences that rounds may have in flight while there are users."""
RESERVED = 8
"""While there are users, one in so many sequences is reserved for new ones."""
USER_WINDOW = 30.0
"""Seconds for which an answered user still counts: the next request is likely to follow."""
CLIENT_WINDOW = 5.0
"""Seconds for which a round's client without requests in flight still counts: it is about to send the next ones."""


class Shares:
    """Shares of an engine's `sequences` among the clients of rounds, `beside_users` in total while there are users."""

    def __init__(self, sequences: int, beside_users: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = secrets.token_hex(4)
        self._without_users = sequences + sequences // 2  # answers end one by one: more requests wait in the engine
        self._unreserved = sequences - max(1, sequences // RESERVED)
        self._beside_users, self._clock = beside_users, clock
        self._users, self._recent_users = 0, deque[tuple[float, int]]()
        self._in_flight = Counter[str]()
        self._shares = dict[str, tuple[int, float]]()

    @contextmanager
    def request(self, client: str) -> Generator[None]:
        """Count a request of a round's `client` (empty: a user) as in flight while the block runs."""
        self._count(client, 1)
        try:
            yield
        finally:
            self._count(client, -1)

    def _count(self, client: str, change: int) -> None:
        if client:
            self._in_flight[client] += change
            self._in_flight += Counter()  # drops clients without requests
        else:
            self._record(max(self._users, self._users + change))
            self._users += change

    def _record(self, users: int) -> None:
        """Record that there were so many user requests until now, replacing earlier moments with fewer."""
        while self._recent_users and self._recent_users[-1][1] <= users:
            self._recent_users.pop()
        self._recent_users.append((self._clock(), users))

    def response_headers(self, client: str) -> dict[str, str]:
        """Headers of a response to a round's `client`."""
        return {ENGINE: self.engine, SHARE: str(self.share(client))}

    def share(self, client: str) -> int:
        """Sequences that a round's `client` may have in flight from now on, at least one.

        All clients get the same, but a share grows only after the others have received their smaller ones.
        """
        others = self._others(client)
        available = self._available()
        share = max(1, min(available // (len(others) + 1), available - sum(others)))
        self._shares[client] = share, self._clock()
        return share

    def _others(self, client: str) -> list[int]:
        """Last shares of the other active clients; inactive ones are forgotten."""
        since = self._clock() - CLIENT_WINDOW
        self._shares = {
            name: given for name, given in self._shares.items() if given[1] >= since or name in self._in_flight
        }
        return [share for name, (share, _) in self._shares.items() if name != client]

    def _available(self) -> int:
        """Sequences for all rounds together."""
        users = self._peak_users()
        return min(self._beside_users, self._unreserved - users) if users else self._without_users

    def _peak_users(self) -> int:
        """The largest number of concurrent user requests in the last `USER_WINDOW` seconds."""
        while self._recent_users and self._clock() - self._recent_users[0][0] > USER_WINDOW:
            self._recent_users.popleft()
        return max(self._users, self._recent_users[0][1] if self._recent_users else 0)


class UsersFirst:
    """The middleware. Without `shares` it reads them from the command line of the process (`--max-num-seqs`)."""

    def __init__(self, app: App, shares: Shares | None = None) -> None:
        self._app, self._shares = app, shares or _shares(sys.argv[1:])

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = round_client(headers.get(PRIORITY.lower(), ""), headers.get(CLIENT.lower(), ""))
        priority = ROUNDS if client else USERS
        generates = scope["method"] == "POST"
        if generates and scope["path"] not in BY_HEADER:
            receive = await _with_priority(receive, priority)
        with self._shares.request(client) if generates else nullcontext():
            await self._app(_with_header(scope, priority), receive, self._with_share(client, send) if client else send)

    def _with_share(self, client: str, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                share = self._shares.response_headers(client)
                added = [(name.lower().encode(), value.encode()) for name, value in share.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        return sent


def round_client(priority: str, client: str) -> str:
    """The round's client according to a request's two headers; empty for a user."""
    return (client or "unnamed") if priority.isdecimal() and priority.strip("0") else ""


def _shares(arguments: list[str]) -> Shares:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    sequences = parser.parse_known_args(arguments)[0].max_num_seqs
    return Shares(sequences, int(os.environ.get(BESIDE_USERS) or sequences))


def _with_header(scope: Message, priority: int) -> Message:
    name = PRIORITY.lower().encode()
    others = [(other, value) for other, value in scope["headers"] if other.lower() != name]
    return {**scope, "headers": [*others, (name, str(priority).encode())]}


async def _with_priority(receive: Receive, priority: int) -> Receive:
    """`receive` with `priority` in the body if the body has a priority."""
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    left = [{"type": "http.request", "body": _replaced(b"".join(parts), priority)}]

    async def received() -> Message:
        return left.pop() if left else await receive()

    return received


def _replaced(body: bytes, priority: int) -> bytes:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # the engine will report it
        return body
    if not isinstance(data, dict) or "priority" not in data:
        return body
    return json.dumps({**data, "priority": priority}).encode()
