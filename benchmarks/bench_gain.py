"""Searches against independent samples: what each finds at equal new tokens, and in equal seconds of one engine.

Tasks are redrawn by `--seed`, so nothing was trained or tuned on them. A pool of independent answers a task is
sampled once for each temperature; each search of a YAML file (a name and its `sample:` block) then grows a tree a task
on the same engine. A pool is read in random orders up to the tokens that a tree took (or as many more as the engine
samples in the tree's share of the seconds). Printed, paired by task with 95 % intervals: tasks solved, distinct right
answers, and as inference the search's own answer, and the vote of its answers (each weighing what the search thinks it
is worth), against the vote of the pool. Right is what `answer_match` passes and, but for inference, `equations` too.
Groups are kept under `--out`, one file each, and a run that was killed resumes from them. Usage:
`python benchmarks/bench_gain.py --policy FOLDER [--value FOLDER] --searches FILE --out FOLDER [--tasks 240]`.
"""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import yaml
from in_memory import nothing
from pydantic import NonNegativeFloat, PositiveInt

from selftaught.blocks import Context, Sampler, Verifier
from selftaught.core.statistics import mean_interval
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.recipe import load_blocks
from selftaught.records import Group, Task
from selftaught.sampling.iid import IID
from selftaught.sampling.runner import sample
from selftaught.search.parts import NodeValue
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchNode, SearchTree
from selftaught.search.values import passed
from selftaught.serving.engines.pool import LocalEngines
from selftaught.state.round_key import RoundKey
from selftaught.state.weights import model_digest
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations
from selftaught.verification.runner import verify
from selftaught.verification.votes import same_answers

INSTRUCTION = "Write each calculation on a line of its own."
VERIFIERS: tuple[Verifier, ...] = (AnswerMatch(), Equations(at_least=1))
ORDERS = 400


def main() -> None:
    """Sample what is not there yet, and print the comparison."""
    args = _arguments()
    load_blocks()
    tasks, out = _tasks(args), Path(args.out)
    samplers = _pools(args) | _searches(args)
    out.mkdir(parents=True, exist_ok=True)
    missing = {name: each for name, each in samplers.items() if not (out / f"{name}.seconds").exists()}
    if missing:
        asyncio.run(_fill(args, tasks, missing, out))
    _print({name: Run.read(out, name, tasks) for name in samplers}, args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--value", type=Path, help="the value model of searches that ask one")
    parser.add_argument("--searches", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--tasks", type=int, default=240)
    parser.add_argument("--seed", default="held apart")
    parser.add_argument("--pool", type=int, default=32, help="independent answers a task")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.7, 1.0])
    parser.add_argument("--max-tokens", type=int, default=64)
    return parser.parse_args()


def _tasks(args: argparse.Namespace) -> list[Task]:
    source = WordProblems(train=args.tasks, gate=8, report=8, levels=(1, 2), instruction=INSTRUCTION)
    return [task for task in prepare(source, seeds(RoundKey("bench", args.seed))) if task.split == "train"]


def _pools(args: argparse.Namespace) -> dict[str, Sampler]:
    return {
        f"pool-{heat}": IID(k=args.pool, temperature=heat, max_tokens=args.max_tokens) for heat in args.temperatures
    }


def _searches(args: argparse.Namespace) -> dict[str, Sampler]:
    read: Mapping[str, Any] = yaml.safe_load(args.searches.read_text())
    return {name: cast("Sampler", Search.model_validate(block)) for name, block in read.items()}


class Oracle(NodeValue, type="oracle"):
    """What a value model of a known quality would say: the share of `n` completions that are right, and noise on it.

    It looks at the gold answer, and its tokens are not counted: what a better value model would be worth, no search.
    """

    n: PositiveInt = 8
    noise: NonNegativeFloat = 0.0
    known: ClassVar[dict[tuple[str, str], float]] = {}

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        shares = await asyncio.gather(*(self._share(tree, node, context) for node in nodes))
        return [self._noisy(tree.task, node, share) for node, share in zip(nodes, shares, strict=True)]

    async def _share(self, tree: SearchTree, node: SearchNode, context: Context) -> float:
        key = tree.task.id, node.so_far()
        if key not in self.known:
            said = [(node.so_far(), node.finish_reason)]
            if not node.terminal:
                more = await context.tokens().complete(
                    [*tree.prompt_ids, *node.ids()], n=self.n, temperature=1.0, max_tokens=48
                )
                said = [(node.so_far() + each.text, each.finish_reason) for each in more]
            self.known[key] = await passed(tree, said, context)
        return self.known[key]

    def _noisy(self, task: Task, node: SearchNode, share: float) -> float:
        seed = int.from_bytes(hashlib.sha256(f"{task.id} {node.so_far()}".encode()).digest()[:8])
        return min(max(share + float(np.random.default_rng(seed).normal(0, self.noise)), 0.0), 1.0)


