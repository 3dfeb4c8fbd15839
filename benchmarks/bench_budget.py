"""Search against independent samples at one token budget: which of them solves more two-step problems?

A task is solved when an answer of it is right and no calculation that the answer shows is wrong. Most of what the small
model gets right on two steps is luck, and some of that passes this test too, so it is also counted how often the steps
use the problem's numbers and lead to the answer. The policy writes a calculation a line. Without --model it is made
first: the starter model, shown worked examples, answers easy problems, and what is verified is trained on (as the
`warm` stage of recipes/rest-mcts-star.yaml does it). Every strategy gets the same number of new tokens a task, what its
values cost aside; differences are paired, with Tango's interval, against the better of the two baselines. The last row
bounds what errors_printed right steps from wrong ones can give: the same search with values that know whether each step
so far is right and can still lead to the answer. Usage: `python benchmarks/bench_budget.py [--model FOLDER] [--value
FOLDER] [--tasks 160] [--tokens 200]`.
"""

import argparse
import asyncio
import operator
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import permutations
from pathlib import Path
from typing import Any

from in_memory import Memory, nothing

from selftaught.blocks import Context, Sampler, TrainContext
from selftaught.core.statistics import binary_gain
from selftaught.curation.accepted import Accepted
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.recipe import load_blocks
from selftaught.records import Group, Task
from selftaught.sampling.budget import Budget
from selftaught.sampling.iid import IID, Shot
from selftaught.sampling.runner import sample
from selftaught.search.parts import NodeValue
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchNode, SearchTree
from selftaught.serving.backend import Served
from selftaught.serving.engines.pool import LocalEngines
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import resolve
from selftaught.state.weights import model_digest
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.training.sft import SFT
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations, equations
from selftaught.verification.runner import verify

INSTRUCTION = "Write each calculation on a line of its own."
SHOTS = (
    ("Kate has 5 boxes with 7 pens in each box, and 3 loose pens. How many pens does Kate have in total?",
     "5 * 7 = 35\n35 + 3 = 38\nThe answer is 38."),
    ("John has 16 eggs, finds 4 more and breaks 9 of them. How many eggs does John have now?",
     "16 + 4 = 20\n20 - 9 = 11\nThe answer is 11."),
)  # fmt: skip
VERIFIERS = (AnswerMatch(), Equations(at_least=1))


