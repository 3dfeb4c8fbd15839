"""Sampling through the entire stack against `vllm bench serve` on the same server, and against vLLM's offline batch.

Same model, prompts, greedy decoding and token limit in all of them, so answers have the same lengths; the first two
share one server and take turns. To that server `vllm bench serve` is a user, beside whom a round takes less of it, so
each turn of ours begins when the users count no more. Prints new tokens a second, the ratios, n and concurrency. Usage:
`python benchmarks/bench_sampling.py [--model FOLDER] [--prompts 192] [--repeats 3]`.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from in_memory import Memory, nothing

from selftaught.blocks import Context
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.recipe import load_blocks
from selftaught.records import Task
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import sample, total_tokens
from selftaught.serving.backend import Served
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.middleware.users import USER_WINDOW
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import resolve
from selftaught.state.weights import model_digest
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems

CONCURRENCY = 64
MAX_TOKENS = 96
RECORDED = {"logprobs": True, "return_token_ids": True}
"""What a round asks for beside the text, since its records hold tokens and log-probabilities."""


def main() -> None:
    """Measure and print."""
    args = _arguments()
    load_blocks()
    model = resolve(args.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    tasks = _tasks(args.prompts)
    with tempfile.TemporaryDirectory() as scratch:
        with LocalEngines(Path(scratch)) as engines:
            served = engines.deploy("bench", model_digest(model), model)
            ours(served, tasks[:16], 1)  # warm-up
            rounds = [_turn(served, model, tasks, Path(scratch)) for _ in range(args.repeats)]
            grouped = ours(served, tasks[: len(tasks) // 8], 8, temperature=1.0)
        offline = _offline(model, tasks)
    _print(rounds, grouped, offline, len(tasks))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _tasks(number: int) -> list[Task]:
    drawn = prepare(WordProblems(train=number, gate=1, report=1, instruction=""), seeds(RoundKey("bench", "bench")))
    return [task for task in drawn if task.split == "train"]


def _turn(served: Served, model: Path, tasks: Sequence[Task], scratch: Path) -> tuple[float, float, float]:
    """New tokens a second through the stack, as `vllm bench serve` asks, and as it does when it asks for as much."""
    bare = vllm_bench(served, model, tasks, scratch)
    time.sleep(USER_WINDOW)
    return ours(served, tasks, 1), bare, vllm_bench(served, model, tasks, scratch, RECORDED)


def ours(served: Served, tasks: Sequence[Task], n: int, temperature: float = 0.0) -> float:
    """New tokens a second through sampler, runner, journal protocol and client; `n` samples a task in one request."""
    return asyncio.run(_ours(served, tasks, IID(k=n, temperature=temperature, max_tokens=MAX_TOKENS)))


async def _ours(served: Served, tasks: Sequence[Task], sampler: IID) -> float:
    policy = RetryPolicy(concurrency=CONCURRENCY)
    async with Endpoint(served.url, served.line, served.digest, policy=policy, key=served.key) as endpoint:
        begin = time.perf_counter()
        context = Context(models={"policy": endpoint})
        groups = await sample(tasks, sampler, context, Memory(), nothing, concurrency=CONCURRENCY)
        return total_tokens(groups) / (time.perf_counter() - begin)


VLLM_BENCH_SERVE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve` without vLLM's command line, which asks for a distribution called `vllm`."""


def vllm_bench(
    served: Served, model: Path, tasks: Sequence[Task], scratch: Path, more: Mapping[str, bool] | None = None
) -> float:
    """New tokens a second as `vllm bench serve` counts them; `more` goes into each request's body."""
    prompts = scratch / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": task.question}) + "\n" for task in tasks))
    command = [
        *(sys.executable, "-c", VLLM_BENCH_SERVE),
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions"),
        *("--base-url", served.url.removesuffix("/v1"), "--model", served.name, "--tokenizer", str(model)),
        *("--dataset-name", "custom", "--dataset-path", str(prompts), "--custom-output-len", str(MAX_TOKENS)),
        *("--skip-chat-template", "--num-prompts", str(len(tasks)), "--disable-shuffle"),
        *("--max-concurrency", str(CONCURRENCY), "--temperature", "0", "--extra-body", json.dumps(more or {})),
        *("--save-result", "--result-dir", str(scratch), "--result-filename", "bench.json"),
    ]
    environment = os.environ | {"OPENAI_API_KEY": served.key}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"vllm bench serve failed:\n{done.stderr[-3000:]}")
    return float(json.loads((scratch / "bench.json").read_text())["output_throughput"])


OFFLINE = """
import json, sys, time
from vllm import LLM, SamplingParams
model, limit = sys.argv[1], int(sys.argv[2])
prompts = json.load(sys.stdin)
llm = LLM(model=model, enforce_eager=True, max_model_len=1024, max_num_seqs=128, disable_log_stats=True)
chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
llm.chat(chats[:16], SamplingParams(temperature=0, max_tokens=limit), use_tqdm=False)
begin = time.perf_counter()
answers = llm.chat(chats, SamplingParams(temperature=0, max_tokens=limit), use_tqdm=False)
seconds = time.perf_counter() - begin
print("RESULT", sum(len(a.outputs[0].token_ids) for a in answers) / seconds)
"""


def _offline(model: Path, tasks: Sequence[Task]) -> float:
    """New tokens a second of vLLM's offline batch, in a process of its own with the engine's own environment."""
    from selftaught.serving.engines.engine import EngineOptions, _environment  # pyright: ignore[reportPrivateUsage]

    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(model), str(MAX_TOKENS)],
        input=json.dumps([task.question for task in tasks]),
        env=_environment(EngineOptions()),
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not found:
        raise SystemExit(f"vLLM's offline batch failed:\n{done.stderr[-3000:]}")
    return float(found[0])


def _print(rounds: Sequence[tuple[float, float, float]], grouped: float, offline: float, prompts: int) -> None:
    through, bare, recorded = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(f"{prompts} prompts, greedy, at most {MAX_TOKENS} new tokens, concurrency {CONCURRENCY}, {len(rounds)} turns")
    print(f"  through the stack, n=1             {through:7.1f} new tokens/s")
    print(f"  vllm bench serve, text alone       {bare:7.1f} new tokens/s")
    print(f"  vllm bench serve, what rounds ask  {recorded:7.1f} new tokens/s")
    print(f"  vLLM offline batch                 {offline:7.1f} new tokens/s")
    print(f"  through the stack, n=8, T=1        {grouped:7.1f} new tokens/s ({prompts // 8} tasks)")
    for name, which in (("text alone", 1), ("what rounds ask", 2)):
        ratio = statistics.median(turn[0] / turn[which] for turn in rounds)
        print(f"ratio to vllm bench serve, {name}: {ratio:.3f} (median of turns; aim 0.95)")
    print(f"ratio to offline {through / offline:.3f}")


if __name__ == "__main__":
    main()
