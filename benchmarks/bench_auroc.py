"""What a search gains over independent samples by how well its value model tells right steps from wrong ones.

No engine: a policy of chance takes each step right with a probability that is the task's own, in one of a few wordings,
and an answer is right where all its steps are. The value of a step is drawn from one of two normal distributions, as
far apart as the AUROC says. The searches are the real ones; each task's independent samples stop at the tokens that its
tree took. Printed, for each AUROC, paired by task with 95 % intervals: the gain in tasks solved, in distinct right
answers, and of the search's own answer over a vote. Usage:
`python benchmarks/bench_auroc.py [--tasks 600] [--steps 2 3]`.
"""

import argparse
import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, ClassVar

import numpy as np

from selftaught.blocks import Completion, Context
from selftaught.core.statistics import mean_interval
from selftaught.recipe import load_blocks
from selftaught.records import Message, Task
from selftaught.search.parts import NodeValue
from selftaught.search.searcher import Search
from selftaught.search.tree import SearchNode, SearchTree

RIGHT, WRONG = "abc", "uvwxyz"
STEP = 10
"""Tokens of a step."""
SKILL = (0.4, 0.5)
"""Of the beta distribution that tasks have their chance of a right step from: with two steps an answer is right in .33
of all cases and one of 13 in about .55, as measured of the real model on word problems."""
AUROCS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.98)
ROLLOUTS = {"type": "steps", "n": 3, "widening": 0.5, "rollout": 64}
SEARCHES: dict[str, dict[str, Any]] = {
    "rollouts": {"select": {"type": "ucb", "c": 0.7, "leaves": 2}, "expand": ROLLOUTS, "limits": {"tokens": 300}},
    "steps": {
        "select": {"type": "ucb", "c": 0.7},
        "expand": {"type": "steps", "n": 3, "widening": 0.5},
        "limits": {"tokens": 300},
    },
    "rebase": {
        "select": {"type": "rebase", "width": 12},
        "expand": {"type": "steps", "n": 3},
        "backup": {"type": "max"},
        "limits": {"iterations": 8},
    },
}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 3])
    args = parser.parse_args()
    load_blocks()
    for steps in args.steps:
        for name in SEARCHES:
            print(
                f"{name}, {steps} steps, {args.tasks} tasks: solved, distinct right answers, own answer less the vote"
            )
            for auroc in AUROCS:
                print(f"  AUROC {auroc:.2f}  {asyncio.run(_gains(name, steps, auroc, args.tasks))}")


def _luck(*what: object) -> float:
    """A number in (0, 1) that follows from `what`."""
    return (int.from_bytes(hashlib.sha256(repr(what).encode()).digest()[:6]) + 0.5) / 2**48


@dataclass
class Chance:
    """The policy on one task: `steps` steps, each right with probability `right`; a byte is a token."""

    task: int
    steps: int
    right: float
    digest: str = "chance"
    asked: Counter[str] = field(default_factory=Counter[str])

    async def chat(self, messages: Sequence[Message], **options: Any) -> list[Completion]:
        raise NotImplementedError("a search continues tokens")

    async def complete(
        self, prompt: Sequence[Message] | Sequence[int], *, n: int = 1, stop: Sequence[str] = (), **_: object
    ) -> list[Completion]:
        said = "" if isinstance(prompt[0], Message) else bytes(list(prompt)[1:]).decode()  # type: ignore[arg-type]
        first = self.asked[said]
        self.asked[said] += n
        return [self.one(said, i, bool(stop)) for i in range(first, first + n)]

    def one(self, said: str, i: int, one_step: bool) -> Completion:
        done, text = said.count("\n"), ""
        while done < self.steps and not (text and one_step):
            drawn = _luck(self.task, said, i, done)
            kind = RIGHT if drawn < self.right else WRONG
            letter = kind[int(_luck(self.task, said, i, done, "wording") * len(kind))]
            done += 1
            text += letter * STEP + ("\n" if done < self.steps else "")
        return Completion(
            text=text,
            token_ids=tuple(text.encode()),
            logprobs=(-0.1,) * len(text),
            finish_reason="stop",
            prompt_tokens=1,
            stop="\n" if text.endswith("\n") else None,
            tokens=tuple(text),
            prompt_ids=(1,),
        )


def _is_right(text: str) -> bool:
    return all(letter in RIGHT + "\n" for letter in text)


class Known(NodeValue, type="known"):
    """The value of a step: normal, with a mean that is higher where all steps so far are right."""

    auroc: float
    scale: ClassVar[NormalDist] = NormalDist()

    async def values(self, tree: SearchTree, nodes: Sequence[SearchNode], context: Context) -> list[float]:
        apart = math.sqrt(2) * self.scale.inv_cdf(self.auroc)
        return [self._value(tree.task.id, node.so_far(), apart) for node in nodes]

    def _value(self, task: str, text: str, apart: float) -> float:
        drawn = self.scale.inv_cdf(_luck(task, text, "value")) + (apart if _is_right(text) else 0.0)
        return self.scale.cdf(drawn - apart / 2)


async def _gains(name: str, steps: int, auroc: float, tasks: int) -> str:
    search = Search.model_validate(
        {"type": "search", "backup": {"type": "visit_mean"}, "value": {"type": "known", "auroc": auroc}}
        | SEARCHES[name]
    )
    found = [await _task(search, steps, number) for number in range(tasks)]
    shown: list[str] = []
    for column in zip(*found, strict=True):
        gain = mean_interval(list(column), bounds=None)
        shown.append(f"{np.mean(column):+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
    return "  ".join(shown)


async def _task(search: Search, steps: int, number: int) -> tuple[float, float, float]:
    """What the search of one task gained over independent samples, in solved, distinct and picked."""
    skill = float(np.random.default_rng(number).beta(*SKILL))
    task = Task(messages=(Message(role="user", content=f"task {number}"),), answer="", source="chance")
    group = await search.sample(task, Context(models={"policy": Chance(number, steps, skill)}))
    tree = group.tree
    if tree is None:
        raise SystemExit("a search gave no tree")
    answers = [rollout.text for rollout in group.rollouts]
    picked = next((r.text for r in group.rollouts if r.index == tree.answer), "?")
    ours = np.array([_solved(answers), len({a for a in answers if _is_right(a)}), float(_is_right(picked))])
    policy = Chance(number, steps, skill)
    count = tree.spent.tokens // (STEP * steps + steps - 1)
    samples = [policy.one("", 1_000_000 + i, one_step=False).text for i in range(count)]
    votes = Counter(map(_answer, samples)).most_common(1)
    voted = float(bool(votes) and votes[0][0] == "right")
    theirs = np.array([_solved(samples), len({s for s in samples if _is_right(s)}), voted])
    solved, distinct, own = (ours - theirs).tolist()
    return solved, distinct, own


def _answer(text: str) -> str:
    """What an answer comes to: the right one, or what its last mistake says."""
    return "right" if _is_right(text) else [letter for letter in text if letter in WRONG][-1]


def _solved(answers: Sequence[str]) -> float:
    return float(any(map(_is_right, answers)))


if __name__ == "__main__":
    main()
