"""Memory: peaks of engines and of a round's steps, at the load that a round makes, beside their limits.

- `engine`: vLLM's on CPUs with the options of the chart's runtime, asked by the platform's own client: the probes of a
  new version, a shard of `sample` (32 tasks in flight, 8 answers each) and pass@8 of `evaluate` (128 tasks). The cache
  is reserved and counts as it is written, so a longer load comes to that much more at most.
- `values`: the value server, asked as a search does: values of paths of 600 tokens (32 trees in flight, 8 siblings a
  request); and as a policy's engine, as above.
- `steps`: processes in front of a server that answers at once: `sample` (32 tasks in flight) and `evaluate` (128),
  rollouts of 500 tokens with their log-probabilities.
- `round`: every step of a complete round of a recipe, as `selftaught run` starts them.

Peaks are the processes' own (VmHWM, with the files that they map); a step's is its processes' together. What is left to
a limit is room; below a fifth of it is said. Nothing is timed.

    python benchmarks/bench_memory.py [--model smollm2-135m-instruct] [--rollouts 10000] [--recipe recipes/rft.yaml]
        [--only engine|values|steps|round]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml
from in_memory import nothing

from selftaught.blocks import Context
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.recipe import load_blocks
from selftaught.records import Group, Message, Task, dataset
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import sample
from selftaught.serving.backend import Served
from selftaught.serving.engines.engine import TRANSFORMERS, EngineOptions
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.sessions import pid_files
from selftaught.serving.weight_check import PROMPTS
from selftaught.state.journal import open_journal
from selftaught.state.starter import resolve
from selftaught.state.store import open_store
from selftaught.state.weights import model_digest

HERE = Path(__file__).resolve().parent.parent
CHART = HERE / "charts" / "selftaught"
ROOM = 0.2
"""The part of a limit that has to be free at the peak."""
PER_TASK, TOKENS = 8, 500
DIGEST = "ab" * 32

Load = Callable[[Served], Awaitable[None]]
"""Asks a server."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--recipe", type=Path, default=HERE / "recipes" / "rft.yaml")
    parser.add_argument("--only", choices=["engine", "values", "steps", "round"])
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    load_blocks()
    if args.child:
        url, tasks, flight = args.child
        return child(url, int(tasks), int(flight))
    model = resolve(args.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")).absolute() / "models")
    measures = {
        "engine": lambda: engines(model),
        "values": lambda: value_servers(model),
        "steps": lambda: steps(args.rollouts),
        "round": lambda: whole_round(args.recipe, model),
    }
    for name in [args.only] if args.only else measures:
        measures[name]()
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


def engines(model: Path) -> None:
    """The peaks of one engine for each of the chart's values, after each load."""
    for values, runtime in runtimes("cpu"):
        options = EngineOptions(
            context=runtime["maxModelLen"], sequences=runtime["maxNumSeqs"], kv_cache_gib=runtime["kvCacheGiB"]
        )
        of = f"engine, {values}: {options.sequences} sequences, {options.kv_cache_gib} GiB"
        loaded(of, model, options, runtime, (start, probes, sampling, evaluating))


def value_servers(model: Path) -> None:
    """The peaks of the value server: of a value model, then of a policy."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("selftaught.serving.engines.engine.server_module", lambda: TRANSFORMERS),
    ):
        headed = with_head(model, Path(folder) / "value")
        for values, runtime in runtimes("valueServer"):
            options = EngineOptions(context=runtime["maxModelLen"], sequences=runtime["maxNumSeqs"])
            loaded(f"value server, {values}, a value model", headed, options, runtime, (start, valuing))
            loaded(f"value server, {values}, a policy", model, options, runtime, (start, sampling, evaluating))


def runtimes(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The runtime's values of the chart as it is, and with those for a laptop laid over them."""
    stock, dev = (
        yaml.safe_load((CHART / file).read_text())["runtimes"][name] for file in ("values.yaml", "values-dev.yaml")
    )
    return [("values.yaml", stock), ("values-dev.yaml", stock | dev)]


def loaded(what: str, model: Path, options: EngineOptions, body: dict[str, Any], loads: Sequence[Load]) -> None:
    """The peaks of one server after each of the loads, one after the other."""
    with tempfile.TemporaryDirectory() as scratch, LocalEngines(Path(scratch), options=options) as owner:
        served = owner.deploy("bench", model_digest(model), model)
        ((_, noted),) = pid_files(owner.folder)
        for load in loads:
            asyncio.run(load(served))
            together = sum(peak(pid) for pid in noted.engine.session())
            row(f"{what}, {load.__name__}", together, mib(body["resources"]["limits"]["memory"]))


def with_head(model: Path, folder: Path) -> Path:
    """The model with a value head, as training begins with."""
    import torch

    from selftaught.training.loops.value import load_value, save_value

    folder.mkdir()
    save_value(load_value(model, torch.float32), model, folder)
    return folder


def endpoint(served: Served) -> Endpoint:
    """As `selftaught.round.models` makes it."""
    return Endpoint(served.url, served.line, served.digest, policy=RetryPolicy(concurrency=128), key=served.key)


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


async def valuing(served: Served) -> None:
    async with endpoint(served) as model:
        trees = ([[(100 + tree + n) % 20_000 for n in range(600)]] * PER_TASK for tree in range(32))
        await asyncio.gather(*(model.values(siblings) for siblings in trees))


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


# A complete round
# --------------------------------------------------------------------------------------------------------


def whole_round(recipe: Path, model: Path) -> None:
    """The peaks of a round's steps. The engines are not of them."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "selftaught", "run", str(recipe), "--rounds=1", f"--set=models.policy={model}"]
        env = os.environ | {"SELFTAUGHT_HOME": home}
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            peaks = watched(process)
    if process.returncode:
        raise SystemExit(f"the round ended with {process.returncode}")
    for step, found in peaks.items():
        row(f"{step}, a round of {recipe.stem}", sum(found.values()), limit_of(step))


def watched(process: subprocess.Popen[bytes]) -> dict[str, dict[int, float]]:
    """The peaks of all processes of each step of a round that runs, by step and process."""
    found: dict[str, dict[int, float]] = {}
    while process.poll() is None:
        table = processes()
        for pid in table:
            if step := next((name for name in map(step_of, ancestry(pid, table)) if name), None):
                with suppress(OSError, StopIteration):  # it has ended
                    found.setdefault(step, {})[pid] = peak(pid)
        time.sleep(0.1)
    return found


def processes() -> dict[int, int]:
    """The parent of every process."""
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def ancestry(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """The process, its parent, and so on."""
    while pid in parents:
        yield pid
        pid = parents[pid]


def step_of(pid: int) -> str:
    """The component's function that a process runs for kfp, if it does."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    flag = b"--function_to_execute"
    return words[words.index(flag) + 1].decode() if flag in words else ""


def limit_of(step: str) -> float:
    """MiB that the placement of CPUs gives a step."""
    placed = yaml.safe_load((HERE / "pipelines" / "placements" / "cpu.yaml").read_text())
    return mib(placed.get(step, placed["default"])["memory"][1])


# The steps ------------------------------------------------------------------------------------------------------------


def steps(rollouts: int) -> None:
    """The peaks of processes that sample so many rollouts, at the concurrency of each step."""
    server = Server(("127.0.0.1", 0), Talker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, flight in (("sample", 32), ("evaluate", 128)):
        for count in (rollouts // 10, rollouts):
            words = ["--child", f"http://127.0.0.1:{server.server_port}/v1", str(count // PER_TASK), str(flight)]
            done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True)
            row(f"{name}, {count:,} rollouts of {TOKENS} tokens", json.loads(done.stdout), limit_of(name))


def child(url: str, tasks: int, flight: int) -> None:
    """Sample, keep and write, as the step does; print this process's peak."""

    async def run(folder: Path) -> None:
        sampler = IID(k=PER_TASK, temperature=1.0, max_tokens=TOKENS)
        async with Endpoint(url, "bench", DIGEST, policy=RetryPolicy(concurrency=128)) as model:
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

    def _send(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


if __name__ == "__main__":
    main()
