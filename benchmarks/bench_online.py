"""A step of an online training: how long it takes, and what for. On the CPU of this machine, in one process.

    python benchmarks/bench_online.py [--model NAME] [--steps 3] [--tasks 8] [--k 8] [--max-tokens 48] [--engine vllm]

GRPO (one update a step, KL to the start) on word problems: the in-process engine (vLLM's where it is installed, or
transformers', its baseline) samples k answers to each task at
temperature 1, answer_match verifies them, the trainer learns. Answers are of whatever length they are, so the new
tokens are printed beside. What is not generation or update (pushing weights and checking them, verifying, curating) is
the overhead; its baseline is the entire step. The first step is left out: it warms up.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from selftaught.blocks import Context, Draw, Gathered, LivePolicy, OnlinePlan, TrainContext
from selftaught.core.runner import Forgetful
from selftaught.curation.advantages import Advantages
from selftaught.curation.runner import curate
from selftaught.records import Group, Task
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import sample, total_tokens
from selftaught.serving.engines.colocated import Colocated
from selftaught.serving.engines.engine import EngineOptions, uses_vllm
from selftaught.serving.engines.live import InProcess, OnTransformers, require_pushed
from selftaught.serving.weight_check import PROMPTS
from selftaught.state.starter import resolve
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.training.policy_gradient import KL, PolicyGradient
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.runner import verify

LEAST = 0.6
"""The share of a step that generation and update have to take."""
MOST = 25.0
"""Seconds that a step of 8 tasks, 8 samples and 48 tokens may take on two cores."""


class Timed(InProcess):
    """The engine, and the seconds that it has generated for."""

    seconds = 0.0

    def _generate(self, batch):
        began = time.perf_counter()
        answers = super()._generate(batch)
        self.seconds += time.perf_counter() - began
        return answers


def silent(_done: int, _total: int, /, **_values: float) -> None: ...


def experience(model: Path, tasks: Sequence[Task], options: argparse.Namespace):
    """What a stage does in a step, and the figures of it."""
    vllm = options.engine == "vllm"
    engine = Timed(Colocated(model, EngineOptions()) if vllm else OnTransformers(model, 1024), "bench", 0)
    probe, sampler = engine.tokens(PROMPTS[0]), IID(k=options.k, temperature=1.0, max_tokens=options.max_tokens)

    async def gathered(mine: Sequence[Task]) -> list[Group]:
        models = Context({"policy": engine})
        groups = await sample(mine, sampler, models, Forgetful[Group](), silent)
        return await verify(groups, [AnswerMatch()], models, silent)

    def step(number: int, policy: LivePolicy) -> Gathered:
        engine.seconds = 0.0
        engine.push(policy.weights(), number)
        require_pushed(engine, probe, policy.logprobs(probe))
        groups = asyncio.run(gathered(tasks[number * options.tasks : (number + 1) * options.tasks]))
        # rewards of whatever is drawn: all groups are learnt from, so that an update is never the smaller for luck
        examples = list(curate(groups, [Advantages(drop_flat=False, minimum=0)], 0))
        figures = {"generating_seconds": engine.seconds, "new_tokens": float(total_tokens(groups))}
        return Gathered(examples, figures)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    for name, default in (("--steps", 3), ("--tasks", 8), ("--k", 8), ("--max-tokens", 48)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--engine", choices=("vllm", "transformers"), default=("transformers", "vllm")[uses_vllm()])
    options = parser.parse_args()
    model = resolve(options.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")))
    drawn = WordProblems(train=(options.steps + 1) * options.tasks, gate=1, report=1).draw(Draw(0, 0))
    tasks = [task for task in drawn if task.split == "train"]
    seen: list[dict[str, float]] = []
    config = PolicyGradient(kl=KL(), batch_size=16, learning_rate=1e-6)
    with tempfile.TemporaryDirectory() as folder:
        given = TrainContext(Path(folder) / "run", 0, lambda done, total, /, **figures: seen.append(figures))
        plan = OnlinePlan(options.steps + 1, 1, experience(model, tasks, options))
        config.train_online(model, plan, Path(folder) / "out", given)
    report(seen[1:], options)


def report(seen: Sequence[dict[str, float]], options: argparse.Namespace) -> None:
    size = f"{options.tasks} tasks x {options.k} samples x {options.max_tokens} tokens"
    print(f"{options.engine}: {size}, {os.cpu_count()} cores")
    for entry in seen:
        total = entry["gathering_seconds"] + entry["update_seconds"]
        share = (entry["generating_seconds"] + entry["update_seconds"]) / total
        print(
            f"  {total:.1f} s a step: {entry['generating_seconds']:.1f} s generating {entry['new_tokens']:.0f} tokens, "
            f"{entry['update_seconds']:.1f} s updating on {entry['tokens']:.0f}, {1 - share:.0%} overhead"
        )
    seconds = statistics.median(entry["gathering_seconds"] + entry["update_seconds"] for entry in seen)
    print(f"median {seconds:.1f} s a step (goal: at most {MOST:.0f} s; generation and update at least {LEAST:.0%})")


if __name__ == "__main__":
    main()
