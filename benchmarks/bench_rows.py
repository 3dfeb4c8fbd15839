"""Sizes: peak memory and time of `prepare`, `tasks list` and `verify` at a million tasks and 100,000 rollouts.

And of `tasks list` on a line whose rounds have used 32,000 tasks before (`past`), which every later round goes by.

Each step runs as it does in a round, in a process of its own, on data made here: questions of 60 words, one in ten a
copy of another with other numbers; rollouts of 500 tokens with their log-probabilities, eight a task. Peaks are the
process's own (VmHWM), beside what the placement on CPUs gives the step; seconds are of a CPU. The baseline is another
checkout, at sizes that it can do: per row it says the same. No model is loaded and nothing is timed but the steps.

    python benchmarks/bench_rows.py [--tasks 1000000] [--rollouts 100000] [--past 32000]
                                    [--baseline CHECKOUT --fewer 20]

With `git worktree add ../before 920ffad` the baseline is the code before rows were streamed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

LIMITS = {"prepare": 2048, "tasks list": 1024, "past": 1024, "verify": 4096}
"""MiB: pipelines/placements/cpu.yaml for the steps, the chart's scheduler for the list."""
DROPS, PER_TASK, TOKENS, A_ROUND = 10, 8, 500, 800

RECIPE: dict[str, Any] = {
    "name": "rows",
    "models": {"policy": "none"},
    "stages": [
        {
            "sample": {"type": "iid", "k": PER_TASK, "max_tokens": TOKENS},
            "verify": [{"type": "answer_match"}],
            "curate": [{"type": "accepted", "per_task": 2}],
            "train": [{"type": "sft"}],
            "evaluate": [{"type": "accuracy"}],
            "gate": {"type": "paired_gain", "guard": "none"},
        }
    ],
}
SIZES = {"train": 480, "gate": 160, "report": 160}

# The data -------------------------------------------------------------------------------------------------------------


def questions(count: int) -> Iterator[str]:
    """Texts of 60 words, one in ten that of an earlier one with other numbers."""
    draw = random.Random(1)
    letters = [chr(97 + n) for n in range(26)]
    words = ["".join(draw.choices(letters, k=6)) for _ in range(20_000)]
    kept = [" ".join(draw.choices(words, k=57)) for _ in range(100)]
    for number in range(count):
        text = draw.choice(kept) if number % 10 == 0 else " ".join(draw.choices(words, k=57))
        yield f"{text} {number} and {draw.randrange(1000)}?"


def write_tasks(path: Path, rows: Iterator[tuple[int, str]]) -> None:
    with path.open("w") as file:
        for number, text in rows:
            file.write(json.dumps({"question": text, "answer": str(number % 1000)}) + "\n")


