"""The sandbox server: runs programs in a pod of their own, one at a time for each folder of scratch, over HTTP.

    python -m selftaught.sandbox.server --scratch /scratch/0 --scratch /scratch/1

`POST /run` takes a program and answers how it ended (`selftaught.sandbox.wire`). The answer begins at once and goes on
with empty lines until then, so that a client can tell a long program from a lost server. Whoever hangs up ends the
program. `GET /health` says that it is up. How programs are held is the business of `confined`; who may ask is that of
the network policy: the server asks nobody for a password.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator

from aiohttp import web

from selftaught.core.errors import SelftaughtError
from selftaught.sandbox import wire
from selftaught.sandbox.confined import ConfinedSandbox
from selftaught.sandbox.protocol import Program, Sandbox, SandboxFailed

BEAT_S = 5.0
"""Seconds between two signs of life."""
_LARGEST = 256 << 20
"""Bytes of a program with its files."""
_SHUT_WITHIN_S = 30.0
_SANDBOX = web.AppKey("sandbox", ConfinedSandbox)


def main() -> None:
    """Serve until SIGTERM; what is running then may take its time."""
    parser = argparse.ArgumentParser(prog="python -m selftaught.sandbox.server", description="The sandbox server.")
    parser.add_argument("--scratch", action="append", required=True, help="a folder for one program at a time")
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a pod's
    parser.add_argument("--port", type=int, default=8080)
    asked = parser.parse_args()
    web.run_app(
        application(ConfinedSandbox(asked.scratch)),
        host=asked.host,
        port=asked.port,
        handler_cancellation=True,
        shutdown_timeout=_SHUT_WITHIN_S,
        access_log=None,
        print=None,
    )


def application(sandbox: ConfinedSandbox) -> web.Application:
    """The server of `sandbox`, which is started and ended with it."""

    async def started(_: web.Application) -> AsyncIterator[None]:
        async with sandbox:
            yield

    app = web.Application(client_max_size=_LARGEST)
    app[_SANDBOX] = sandbox
    app.cleanup_ctx.append(started)
    app.add_routes([web.post("/run", _run), web.get("/health", _health)])
    return app


async def _health(_: web.Request) -> web.Response:
    return web.Response(text="up\n")


async def _run(request: web.Request) -> web.StreamResponse:
    try:
        program = wire.program(await request.json())
    except (SelftaughtError, KeyError, TypeError, ValueError) as error:
        raise web.HTTPBadRequest(text=f"{type(error).__name__}: {error}") from None
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    said = await _told(request.app[_SANDBOX], program, answer)
    await answer.write(json.dumps(said).encode())
    return answer


async def _told(sandbox: Sandbox, program: Program, answer: web.StreamResponse) -> dict[str, object]:
    """How `program` ended, or how the sandbox failed; `answer` gets a sign of life until then."""
    running = asyncio.ensure_future(sandbox.run(program))
    try:
        while not (await asyncio.wait([running], timeout=BEAT_S))[0]:
            await answer.write(b"\n")
        return wire.answer(running.result())
    except SandboxFailed as error:
        return {"failed": str(error)}
    finally:
        running.cancel()


if __name__ == "__main__":
    main()
