"""Users first: what an engine does so that a round's requests displace nobody. `vllm … --middleware` its `UsersFirst`.

There are two priorities, users' and rounds', and nobody is put before users: what a request names beyond that, in a
header or in its body, is not passed on. How many sequences of rounds the engine has room for depends on whether users
ask it; the clients of rounds share them, and each is told its part in every answer (`selftaught.inference.limiter`
keeps to it). In which order requests are answered is the engine's business (`--scheduling-policy priority`).
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
"""Paths for which vLLM takes the priority of the header before that of the body; elsewhere it reads the body alone."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BESIDE = "SELFTAUGHT_BESIDE_USERS"
"""The variable that says how many sequences of rounds an engine has room for while users ask it."""
FREE = 8
"""One in so many sequences is kept free, while users ask, for those who are yet to come."""
LATELY = 30.0
"""Seconds for which users count who have been answered: the next ones are likely to come as well."""
JUST_NOW = 5.0
"""Seconds for which the client of a round counts that has been answered: it is about to ask again."""


class Places:
    """The places of an engine for `sequences` at a time, of which rounds have `beside` at most while users ask."""

    def __init__(self, sequences: int, beside: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = secrets.token_hex(4)
        self._alone = sequences + sequences // 2  # a request's answers end one by one: the next ones wait in the engine
        self._left = sequences - max(1, sequences // FREE)
        self._beside, self._clock = beside, clock
        self._users, self._lately = 0, deque[tuple[float, int]]()
        self._asking = Counter[str]()
        self._told = dict[str, tuple[int, float]]()

    @contextmanager
    def taken(self, client: str) -> Generator[None]:
        """A request of `client` of a round, empty for a user, is being answered while the block runs."""
        self._count(client, 1)
        try:
            yield
        finally:
            self._count(client, -1)

    def _count(self, client: str, change: int) -> None:
        if client:
            self._asking[client] += change
            self._asking += Counter()  # without those that ask nothing any more
        else:
            self._note(max(self._users, self._users + change))
            self._users += change

    def _note(self, users: int) -> None:
        """Keep that so many users' requests were there until now, in place of earlier moments with fewer."""
        while self._lately and self._lately[-1][1] <= users:
            self._lately.pop()
        self._lately.append((self._clock(), users))

    def told(self, client: str) -> dict[str, str]:
        """The headers of an answer to `client` of a round."""
        return {ENGINE: self.engine, SHARE: str(self.share(client))}

    def share(self, client: str) -> int:
        """Sequences that `client` of a round may have in flight from now on, one at least.

        Every client gets as many, and none before the others have been told to make room.
        """
        others = self._others(client)
        room = self._room()
        share = max(1, min(room // (len(others) + 1), room - sum(others)))
        self._told[client] = share, self._clock()
        return share

    def _others(self, client: str) -> list[int]:
        """What the other clients were told that are there, or were just now; those that are gone are forgotten."""
        since = self._clock() - JUST_NOW
        self._told = {name: told for name, told in self._told.items() if told[1] >= since or name in self._asking}
        return [share for name, (share, _) in self._told.items() if name != client]

    def _room(self) -> int:
        users = self._most_users()
        return min(self._beside, self._left - users) if users else self._alone

    def _most_users(self) -> int:
        """Users' requests at a time at most, lately."""
        while self._lately and self._clock() - self._lately[0][0] > LATELY:
            self._lately.popleft()
        return max(self._users, self._lately[0][1] if self._lately else 0)


class UsersFirst:
    """Wraps an ASGI application, with the places of the command that was started (`--max-num-seqs`)."""

    def __init__(self, app: App, places: Places | None = None) -> None:
        self._app, self._places = app, places or _places(sys.argv[1:])

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = who(headers.get(PRIORITY.lower(), ""), headers.get(CLIENT.lower(), ""))
        priority = ROUNDS if client else USERS
        asks = scope["method"] == "POST"
        if asks and scope["path"] not in BY_HEADER:
            receive = await _named(receive, priority)
        with self._places.taken(client) if asks else nullcontext():
            await self._app(_marked(scope, priority), receive, self._telling(client, send) if client else send)

    def _telling(self, client: str, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [(name.lower().encode(), value.encode()) for name, value in self._places.told(client).items()]
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        return sent


def who(priority: str, client: str) -> str:
    """The client of a round that a request's two headers name; empty for a user."""
    return (client or "unnamed") if priority.isdecimal() and priority.strip("0") else ""


def _places(arguments: list[str]) -> Places:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--max-num-seqs", type=int, default=128)
    sequences = parser.parse_known_args(arguments)[0].max_num_seqs
    return Places(sequences, int(os.environ.get(BESIDE) or sequences))


def _marked(scope: Message, priority: int) -> Message:
    name = PRIORITY.lower().encode()
    others = [(other, value) for other, value in scope["headers"] if other.lower() != name]
    return {**scope, "headers": [*others, (name, str(priority).encode())]}


async def _named(receive: Receive, priority: int) -> Receive:
    """`receive` with a body that names `priority` where it names one."""
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    left = [{"type": "http.request", "body": _with(b"".join(parts), priority)}]

    async def received() -> Message:
        return left.pop() if left else await receive()

    return received


def _with(body: bytes, priority: int) -> bytes:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):  # the engine will say so
        return body
    if not isinstance(told, dict) or "priority" not in told:
        return body
    return json.dumps({**told, "priority": priority}).encode()
