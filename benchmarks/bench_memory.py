"""Memory: peaks of an engine and of the steps that ask it, at the load that a round makes, beside their limits.

The engine is vLLM's on CPUs with the options of the chart's runtime, asked by the platform's own client: the probes of
a new version, a shard of `sample` (32 tasks in flight, 8 answers each) and pass@8 of `evaluate` (128 tasks). The cache
is reserved and counts as it is written, so a longer load comes to that much more at most. The steps are processes of
their own, in front of a server that answers at once: `sample` (32 tasks in flight) and `evaluate` (128), rollouts of
500 tokens with their log-probabilities.

Peaks are the processes' own (VmHWM). What is left to a limit is room; below a fifth of it is said. Nothing is timed.

    python benchmarks/bench_memory.py [--model smollm2-135m-instruct] [--rollouts 10000] [--only engine|steps]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from in_memory import nothing

from selftaught import dataset
from selftaught.blocks import Context
from selftaught.journal import open_journal
from selftaught.models import Endpoint, Policy
from selftaught.recipe import load_blocks
from selftaught.records import Group, Message, Task
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import sample
from selftaught.serving.backend import Served
from selftaught.serving.engine import EngineOptions
from selftaught.serving.freshness import PROMPTS
from selftaught.serving.local import LocalEngines
from selftaught.serving.processes import pid_files
from selftaught.starter import resolve
from selftaught.store import open_store
from selftaught.weights import model_digest

HERE = Path(__file__).resolve().parent.parent
CHART = HERE / "charts" / "selftaught"
ROOM = 0.2
"""The part of a limit that has to be free at the peak."""
PER_TASK, TOKENS = 8, 500
DIGEST = "ab" * 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--only", choices=["engine", "steps"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    load_blocks()
    if told.child:
        url, tasks, flight = told.child
        return child(url, int(tasks), int(flight))
    if told.only != "steps":
        engines(told.model)
    if told.only != "engine":
        steps(told.rollouts)
    return None


def row(what: str, peak: float, limit: float) -> None:
    """One line: MiB of MiB."""
    scarce = "" if peak <= (1 - ROOM) * limit else f"  LESS THAN {ROOM:.0%} ROOM"
    print(f"{what:58} {peak:6.0f} of {limit:6.0f} MiB  {peak / limit:4.0%}{scarce}", flush=True)


def mib(quantity: str) -> float:
    """A Kubernetes quantity in MiB: `8Gi`, `1536Mi`."""
    return float(quantity[:-2]) * {"Gi": 1024, "Mi": 1}[quantity[-2:]]


def peak(pid: int) -> float:
    """MiB that a process has had at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


# The engine -----------------------------------------------------------------------------------------------------------


def engines(named: str) -> None:
    """The peaks of one engine for each of the chart's values, after each load."""
    model = resolve(named, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    told: dict[str, Any] = {}
    for values in ("values.yaml", "values-dev.yaml"):
        told |= yaml.safe_load((CHART / values).read_text())["runtimes"]["cpu"]
        options = EngineOptions(
            context=told["maxModelLen"], sequences=told["maxNumSeqs"], kv_cache_gib=told["kvCacheGiB"]
        )
        of = f"{values}: {options.sequences} sequences, {options.kv_cache_gib} GiB"
        with tempfile.TemporaryDirectory() as scratch, LocalEngines(Path(scratch), options=options) as owner:
            served = owner.deploy("bench", model_digest(model), model)
            ((_, noted),) = pid_files(owner.folder)
            for load in (start, probes, sampling, evaluating):
                asyncio.run(load(served))
                whole = sum(peak(pid) for pid in noted.engine.session())
                row(f"engine, {of}, {load.__name__}", whole, mib(told["resources"]["limits"]["memory"]))


def endpoint(served: Served) -> Endpoint:
    """As `selftaught.round.engines` makes it."""
    return Endpoint(served.url, served.line, served.digest, policy=Policy(concurrency=128), key=served.key)


async def start(served: Served) -> None:
    """Nothing is asked yet."""


async def probes(served: Served) -> None:
    async with endpoint(served) as model:
        for _ in PROMPTS:
            await asyncio.gather(*(model.prompt_logprobs(range(100, 180)) for _ in PROMPTS))


async def sampling(served: Served) -> None:
    await _groups(served, tasks=32, flight=32)


async def evaluating(served: Served) -> None:
    await _groups(served, tasks=128, flight=128)


async def _groups(served: Served, *, tasks: int, flight: int) -> None:
    sampler = IID(k=PER_TASK, temperature=1.0, max_tokens=48)
    async with endpoint(served) as model:
        with tempfile.TemporaryDirectory() as scratch, open_journal(open_store(scratch), "bench", Group) as journal:
            await sample(problems(tasks), sampler, Context(models={"policy": model}), journal, nothing, flight)


def problems(count: int) -> list[Task]:
    """Different ones, of some thirty words."""
    text = "A shop has {0} boxes, each of which holds {1} pencils, and sells {2} of the pencils. How many are left?"
    asked = ((n, text.format(n, n % 17 + 3, n % 7)) for n in range(count))
    return [Task(messages=(Message(role="user", content=text),), answer=str(n), source="bench") for n, text in asked]


# The steps ------------------------------------------------------------------------------------------------------------


def steps(rollouts: int) -> None:
    """The peaks of processes that sample so many rollouts, at the concurrency of each step."""
    placed = yaml.safe_load((HERE / "pipelines" / "placements" / "cpu.yaml").read_text())
    server = Server(("127.0.0.1", 0), Talker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, flight in (("sample", 32), ("evaluate", 128)):
        limit = mib(placed.get(name, placed["default"])["memory"][1])
        for count in (rollouts // 10, rollouts):
            words = ["--child", f"http://127.0.0.1:{server.server_port}/v1", str(count // PER_TASK), str(flight)]
            done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True)
            row(f"{name}, {count:,} rollouts of {TOKENS} tokens", json.loads(done.stdout), limit)


def child(url: str, tasks: int, flight: int) -> None:
    """Sample, keep and write, as the step does; print this process's peak."""

    async def run(folder: Path) -> None:
        sampler = IID(k=PER_TASK, temperature=1.0, max_tokens=TOKENS)
        async with Endpoint(url, "bench", DIGEST, policy=Policy(concurrency=128)) as model:
            with open_journal(open_store(str(folder / "store")), "bench", Group) as journal:
                groups = await sample(
                    problems(tasks), sampler, Context(models={"policy": model}), journal, nothing, flight
                )
        dataset.write(folder / "groups", groups, "groups")

    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(run(Path(scratch)))
    print(peak(os.getpid()))


class Server(ThreadingHTTPServer):
    """One that many connect to at once."""

    request_queue_size = 256


class Talker(BaseHTTPRequestHandler):
    """Answers at once, with `TOKENS` tokens a choice."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send({"data": [{"id": f"bench-{DIGEST[:8]}"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = [{"token": "step", "logprob": -0.123456789, "top_logprobs": []} for _ in range(TOKENS)]
        one = {
            "message": {"content": "step " * TOKENS},
            "finish_reason": "stop",
            "token_ids": list(range(20_000, 20_000 + TOKENS)),
            "logprobs": {"content": content},
        }
        used = {"prompt_tokens": 80, "completion_tokens": TOKENS * body["n"]}
        self._send({"model": body["model"], "choices": [one] * body["n"], "usage": used})

    def _send(self, told: Any) -> None:
        data = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    main()