# Sampling -------------------------------------------------------------------------------------------------------------


async def _fill(args: argparse.Namespace, tasks: Sequence[Task], samplers: Mapping[str, Sampler], out: Path) -> None:
    folders = {"policy": args.policy} | ({"value": args.value} if args.value else {})
    async with AsyncExitStack() as stack:
        engines = stack.enter_context(LocalEngines(out / "scratch"))
        models: dict[str, Endpoint] = {}
        for role, folder in folders.items():
            digest = model_digest(folder)
            served = await asyncio.to_thread(engines.deploy, role, digest, folder)
            client = Endpoint(served.url, role, digest, policy=RetryPolicy(concurrency=128), key=served.key)
            models[role] = await stack.enter_async_context(client)
        context = Context(models=models, verifiers=VERIFIERS, seed=0)
        flight = max(32, models["policy"].room)
        await sample(tasks[:4], next(iter(samplers.values())), context, Kept(None), nothing)  # warm-up
        for name, sampler in samplers.items():
            journal, began = Kept(out / f"{name}.jsonl"), time.perf_counter()
            with_nothing = not journal.read()
            await sample(tasks, sampler, context, journal, nothing, flight)
            seconds = time.perf_counter() - began
            # Seconds of a run that was taken up again say nothing.
            (out / f"{name}.seconds").write_text(str(seconds if with_nothing else float("nan")))
            print(f"{name}: {seconds:.0f} s", flush=True)


class Kept:
    """A journal of groups in one file of JSON lines."""

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self) -> dict[str, Group]:
        """The groups in the file, by task; a last line that a kill cut short is left out."""
        if self.path is None or not self.path.exists():
            return {}
        lines = self.path.read_text().split("\n")[:-1]
        return {group.id: group for group in map(Group.model_validate_json, lines)}

    def append(self, group: Group, /) -> None:
        """One line more."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(group.model_dump_json() + "\n")


# Comparison -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """The verified groups of one sampler, by task, and the seconds that it took."""

    groups: Mapping[str, Group]
    seconds: float

    @classmethod
    def read(cls, out: Path, name: str, tasks: Sequence[Task]) -> "Run":
        """What `_fill` left."""
        kept = Kept(out / f"{name}.jsonl").read()
        groups = asyncio.run(verify([kept[t.id] for t in tasks if t.id in kept], VERIFIERS, Context(), nothing))
        return cls({group.id: group for group in groups}, float((out / f"{name}.seconds").read_text()))

    @property
    def tokens(self) -> int:
        """New tokens in all."""
        return sum(group.new_tokens for group in self.groups.values())


def _own(group: Group) -> list[int]:
    """The positions of a group's answers that no hint led to."""
    return [i for i, rollout in enumerate(group.rollouts) if not rollout.hinted]


def _said(group: Group, index: int) -> str:
    return " ".join(group.rollouts[index].text.split())


@dataclass(frozen=True, slots=True)
class Found:
    """Of one task: solved, distinct right answers, and whether the answer that was picked is right."""

    solved: float
    distinct: float
    picked: float
    weighed: float = 0.0


def _search_found(group: Group) -> Found:
    own = _own(group)
    right = {_said(group, i) for i in own if group.passed(i)}
    tree = group.tree
    picked = weighed = 0.0
    if tree is not None and own:
        picked = max(
            (float(group.verdicts[i][0].passed) for i in own if group.rollouts[i].index == tree.answer), default=0
        )
        clusters = [[i for i in each if i in own] for each in same_answers(group)]
        worths = [sum(tree.nodes[group.rollouts[i].index].value for i in votes) for votes in clusters]
        best = clusters[int(np.argmax(worths))] if clusters else []
        weighed = float(any(group.verdicts[i][0].passed for i in best))
    return Found(float(bool(right)), float(len(right)), picked, weighed)


