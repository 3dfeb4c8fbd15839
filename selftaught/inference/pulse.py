"""Liveness of a server during a request: it is polled for what it serves while the response is awaited.

An answer may take minutes where many wait for it, so a long wait alone says nothing; a server that cannot even say
what it serves has stalled (stopped, swapping, its machine gone). It repeats nothing and ends nothing.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import httpx

from selftaught.core.authorities import trusted

T = TypeVar("T")

MISSES = 2
"""Questions in a row that stay without an answer before a server counts as stalled."""


class StalledError(Exception):
    """The server has said nothing for so many seconds."""


class Pulse:
    """The sign of life of the server at `url`: looked for every so many seconds, once for all that wait."""

    def __init__(self, url: str, headers: Mapping[str, str], every: float) -> None:
        self._url, self._every = f"{url}/models", every
        # Connections of its own: those of the requests may all be taken.
        self._client = httpx.AsyncClient(timeout=every, headers=headers, trust_env=False, verify=trusted())
        self._asking = asyncio.Lock()
        self._asked, self._missed = time.monotonic(), 0

    async def aclose(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def watch(self, answer: Coroutine[Any, Any, T]) -> T:
        """What `answer` gives. Raises StalledError when the server stalls meanwhile."""
        waiting = asyncio.ensure_future(answer)
        try:
            while not (await asyncio.wait([waiting], timeout=self._every))[0]:
                await self._look()
            return waiting.result()
        finally:
            waiting.cancel()

    async def _look(self) -> None:
        async with self._asking:
            if time.monotonic() - self._asked >= self._every:
                self._missed = 0 if await self._answers() else self._missed + 1
                self._asked = time.monotonic()
        if self._missed >= MISSES:
            raise StalledError(f"{2 * MISSES * self._every:.0f} s")

    async def _answers(self) -> bool:
        """Whether it says anything, or refuses the connection, which whoever waits will see as well."""
        try:
            await self._client.get(self._url)
        except httpx.TimeoutException:
            return False
        except httpx.TransportError:
            return True
        return True