def write_drops(where: Path, total: int) -> None:
    from selftaught.tasks.inbox import batches

    where.mkdir()
    rows = enumerate(questions(total))
    for part in range(DROPS):
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "tasks.jsonl"
            write_tasks(file, islice(rows, total // DROPS))
            batches.write([file], str(where), date(2026, 11, 1 + part))


def tasks(count: int) -> Iterator[Any]:
    from selftaught.records import Message, Task

    for n, text in enumerate(questions(count)):
        yield Task(messages=(Message(role="user", content=text),), answer=str(n % 1000), source="bench")


def write_rounds(data: Path, total: int) -> None:
    """Rounds that have ended, of `A_ROUND` tasks each, three in five of them trained on, and one drop that waits."""
    from selftaught.records import dataset
    from selftaught.round.job import ModelRef, Plan
    from selftaught.state.ledger import PlanEntry, RecordEntry

    write_drops(data / "drops", 10 * DROPS)
    platform, every = opened(data / "home"), tasks(total)
    model = ModelRef(digest="m")
    for number in range(1, total // A_ROUND + 1):
        mine = (task.model_copy(update={"split": SPLITS[n % 5]}) for n, task in enumerate(islice(every, A_ROUND)))
        digest = dataset.write(data / "round", mine, "tasks").digest
        platform.store.put("datasets", digest, data / "round")
        fields = {
            "line": "rows",
            "campaign": "rows",
            "round": number,
            "attempt": 0,
            "run": "",
            "started": float(number),
        }
        plan = Plan(**fields, tasks=digest, champion=model, sampler=model, trainee=model)  # type: ignore[arg-type]
        platform.store.claim(PlanEntry(plan.key).key, plan.model_dump_json().encode())
        platform.store.claim(RecordEntry(plan.key).key, b"{}")


SPLITS = ("train", "train", "train", "gate", "report")


def groups(count: int, shard: int) -> Iterator[Any]:
    """Every other task in the order of their ids, each with `PER_TASK` rollouts, half of them right."""
    from selftaught.records import Group, Rollout, Turn

    draw = random.Random(2)
    said = [(draw.choices(range(50_000), k=TOKENS), [draw.random() for _ in range(TOKENS)]) for _ in range(100)]
    for task in sorted(tasks(count // PER_TASK), key=lambda task: task.id)[shard::2]:
        rollouts: list[Any] = []
        for index in range(PER_TASK):
            answer, (ids, logprobs) = task.answer if index % 2 else "none", draw.choice(said)
            text = f"{' '.join(['step'] * TOKENS)} {draw.random()}. The answer is {answer}."
            turn = Turn(content=text, token_ids=tuple(ids), logprobs=tuple(logprobs))
            fields = {"task": task.id, "index": index, "model": "m", "turns": (turn,), "temperature": 1.0}
            rollouts.append(Rollout(**fields, prompt_tokens=80, completion_tokens=TOKENS))
        yield Group(task=task, rollouts=tuple(rollouts))


def write_shards(folder: Path, rollouts: int) -> None:
    """Two shards, as `sample` leaves them."""
    from selftaught.records import dataset

    counts = {"new_tokens": float(rollouts * TOKENS), "seconds": 1.0}
    for shard in (0, 1):
        mine: Any = groups(rollouts, shard)
        rows = mine if hasattr(dataset, "writing") else list(mine)  # the baseline wants to know how many
        dataset.write(folder / f"groups-{shard}", rows, "groups", counts=counts)
    dataset.write(folder / "tasks", tasks(rollouts // PER_TASK), "tasks")


# The steps ------------------------------------------------------------------------------------------------------------


def opened(home: Path) -> Any:
    from selftaught.platform import Platform
    from selftaught.settings import Settings
    from selftaught.state.store import open_store

    os.environ["SELFTAUGHT_HOME"] = str(home)
    settings = Settings.load()
    return Platform(settings, open_store(settings.store), None)  # type: ignore[arg-type] # no step here asks for it


def recipe(tasks: dict[str, Any]) -> Any:
    from selftaught.recipe import Recipe

    return Recipe.parse(json.dumps({**RECIPE, "tasks": {**tasks, **SIZES}}))


def prepare(data: Path, platform: Any) -> None:
    from selftaught.records import dataset
    from selftaught.round.intake import drawn
    from selftaught.state.round_key import RoundKey

    taken = drawn(platform, recipe({"type": "jsonl", "path": str(data / "tasks.jsonl")}), RoundKey("rows", "rows"))
    dataset.write(data / "tasks", taken.tasks, "tasks")


def tasks_list(data: Path, platform: Any) -> None:
    from selftaught.round import intake

    of = (platform, recipe({"type": "inbox", "path": str(data / "drops")}), "rows", "rows")
    found = intake.listed(*of)
    batches, lacking = (
        found if isinstance(found, tuple) else (list(found), intake.missing(*of))
    )  # the baseline asks twice
    assert len(batches) == DROPS
    assert lacking is None


def verify(data: Path, platform: Any) -> None:
    from selftaught.records import dataset
    from selftaught.round.job import Job, ModelRef
    from selftaught.round.steps import verify as step

    model, drawn = ModelRef(digest="m"), dataset.manifest(data / "tasks").digest
    platform.store.put("datasets", drawn, data / "tasks")
    fields = {"line": "rows", "campaign": "rows", "round": 1, "attempt": 0, "run": "", "started": 0.0, "tasks": drawn}
    roles = {"champion": model, "sampler": model, "trainee": model}
    source = {"type": "jsonl", "path": "none"}
    job = Job(**fields, **roles, recipe=recipe(source), stage="main", seed=1, campaign_seed=1, shards=2)
    shards = [str(data / f"groups-{shard}") for shard in (0, 1)]
    parts = [dataset.manifest(Path(shard)) for shard in shards]
    step._verify(platform, job, shards, parts, data / "verified")
    step._curate(platform, job, data / "verified", data / "examples")


def past(data: Path, platform: Any) -> None:
    from selftaught.round.intake import missing

    missing(platform, recipe({"type": "inbox", "path": str(data / "drops")}), "rows", "rows")


STEPS = {"prepare": prepare, "tasks list": tasks_list, "past": past, "verify": verify}
MADE = {
    "prepare": lambda data, count: write_tasks(data / "tasks.jsonl", enumerate(questions(count))),
    "tasks list": lambda data, count: write_drops(data / "drops", count),
    "past": write_rounds,
    "verify": write_shards,
}


def child(step: str, data: Path) -> None:
    """Run one step here and print what it took."""
    with tempfile.TemporaryDirectory() as empty:
        platform = opened(kept if (kept := data / "home").exists() else Path(empty))
        began = time.process_time()
        STEPS[step](data, platform)
        seconds = time.process_time() - began
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak": peak / 1024}))


# Figures --------------------------------------------------------------------------------------------------------------


def measured(step: str, count: int, checkout: Path) -> dict[str, float] | None:
    """What `step` took on `count` rows with the code in `checkout`; None when it did not get through."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, str(Path(__file__).resolve()), "--step", step, "--data", data]
        env = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run([*command, "--make", str(count)], check=True, env=env, cwd=data)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=data)
    if done.returncode != 0:
        print(*done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, step: str, count: int, took: dict[str, float] | None) -> None:
    if took is None:
        print(f"{name:10} {step:11} {count:>9,}  did not get through")
        return
    print(
        f"{name:10} {step:11} {count:>9,}  {took['seconds']:6.0f} s  {took['peak']:6.0f} MiB of {LIMITS[step]}"
        f"  {took['peak'] * 1024 / count:6.2f} KiB and {took['seconds'] * 1000 / count:5.2f} ms each",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rollouts", type=int, default=100_000)
    parser.add_argument("--past", type=int, default=32_000)
    parser.add_argument("--baseline", type=Path)
    parser.add_argument("--fewer", type=int, default=20, help="the baseline gets so many times less")
    parser.add_argument("--only", choices=STEPS, action="append")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make:
        MADE[args.step](args.data, args.make)
    elif args.step:
        child(args.step, args.data)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    here = Path(__file__).resolve().parent.parent
    for step in args.only or STEPS:
        count = {"verify": args.rollouts, "past": args.past}.get(step, args.tasks)
        if args.baseline:
            fewer = count // args.fewer
            row("baseline", step, fewer, measured(step, fewer, args.baseline.resolve()))
            row("this code", step, fewer, measured(step, fewer, here))
        row("this code", step, count, measured(step, count, here))


if __name__ == "__main__":
    main()
