"""Users beside a round: how long three clients wait for the first token, who is answered, and what the round loses.

Clients stream chats from the champion one after the other, with the real engine, in one run: alone (the baseline),
beside a round's sampling (8 answers a task) and evaluation (greedy) at the same engine, and beside as many requests of
a round that names no priority and keeps to no share, as releases before this had it. Then the round without users, both
ways; and users beside a training, and beside a promotion (the new version's engine starts, and is proven to be the
weights that it is named by), which share the engine's cores here. The situations take turns, so that what else the
machine does falls on all of them. `--beside` and `--step` are `besideUsers` and `--max-num-batched-tokens` of the
chart's runtime for CPUs. Tokens are the engine's own count.

    python benchmarks/bench_users.py [--model FOLDER] [--beside 32] [--step 512] [--seconds 30] [--turns 3]
        [--only SITUATION ...]
"""

import argparse
import asyncio
import itertools
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from selftaught.core.loopback import bearer
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.inference.limiter import USERS
from selftaught.recipe import load_blocks
from selftaught.records import Task
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.middleware.users import BESIDE_USERS, USER_WINDOW
from selftaught.serving.weight_check import PROMPTS
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import resolve
from selftaught.state.weights import model_digest
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems

HERE = Path(__file__).resolve().parent
CLIENTS = 3
TASKS = 32
"""Tasks that each step of a round has open."""
STEPS = {"sampling": (8, 1.0), "evaluation": (1, 0.0)}
"""Answers a task and temperature."""
ANSWER = 24
"""Tokens of a user's answer at most."""
BEFORE = RetryPolicy(concurrency=2 * TASKS * 8, priority=USERS)
Job = Callable[["Bench"], AbstractAsyncContextManager[None]]
"""What works while users ask."""


@dataclass(frozen=True)
class Bench:
    """An engine that answers, the model that it serves, and tasks without end."""

    engines: LocalEngines
    served: Served
    model: Path
    tasks: Iterator[Task]


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
    parser.add_argument("--only", action="append", choices=list(SITUATIONS))
    args = parser.parse_args()
    load_blocks()
    os.environ[BESIDE_USERS] = args.beside
    model = resolve(args.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")).absolute() / "models")
    drawn = prepare(WordProblems(train=600, gate=1, report=1, instruction=""), seeds(RoundKey("bench", "bench")))
    tasks = itertools.cycle(task for task in drawn if task.split == "train")
    situations = {name: SITUATIONS[name] for name in args.only or SITUATIONS}
    seen = {name: Seen() for name in situations}
    options = EngineOptions(step=args.step)
    with tempfile.TemporaryDirectory() as scratch, LocalEngines(Path(scratch), options=options) as engines:
        served = engines.deploy("bench", model_digest(model), model)
        bench = Bench(engines, served, model, tasks)
        asyncio.run(_measured(bench, 3, CLIENTS, _nothing, Seen()))  # warm-up
        for _, (name, (users, job)) in itertools.product(range(args.turns), situations.items()):
            asyncio.run(_measured(bench, args.seconds, users, job, seen[name]))
            _print(name, seen[name])


async def _measured(bench: Bench, seconds: float, users: int, job: Job, seen: Seen) -> None:
    served = bench.served
    if not users:
        await asyncio.sleep(USER_WINDOW)  # until earlier users no longer count
    async with (
        httpx.AsyncClient(timeout=600, headers=bearer(served.key), trust_env=False) as client,
        job(bench),
    ):
        before, begin, answered = await _tokens(client, served), time.monotonic(), len(seen.first)
        asking = [_user(client, served, bench.tasks, begin + seconds, seen) for _ in range(users)]
        await asyncio.gather(asyncio.sleep(seconds), *asking)
        seen.tokens += await _tokens(client, served) - before - ANSWER * (len(seen.first) - answered)
        seen.seconds += time.monotonic() - begin


async def _tokens(client: httpx.AsyncClient, served: Served) -> float:
    """New tokens that the engine has made so far."""
    metrics = (await client.get(f"{served.url.removesuffix('/v1')}/metrics")).raise_for_status().text
    return sum(map(float, re.findall(r"^vllm:generation_tokens_total\S* (\S+)$", metrics, re.MULTILINE)))


@asynccontextmanager
async def _nothing(bench: Bench) -> AsyncGenerator[None]:
    """Nothing else."""
    yield


@asynccontextmanager
async def _round(bench: Bench, policy: RetryPolicy) -> AsyncGenerator[None]:
    """Both steps of a round at work while the block runs."""
    served = bench.served

    async def work(endpoint: Endpoint, n: int, temperature: float) -> None:
        while True:
            await endpoint.chat(next(bench.tasks).messages, n=n, temperature=temperature, max_tokens=96)

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


@asynccontextmanager
async def _training(bench: Bench) -> AsyncGenerator[None]:
    """A process that trains the same model, over and over."""
    program = "import sys, bench_training, tempfile, pathlib\n" + (
        "while True:\n"
        "    with tempfile.TemporaryDirectory() as scratch:\n"
        "        examples = bench_training.word_problems(48, 0)\n"
        "        bench_training.ours(pathlib.Path(sys.argv[1]), examples, pathlib.Path(scratch))\n"
    )
    command = [sys.executable, "-c", program, str(bench.model)]
    process = await asyncio.create_subprocess_exec(*command, cwd=HERE)
    await asyncio.sleep(15)  # imports and weights
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _promotion(bench: Bench) -> AsyncGenerator[None]:
    """The engine of the next version starts and is asked for its proofs."""

    async def promote() -> None:
        served = await asyncio.to_thread(bench.engines.deploy, "next", bench.served.digest, bench.model)
        async with Endpoint(served.url, served.line, served.digest, policy=RetryPolicy(), key=served.key) as endpoint:
            for _ in PROMPTS:
                await asyncio.gather(*(endpoint.prompt_logprobs(range(100, 180)) for _ in PROMPTS))

    promoting = asyncio.create_task(promote())
    yield
    await promoting
    bench.engines.remove("next", bench.served.digest)


SITUATIONS: dict[str, tuple[int, Job]] = {
    "users alone": (CLIENTS, _nothing),
    "users beside a round": (CLIENTS, partial(_round, policy=RetryPolicy())),
    "users beside a round of before": (CLIENTS, partial(_round, policy=BEFORE)),
    "a round alone": (0, partial(_round, policy=RetryPolicy())),
    "a round of before alone": (0, partial(_round, policy=BEFORE)),
    "users beside training": (CLIENTS, _training),
    "users beside a promotion": (CLIENTS, _promotion),
}
"""How many users, and what works beside them."""


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