def main() -> None:
    """Measure and print."""
    load_blocks()
    args = _arguments()
    with tempfile.TemporaryDirectory() as scratch, LocalEngines(Path(scratch), forkserver=True) as engines:
        model = Path(args.model) if args.model else warmed(engines, Path(scratch))
        urls = {"policy": _deployed(engines, model)}
        if args.value:
            urls["value"] = _deployed(engines, Path(args.value))
        tasks = [each for each in _problems(args.tasks, (2,), 2) if each.split == "train"]
        print(f"{args.tasks} two-step problems, {args.tokens} new tokens each")
        found: dict[str, list[Group]] = {}
        for name, strategy in _strategies(args).items():
            found[name] = asyncio.run(_groups(urls, tasks, strategy))
            _print(name, found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", help="a policy that writes a calculation a line (default: made here)")
    parser.add_argument("--value", help="a value model, for one strategy more")
    parser.add_argument("--tasks", type=int, default=160)
    parser.add_argument("--tokens", type=int, default=200)
    return parser.parse_args()


def _problems(number: int, levels: Sequence[int], seed: int) -> list[Task]:
    source = WordProblems.model_validate(
        {"train": number, "gate": 8, "report": 8, "levels": levels, "instruction": INSTRUCTION}
    )
    return prepare(source, seeds(RoundKey("bench", "bench", seed)))


# The policy -----------------------------------------------------------------------------------------------------------


def warmed(engines: LocalEngines, scratch: Path) -> Path:
    """A model that writes a calculation a line, and what it was trained from, stated."""
    starter = resolve("smollm2-135m-instruct", Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    shots = tuple(Shot(question=question, answer=answer) for question, answer in SHOTS)
    asked = IID(k=8, temperature=0.7, max_tokens=64, shots=shots)
    tasks = [each for each in _problems(240, (1, 2), 1) if each.split == "train"]
    groups = asyncio.run(_groups({"policy": _deployed(engines, starter)}, tasks, asked))
    engines.remove("bench", model_digest(starter))
    examples = list(Accepted(per_task=2).curate(groups, seed=0))
    print(f"warm-up: {len(examples)} verified answers to {sum(map(_solved, groups))} of {len(tasks)} problems")
    context = TrainContext(scratch / "train", 0, nothing)
    SFT(epochs=2, learning_rate=1e-4).train(starter, examples, scratch / "policy", context)
    return scratch / "policy"


def _deployed(engines: LocalEngines, model: Path) -> Served:
    return engines.deploy("bench", model_digest(model), model)


# The strategies -------------------------------------------------------------------------------------------------------


class Known(NodeValue, type="bench_known"):
    """1 while all steps are right and can lead to the answer, by each number of the problem used once; else 0."""

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        return [float(leads(tree.task, node.so_far())) for node in nodes]


def leads(task: Task, text: str) -> bool:
    """Whether the calculations in `text` hold, start from the problem's numbers and can still end at its answer."""
    left = [int(each) for each in task.operands]
    left += left[:1] * (task.template == "more_than")  # which counts its first number twice
    for each in equations(text):
        numbers = [int(number) for number in re.findall(r"\d+", each.left)]
        if not each.holds() or any(left.count(number) < numbers.count(number) for number in numbers):
            return False
        for number in numbers:
            left.remove(number)
        left.append(int(float(each.right)))
    stated = re.findall(r"\d+", text.partition("answer is")[2])
    answer = int(task.answer or 0)
    return left == [int(stated[-1])] == [answer] if stated else answer in _reachable(left)


def _reachable(numbers: Sequence[int]) -> Iterator[int]:
    """What `numbers` can make, all of them used."""
    if len(numbers) == 1:
        yield numbers[0]
    for i, j in permutations(range(len(numbers)), 2):
        rest = [number for k, number in enumerate(numbers) if k not in (i, j)]
        for make in (operator.add, operator.sub, operator.mul):
            yield from _reachable([*rest, make(numbers[i], numbers[j])])


def _strategies(args: argparse.Namespace) -> dict[str, Sampler]:
    def search(value: dict[str, Any], **more: Any) -> Search:
        steps = {"type": "steps", "n": 3, "max_tokens": 32, "temperature": 0.7, "coverage": 0.9}
        limits = {"tokens": args.tokens, "depth": 5}
        return Search.model_validate({"type": "search", "expand": steps, "value": value, "limits": limits, **more})

    rule = {"type": "rule", "check": {"type": "equations"}}
    best: dict[str, Any] = {"select": {"type": "best_first"}, "prune": 0.05}
    strategies: dict[str, Sampler] = {
        f"i.i.d. at {temperature}": Budget(k=1, tokens=args.tokens, temperature=temperature, max_tokens=64)
        for temperature in (0.7, 1.0)
    }
    strategies["search, no values"] = search({"type": "constant"})
    strategies["search, p(True)"] = search({"type": "p_true"})
    strategies["search, equations checked"] = search(rule, **best)
    if args.value:
        strategies["search, value model"] = search({"type": "value_model"})
        strategies["search, checked and value model"] = search({**rule, "then": {"type": "value_model"}}, **best)
    strategies["search, right steps known"] = search({"type": "bench_known"}, **best)
    return strategies


# What came of it ------------------------------------------------------------------------------------------------------


async def _groups(urls: dict[str, Served], tasks: Sequence[Task], sampler: Sampler) -> list[Group]:
    async with AsyncExitStack() as opened:
        models = {
            role: await opened.enter_async_context(
                Endpoint(each.url, each.line, each.digest, policy=RetryPolicy(concurrency=128), key=each.key)
            )
            for role, each in urls.items()
        }
        context = Context(models=models, verifiers=VERIFIERS)
        groups = await sample(tasks, sampler, context, Memory(), nothing, concurrency=64)
        return await verify(groups, VERIFIERS, context, nothing)


def _tokens(group: Group) -> float:
    return group.new_tokens


def _reasoned(group: Group) -> float:
    """Whether a verified answer comes from the problem's numbers by steps that lead there."""
    return float(any(leads(group.task, rollout.text) for rollout in group.accepted()))


def _solved(group: Group) -> float:
    return float(any(group.accepted()))


def _right(group: Group) -> float:
    """Whether an answer is right, however it was come by."""
    return float(any(verdicts[0].passed for verdicts in group.verdicts))


def _print(name: str, found: dict[str, list[Group]]) -> None:
    """What the strategy measured last came to, against the better of the two baselines, which are measured first."""
    print(f"  {name:32} {sum(map(_tokens, found[name])) / len(found[name]):.0f} tokens", end="")
    for what, test in (("right", _right), ("solved", _solved), ("by steps that lead there", _reasoned)):
        each = {other: [test(group) for group in groups] for other, groups in found.items()}
        best = max(list(each)[:2], key=lambda other, each=each: sum(each[other]))
        gain = binary_gain(each[best], each[name])
        against = f" {gain.gain:+.3f} [{gain.low:.3f}, {gain.high:.3f}]" if len(found) > 2 else ""
        print(f"  {what} {sum(each[name]) / len(each[name]):.3f}{against}", end="")
    print(flush=True)


if __name__ == "__main__":
    main()
