"""Users beside a round: how long three clients wait for the first token, who is answered, and what the round loses.

Clients stream chats from the champion one after the other, with the real engine, in one run: alone (the baseline),
beside a round's sampling (8 answers a task) and evaluation (greedy) at the same engine, and beside as many requests of
a round that names no priority and keeps to no share, as releases before this had it. Then the round without users, both
ways. The situations take turns, so that what else the machine does falls on all of them. `--beside` and `--step` are
`besideUsers` and `--max-num-batched-tokens` of the chart's runtime for CPUs. Tokens are the engine's own count.
Usage: `python benchmarks/bench_users.py [--model FOLDER] [--beside 32] [--step 512] [--seconds 30] [--turns 3]`.
"""

import argparse
import asyncio
import itertools
import os
import re
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from selftaught.limiter import USERS
from selftaught.loopback import bearer
from selftaught.models import Endpoint, Policy
from selftaught.recipe import load_blocks
from selftaught.records import Task
from selftaught.serving.backend import Served
from selftaught.serving.engine import EngineOptions
from selftaught.serving.local import LocalEngines
from selftaught.serving.users import BESIDE, LATELY
from selftaught.starter import resolve
from selftaught.tasks.prepare import prepare, seeds
from selftaught.tasks.word_problems import WordProblems
from selftaught.weights import model_digest

CLIENTS = 3
TASKS = 32
"""Tasks that each step of a round has open."""
STEPS = {"sampling": (8, 1.0), "evaluation": (1, 0.0)}
"""Answers a task and temperature."""
ANSWER = 24
"""Tokens of a user's answer at most."""
BEFORE = Policy(concurrency=2 * TASKS * 8, priority=USERS)
SITUATIONS = {
    "users alone": (CLIENTS, None),
    "users beside a round": (CLIENTS, Policy()),
    "users beside a round of before": (CLIENTS, BEFORE),
    "a round alone": (0, Policy()),
    "a round of before alone": (0, BEFORE),
}
"""Users, and how the round asks."""


@dataclass
class Seen:
    """Seconds to users' first tokens, and answers that were none; new tokens of the round in so many seconds."""

    first: list[float] = field(default_factory=list[float])
    failed: int = 0
    tokens: float = 0.0
    seconds: float = 0.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--beside", default="32")
    parser.add_argument("--step", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--turns", type=int, default=3)
    args = parser.parse_args()
    load_blocks()
    os.environ[BESIDE] = args.beside
    model = resolve(args.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    drawn = prepare(WordProblems(train=600, gate=1, report=1, instruction=""), seeds("bench", 1, 0))
    tasks = itertools.cycle(task for task in drawn if task.split == "train")
    seen = {name: Seen() for name in SITUATIONS}
    options = EngineOptions(step=args.step)
    with tempfile.TemporaryDirectory() as scratch, LocalEngines(Path(scratch), options=options) as engines:
        served = engines.deploy("bench", model_digest(model), model)
        asyncio.run(_measured(served, tasks, 3, CLIENTS, None, Seen()))  # warm-up
        for _, (name, (users, policy)) in itertools.product(range(args.turns), SITUATIONS.items()):
            asyncio.run(_measured(served, tasks, args.seconds, users, policy, seen[name]))
            _print(name, seen[name])


async def _measured(
    served: Served, tasks: Iterator[Task], seconds: float, users: int, policy: Policy | None, seen: Seen
) -> None:
    if not users:
        await asyncio.sleep(LATELY)  # until those of before count no more
    async with (
        httpx.AsyncClient(timeout=600, headers=bearer(served.key), trust_env=False) as client,
        _round(served, tasks, policy),
    ):
        before, begin, answered = await _tokens(client, served), time.monotonic(), len(seen.first)
        asking = [_user(client, served, tasks, begin + seconds, seen) for _ in range(users)]
        await asyncio.gather(asyncio.sleep(seconds), *asking)
        seen.tokens += await _tokens(client, served) - before - ANSWER * (len(seen.first) - answered)
        seen.seconds += time.monotonic() - begin


async def _tokens(client: httpx.AsyncClient, served: Served) -> float:
    """New tokens that the engine has made so far."""
    metrics = (await client.get(f"{served.url.removesuffix('/v1')}/metrics")).raise_for_status().text
    return sum(map(float, re.findall(r"^vllm:generation_tokens_total\S* (\S+)$", metrics, re.MULTILINE)))


@asynccontextmanager
async def _round(served: Served, tasks: Iterator[Task], policy: Policy | None) -> AsyncGenerator[None]:
    """Both steps of a round at work while the block runs."""
    if policy is None:
        yield
        return

    async def work(endpoint: Endpoint, n: int, temperature: float) -> None:
        while True:
            await endpoint.chat(next(tasks).messages, n=n, temperature=temperature, max_tokens=96)

    async with (
        Endpoint(served.url, served.line, served.digest, policy=policy, key=served.key) as sampling,
        Endpoint(served.url, served.line, served.digest, policy=policy, key=served.key) as evaluation,
    ):
        pairs = zip((sampling, evaluation), STEPS.values(), strict=True)
        working = [asyncio.create_task(work(e, n, t)) for e, (n, t) in pairs for _ in range(TASKS)]
        await asyncio.sleep(10)
        try:
            yield
        finally:
            for each in working:
                each.cancel()
            await asyncio.gather(*working, return_exceptions=True)


async def _user(client: httpx.AsyncClient, served: Served, tasks: Iterator[Task], until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        messages = [{"role": "user", "content": next(tasks).question}]
        body = {"model": served.name, "messages": messages, "max_tokens": ANSWER, "stream": True}
        begin, first = time.monotonic(), 0.0
        async with client.stream("POST", f"{served.url}/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if not first and '"content":"' in line and '"content":""' not in line:
                    first = time.monotonic() - begin
        seen.failed += not first
        seen.first += [first] if first else []


def _print(name: str, seen: Seen) -> None:
    said = f"{name:31} {max(0.0, seen.tokens) / seen.seconds:5.0f} new tokens/s of the round"
    if seen.first:
        middle, slow = statistics.median(seen.first), statistics.quantiles(seen.first, n=20)[-1]
        said += (
            f"; {len(seen.first)} users' answers, {seen.failed} failed, first token p50 {middle:.3f}, p95 {slow:.3f} s"
        )
    print(f"{said}; load {os.getloadavg()[0]:.0f}", flush=True)


if __name__ == "__main__":
    main()
