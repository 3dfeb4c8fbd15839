"""Limits the sequences that a client has in flight at an engine to the share that the engine returns.

Users come first. A round's requests are marked as such (`PRIORITY`, and their client, `CLIENT`), and an engine of the
platform returns with each response how many sequences that client may have in flight there (computed by
`selftaught.serving.middleware.users`). Requests wait here until enough are free, first come, first served. It sends no
requests itself; their order in the engine is the engine's business.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

PRIORITY = "X-Vllm-Priority"
"""The header with a request's priority, which overrides the one in its body; lower is sooner."""
USERS, ROUNDS = 0, 1
"""The two priorities. The default is a user's."""
CLIENT = "X-Selftaught-Client"
"""The header of a round's request that identifies its client."""
ENGINE, SHARE = "X-Selftaught-Engine", "X-Selftaught-Share"
"""Headers of the response to it: the engine that answered, and the sequences that the client may have in flight."""

SHARE_LIFETIME = 30.0
"""Seconds for which an engine's share is valid: several engines behind one address may come and go."""


class Limiter:
    """Lets sequences through to the engines at one address. For one event loop.

    `most` is the limit as long as no engine has returned a share.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._shares: dict[str, tuple[int, float]] = {}
        self._waiting = deque[tuple[int, asyncio.Future[None]]]()
        self._in_flight = 0

    @property
    def in_flight(self) -> int:
        """Sequences in flight."""
        return self._in_flight

    @property
    def limit(self) -> int:
        """The most sequences in flight: the sum of the shares of engines that answered recently."""
        newest = max((when for _, when in self._shares.values()), default=0.0)
        until = min(newest, self._clock() - SHARE_LIFETIME)
        return sum(share for share, when in self._shares.values() if when >= until) or self._most

    def update(self, headers: Mapping[str, str]) -> None:
        """Take over the share in a response's headers, if there is one."""
        share = headers.get(SHARE, "")
        if share.isdecimal():
            self._shares[headers.get(ENGINE, "")] = (int(share), self._clock())
            self._admit()

    @asynccontextmanager
    async def turn(self, sequences: int) -> AsyncGenerator[None]:
        """Wait until `sequences` are free, and hold them while the block runs.

        A request for more than the limit runs alone: it would otherwise wait for ever.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((sequences, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            self._in_flight -= 0 if turn.cancelled() else sequences
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            sequences, turn = self._waiting[0]
            if not turn.cancelled():
                if self._in_flight and self._in_flight + sequences > self.limit:
                    return
                self._in_flight += sequences
                turn.set_result(None)
            self._waiting.popleft()