def _pool_found(group: Group, budget: float, random: np.random.Generator) -> Found:
    """The mean over orders of what had ended within `budget` tokens."""
    n = len(group.rollouts)
    lengths = np.array([rollout.completion_tokens for rollout in group.rollouts])
    texts = [_said(group, i) if group.passed(i) else None for i in range(n)]
    names = {text: k for k, text in enumerate(dict.fromkeys(t for t in texts if t is not None))}
    kinds = np.array([-1 if text is None else names[text] for text in texts])
    clusters = same_answers(group)
    cluster = np.full(n, -1)
    for k, votes in enumerate(clusters):
        cluster[votes] = k
    right = np.array([any(group.verdicts[i][0].passed for i in votes) for votes in clusters] + [False])
    orders = random.permuted(np.tile(np.arange(n), (ORDERS, 1)), axis=1)
    within = np.cumsum(lengths[orders], axis=1) <= budget
    found = np.where(within, kinds[orders], -1)
    distinct = sum(float((found == k).any(axis=1).mean()) for k in names.values())
    votes = np.zeros((ORDERS, len(clusters) + 1))
    for k in range(len(clusters)):
        votes[:, k] = (within & (cluster[orders] == k)).sum(axis=1)
    chosen = np.where(votes.max(axis=1) > 0, votes.argmax(axis=1), len(clusters))
    return Found(float((found >= 0).any(axis=1).mean()), distinct, float(right[chosen].mean()))


def _print(runs: Mapping[str, Run], args: argparse.Namespace) -> None:
    pools = {name: run for name, run in runs.items() if name.startswith("pool-")}
    for name, run in runs.items():
        print(
            f"{name:24} {len(run.groups)} tasks  {run.tokens} new tokens  {run.seconds:.0f} s  "
            f"{run.tokens / run.seconds:.0f} new tokens/s"
        )
    for name, run in runs.items():
        if name in pools:
            continue
        print(f"\n{name}: AUROC of answers {_auroc(run):.3f}")
        for pool_name, pool in pools.items():
            more = (run.seconds / run.tokens) / (pool.seconds / pool.tokens)
            for label, factor in (("tokens", 1.0), ("seconds", more)):
                _row(run, pool, factor, f"equal {label}, {pool_name}")


def _row(run: Run, pool: Run, factor: float, label: str) -> None:
    random, pairs, short = np.random.default_rng(0), list[tuple[Found, Found]](), 0
    for id, group in run.groups.items():
        spent = group.tree.spent if group.tree else None
        budget = (spent.tokens - spent.hint_tokens if spent else group.new_tokens) * factor
        short += sum(r.completion_tokens for r in pool.groups[id].rollouts) < budget
        pairs.append((_search_found(group), _pool_found(pool.groups[id], budget, random)))
    print(f"  {label} ({len(pairs)} tasks, {short} with too small a pool)")
    for figure, ours, theirs in (
        ("solved", "solved", "solved"),
        ("distinct", "distinct", "distinct"),
        ("own answer - vote", "picked", "picked"),
        ("weighed vote - vote", "weighed", "picked"),
    ):
        a, b = [getattr(s, ours) for s, _ in pairs], [getattr(p, theirs) for _, p in pairs]
        gain = mean_interval([x - y for x, y in zip(a, b, strict=True)], bounds=None)
        means = f"{np.mean(a):.3f} - {np.mean(b):.3f} = {np.mean(a) - np.mean(b):+.3f}"
        print(f"    {figure:20} {means} [{gain.low:+.3f}, {gain.high:+.3f}]")


def _auroc(run: Run) -> float:
    """Of the estimates of finished answers, against whether they are right."""
    scored = [
        (group.tree.nodes[group.rollouts[i].index].estimate, group.passed(i))
        for group in run.groups.values()
        if group.tree
        for i in _own(group)
    ]
    right, wrong = ([s for s, ok in scored if ok is wanted] for wanted in (True, False))
    if not right or not wrong:
        return float("nan")
    a, b = np.array(right)[:, None], np.array(wrong)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean())


if __name__ == "__main__":
    main()
