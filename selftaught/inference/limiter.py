"""How many sequences a client has in flight at an engine: as many as the engine says that users leave to it.

Users come first. A round's request says that it is one (`PRIORITY`, and whose it is, `CLIENT`), and an engine of the
platform's says in each of its answers how many sequences that client may have there at a time
(`selftaught.serving.middleware.users` works it out). Here requests wait until so many are free, in the order in which
they came. It asks nothing itself; what an engine answers first is the engine's business.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

PRIORITY = "X-Vllm-Priority"
"""The header by which vLLM takes a request's priority, before what its body says: the lower, the sooner."""
USERS, ROUNDS = 0, 1
"""The two priorities. Who names none is a user."""
CLIENT = "X-Selftaught-Client"
"""The header of a round's request that tells its client from others."""
ENGINE, SHARE = "X-Selftaught-Engine", "X-Selftaught-Share"
"""Headers of an answer to one: which engine gave it, and how many sequences of the client's it has room for."""

KEPT = 30.0
"""Seconds for which an engine's word holds: behind one address there may be several, which come and go."""


class Limiter:
    """Lets sequences through to the engines at one address. For one event loop.

    `most` bounds them as long as no engine says how many it has room for.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._told: dict[str, tuple[int, float]] = {}
        self._waiting = deque[tuple[int, asyncio.Future[None]]]()
        self._flying = 0

    @property
    def flying(self) -> int:
        """Sequences in flight."""
        return self._flying

    @property
    def limit(self) -> int:
        """Sequences in flight at most: what the engines that answered lately said, together."""
        newest = max((when for _, when in self._told.values()), default=0.0)
        until = min(newest, self._clock() - KEPT)
        return sum(share for share, when in self._told.values() if when >= until) or self._most

    def hear(self, headers: Mapping[str, str]) -> None:
        """Take an engine at its word; an answer without one changes nothing."""
        share = headers.get(SHARE, "")
        if share.isdecimal():
            self._told[headers.get(ENGINE, "")] = (int(share), self._clock())
            self._admit()

    @asynccontextmanager
    async def turn(self, sequences: int) -> AsyncGenerator[None]:
        """Hold so many sequences while the block runs, once it is their turn.

        A request for more than the limit is let through alone: it would wait for ever.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((sequences, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            self._flying -= 0 if turn.cancelled() else sequences
            self._admit()

    def _admit(self) -> None:
        while self._waiting:
            sequences, turn = self._waiting[0]
            if not turn.cancelled():
                if self._flying and self._flying + sequences > self.limit:
                    return
                self._flying += sequences
                turn.set_result(None)
            self._waiting.popleft()
