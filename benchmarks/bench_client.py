"""What a request costs the models' client: processor time against a server that answers at once.

The server is a process of its own that parses nothing, so what is counted is the client's: the complete `Endpoint`, and
beside it aiohttp and httpx (one pool, and 32 clients in turn) with the same body, so many requests in flight each.
Prints milliseconds of processor time a request. Usage: `python benchmarks/bench_client.py [--requests 2000]`.
"""

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import httpx
from stub_server import serving

from selftaught.inference.endpoint import Endpoint, RetryPolicy, served_name
from selftaught.records import Message

LINE, DIGEST = "bench", "abcd1234" * 8
TOKENS = 12
"""Of an answer: those of a step."""
CLIENTS = 32
FLIGHTS = (8, 64, 256)
CHAT = (Message(role="user", content="What is 17 + 25? " * 10),)
BODY = {"model": served_name(LINE, DIGEST), "messages": [{"role": "user", "content": CHAT[0].content}], "n": 1}

SERVER = """
import sys

LISTED, ANSWER = (line.encode() for line in sys.argv[1:])

def answer(path, body):
    return LISTED if path == "/v1/models" else ANSWER
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=2000)
    requests = parser.parse_args().requests
    with serving(SERVER, json.dumps(listed()), json.dumps(answer())) as url:
        for flight in FLIGHTS:
            costs = asyncio.run(measured(url, flight, requests))
            print(f"{flight:4} in flight, ms a request:", *(f"{who} {cost:.2f}" for who, cost in costs.items()))


def listed() -> dict[str, object]:
    """What the server says that it serves."""
    return {"data": [{"id": served_name(LINE, DIGEST)}]}


def answer() -> dict[str, object]:
    """A chat completion as vLLM gives it."""
    token: dict[str, object] = {"token": "42", "logprob": -0.5, "top_logprobs": []}
    one = {"message": {"content": "42" * TOKENS}, "finish_reason": "stop", "token_ids": [42] * TOKENS}
    usage = {"prompt_tokens": 80, "completion_tokens": TOKENS}
    return {
        "model": served_name(LINE, DIGEST),
        "choices": [one | {"logprobs": {"content": [token] * TOKENS}}],
        "usage": usage,
    }


async def measured(url: str, flight: int, requests: int) -> dict[str, float]:
    """Milliseconds of processor time a request, by client."""
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(Endpoint(url, LINE, DIGEST, policy=RetryPolicy(concurrency=flight)))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        clients = [httpx.AsyncClient(trust_env=False, limits=limits) for _ in range(CLIENTS)]
        for client in clients:
            await stack.enter_async_context(client)
        turns = itertools.cycle(clients)

        async def bare() -> None:
            async with session.post(f"{url}/chat/completions", json=BODY) as said:
                await said.read()

        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "Endpoint": lambda: model.chat(CHAT),
            "aiohttp": bare,
            "httpx": lambda: clients[0].post(f"{url}/chat/completions", json=BODY),
            f"{CLIENTS} httpx clients": lambda: next(turns).post(f"{url}/chat/completions", json=BODY),
        }
        return {who: await cost(ask, flight, requests) for who, ask in asked.items()}


async def cost(ask: Callable[[], Awaitable[object]], flight: int, requests: int) -> float:
    """Milliseconds of this process a request, once all connections are open."""
    await asyncio.gather(*(ask() for _ in range(flight)))
    left = iter(range(requests))

    async def worker() -> None:
        for _ in left:
            await ask()

    begin = time.process_time()
    await asyncio.gather(*(worker() for _ in range(flight)))
    return (time.process_time() - begin) / requests * 1000


if __name__ == "__main__":
    main()
