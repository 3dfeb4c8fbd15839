"""Programs in a sandbox server's pods, over HTTP: for steps on a cluster, whose own pods may not hold a program.

Each program has a connection of its own, which the Service leads to any of the pods: those that are busy let it wait.
What a program does ends it in its pod, and what happens to the server on its way is the sandbox's failure. How a server
holds programs is `selftaught.sandbox.confined`.
"""

import asyncio
import json
import time
from typing import Any, Self

import aiohttp

from selftaught.sandbox import wire
from selftaught.sandbox.protocol import Outcome, Program, Sandbox, SandboxFailed

FIX = "Try again; see whether its pods run (kubectl get pods -l app.kubernetes.io/component=sandbox)."
_AT_ONCE = 64
"""Programs that are under way or wait in a server."""
_CONNECTED_WITHIN_S, _HEARD_WITHIN_S = 10.0, 30.0
"""Seconds without a connection, and without a sign of life, after which a server counts as lost."""
_AGAIN_S = 1.0


class RemoteSandbox(Sandbox):
    """A sandbox server's client; `async with` opens and closes it. One event loop's."""

    def __init__(self, url: str, patience: float = 0.0) -> None:
        """Of the server at `url`; for `patience` seconds a program waits for one that takes connections."""
        self._url, self._patience = url.rstrip("/"), patience
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_AT_ONCE, force_close=True),
            timeout=aiohttp.ClientTimeout(sock_connect=_CONNECTED_WITHIN_S, sock_read=_HEARD_WITHIN_S),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def run(self, program: Program) -> Outcome:
        """Run `program` to its end. Raises SandboxFailed where no server could be reached, or it was lost meanwhile."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return await self._run(program)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:  # nothing has begun
                if time.monotonic() > deadline:
                    raise self._lost(error) from None
            await asyncio.sleep(_AGAIN_S)

    async def _run(self, program: Program) -> Outcome:
        try:
            said = await self._asked(wire.request(program))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise self._lost(error) from None
        if "failed" in said:
            raise SandboxFailed(f"{self._url}: {said['failed']}")
        return wire.outcome(said)

    async def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._session is not None
        async with self._session.post(f"{self._url}/run", json=request) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise SandboxFailed(f"sandbox: {self._url}: status {answer.status}: {text[:200]}. {FIX}")
            return json.loads(text)

    def _lost(self, error: Exception) -> SandboxFailed:
        said = str(error) or type(error).__name__
        return SandboxFailed(f"sandbox: {self._url}: no answer ({said}). {FIX}")


async def silence(url: str) -> str:
    """Why the server at `url` does not answer; empty where it does."""
    timeout = aiohttp.ClientTimeout(total=_CONNECTED_WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:
            await session.get(f"{url.rstrip('/')}/health")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return f"{url}: no answer ({str(error) or type(error).__name__})"
    return ""
