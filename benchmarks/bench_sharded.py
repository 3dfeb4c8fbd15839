"""SFT with sharded weights against replicated ones: tokens/s of two processes of this machine, in turns.

Both are torchrun's, share each batch and talk over gloo, as the train step starts them; the baseline is torch's
DistributedDataParallel (every process has all weights), the other `fully_shard` (each has a part and gathers the rest
as it goes). Same examples, batches and seed, so both learn the same; the last loss of each shows it. What counts is the
time in the training loop. Gathering weights costs the same whatever the batch, so the ratio depends on its size.
Usage: `python benchmarks/bench_sharded.py [--model NAME] [--examples 96] [--batch 32] [--processes 2] [--repeats 2]`.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from bench_training import LEARNING_RATE, word_problems

from selftaught.blocks import TrainResult
from selftaught.records import Example, dataset
from selftaught.round.distributed.request import OfflineRequest
from selftaught.state.starter import resolve
from selftaught.training.sft import SFT

LEAST = 0.8
"""Of the replicated run's tokens/s."""


def trained(model: Path, examples: list[Example], sharded: bool, asked: argparse.Namespace) -> TrainResult:
    """One epoch in as many processes as asked."""
    block = SFT(epochs=1, batch_size=asked.batch, learning_rate=LEARNING_RATE, sharded=sharded)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "examples")
        dataset.write(data, examples, "examples")
        request = OfflineRequest(
            objective=block, model=model, examples=data, out=Path(folder, "out"), scratch=Path(folder, "run"),
            seed=0, step="train",
        )  # fmt: skip
        return request.run(asked.processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    for name, default in (("--examples", 96), ("--batch", 32), ("--processes", 2), ("--repeats", 2)):
        parser.add_argument(name, type=int, default=default)
    asked = parser.parse_args()
    model = resolve(asked.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    examples = word_problems(asked.examples, 0)
    runs: dict[bool, list[TrainResult]] = {False: [], True: []}
    for _ in range(asked.repeats):
        for sharded, seen in runs.items():
            seen.append(trained(model, examples, sharded, asked))
    rates = {sharded: statistics.median(one.tokens / one.seconds for one in seen) for sharded, seen in runs.items()}
    cores, batch = os.cpu_count(), asked.batch
    print(f"{asked.processes} processes, {cores} cores, batches of {batch}, {asked.repeats} repeats each")
    for sharded, seen in runs.items():
        name, every = ("replicated", "sharded")[sharded], " ".join(f"{one.seconds:.1f}" for one in seen)
        print(f"  {name:12} {rates[sharded]:6.0f} tokens/s   seconds: {every}   last loss {seen[-1].losses[-1][1]:.4f}")
    print(f"ratio of sharded to replicated: {rates[True] / rates[False]:.2f} (aim: at least {LEAST})")


if __name__ == "__main__":
    main()
