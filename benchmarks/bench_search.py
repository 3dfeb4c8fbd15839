"""Tree search through the entire stack against (a) one request at a time and (b) the same engine driven flat out.

(a) is the call pattern of ReST-MCTS*'s public code: the same search, one tree after the other, each child and each
value asked for on its own with transformers' generate, nothing shared. (b) re-issues what the search asked the engine
for (prompts, numbers of tokens, value questions) all at once, with no tree between them, on a fresh engine. Prints
nodes/s and verified solutions per 1,000 new tokens, the ratios, the share of the time that value calls take with and
without their prefixes cached, the prefix cache's hit rate and the client's share of a core. Usage:
`python benchmarks/bench_search.py [--model FOLDER] [--tasks 48] [--sequential 4] [--iterations 10]`.
"""

import argparse
import asyncio
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from in_memory import Memory, nothing

from selftaught.blocks import Completion, Context
from selftaught.core.loopback import bearer
from selftaught.inference.endpoint import Endpoint, RetryPolicy
from selftaught.recipe import load_blocks
from selftaught.records import Group, Message, Task
from selftaught.sampling.runner import sample
from selftaught.search.outcomes import outcomes
from selftaught.search.searcher import Search
from selftaught.serving.backend import Served
from selftaught.serving.engines.pool import LocalEngines
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import resolve
from selftaught.state.weights import model_digest
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.runner import verify

TREES = 48
"""Trees in flight: each has about one request of a few sequences at a time."""


def main() -> None:
    """Measure and print."""
    args = _arguments()
    load_blocks()
    model = resolve(args.model, Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")) / "models")
    digest, tasks, search = model_digest(model), _tasks(args.tasks), _search(args.iterations)
    with tempfile.TemporaryDirectory() as scratch:
        with LocalEngines(Path(scratch), forkserver=True) as engines:
            ours, asked = asyncio.run(_ours(engines.deploy("bench", digest, model), tasks, search))
            engines.remove("bench", digest)
            flat = asyncio.run(_flat(engines.deploy("bench", digest, model), asked))
            engines.remove("bench", digest)
            values = [
                asyncio.run(_values(engines.deploy("bench", digest, model), asked, shared)) for shared in (True, False)
            ]
        sequential = asyncio.run(_sequential(model, tasks[: args.sequential], search))
    _print(ours, flat, values, sequential, args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--sequential", type=int, default=4, help="trees for (a), which is slow")
    parser.add_argument("--iterations", type=int, default=10)
    return parser.parse_args()


def _tasks(number: int) -> list[Task]:
    source = WordProblems(train=number, gate=8, report=8, levels=(2,), instruction="One short calculation a line.")
    return [task for task in prepare(source, seeds(RoundKey("bench", "bench"))) if task.split == "train"]


def _search(iterations: int) -> Search:
    return Search.model_validate(
        {
            "type": "search",
            "expand": {"type": "steps", "n": 3, "max_tokens": 32},
            "value": {"type": "p_true"},
            "limits": {"iterations": iterations, "depth": 6},
        }
    )


# What was measured ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """A run of searches. `cpu` is this process's share of one core, `hits` the prefix cache's hit rate."""

    seconds: float
    nodes: int
    tokens: int
    solved: int
    cpu: float = 0.0
    hits: float = 0.0

    @property
    def rate(self) -> float:
        """Nodes a second."""
        return self.nodes / self.seconds


@dataclass(slots=True)
class Asked:
    """What a search asked its engine for, in order: bodies of requests without the model's name, by path."""

    steps: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    values: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Noting(Endpoint):
    """An endpoint that notes what it is asked: each continuation with its own number of tokens."""

    asked: Asked

    async def complete(self, prompt: Any, **options: Any) -> list[Completion]:
        said = await super().complete(prompt, **options)
        ids = said[0].prompt_ids if isinstance(prompt[0], Message) else prompt
        for each in said:
            length = max(len(each.token_ids), 1)
            self.asked.steps.append(
                {"prompt": list(ids), "max_tokens": length, "min_tokens": length, "ignore_eos": True, "logprobs": 0}
            )
        return said

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        self.asked.values += [{"messages": [m.to_row() for m in messages], "max_tokens": 1} for messages in chats]
        return await super().odds(chats, words)


async def _ours(served: Served, tasks: Sequence[Task], search: Search) -> tuple[Measured, Asked]:
    async with Noting(
        served.url, served.line, served.digest, policy=RetryPolicy(concurrency=128), key=served.key
    ) as endpoint:
        endpoint.asked = Asked()
        context = Context(models={"policy": endpoint}, verifiers=(AnswerMatch(),))
        await sample(tasks[:4], search.model_copy(update={"finish": 8}), context, Memory(), nothing)  # warm-up
        endpoint.asked = Asked()
        before, used, began = await _cache(served), _cpu(), time.perf_counter()
        groups = await sample(tasks, search, context, Memory(), nothing, concurrency=TREES)
        seconds, cpu = time.perf_counter() - began, _cpu() - used
        hits = [after - first for after, first in zip(await _cache(served), before, strict=True)]
        groups = await verify(groups, context.verifiers, context, nothing)
        return _measured(groups, seconds, cpu / seconds, hits[1] / hits[0]), endpoint.asked


def _measured(groups: Sequence[Group], seconds: float, cpu: float = 0.0, hits: float = 0.0) -> Measured:
    counts = outcomes(groups)
    nodes, tokens, solved = (int(counts[f"search.{name}"]) for name in ("nodes", "spent.tokens", "solved"))
    return Measured(seconds, nodes, tokens, solved, cpu, hits)


async def _cache(served: Served) -> tuple[float, float]:
    """Tokens that were looked up in the prefix cache, and those that were found."""
    async with httpx.AsyncClient(headers=bearer(served.key), trust_env=False) as client:
        text = (await client.get(served.url.removesuffix("/v1") + "/metrics")).text
    found = {line.split("{")[0]: float(line.split()[-1]) for line in text.splitlines() if line[:1] not in ("#", "")}
    return found["vllm:prefix_cache_queries_total"], found["vllm:prefix_cache_hits_total"]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# (b) the same engine flat out -----------------------------------------------------------------------------------------


async def _flat(served: Served, asked: Asked) -> float:
    """Seconds for all that was asked, at once and in order, by a bare client."""
    posts = [("/completions", body) for body in asked.steps] + [("/chat/completions", _odds(b)) for b in asked.values]
    # in the order of the search steps and values take turns: spread the values among the steps
    posts = [post for pair in _spread(posts, len(asked.steps)) for post in pair]
    return await _post(served, posts)


def _spread(posts: list[Any], steps: int) -> list[list[Any]]:
    values = posts[steps:]
    share = len(values) / max(steps, 1)
    return [[posts[i], *values[round(i * share) : round((i + 1) * share)]] for i in range(steps)]


def _odds(body: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**body, "temperature": 0.0, "logprobs": True, "top_logprobs": 20, **more}


async def _values(served: Served, asked: Asked, shared: bool) -> float:
    """Seconds for the value calls alone, after what they share was put into the cache, or with nothing shared."""
    if shared:
        await _post(served, [("/chat/completions", _odds(body)) for body in asked.values])
    salt: list[dict[str, str]] = [{} if shared else {"cache_salt": secrets.token_hex(8)} for _ in asked.values]
    posts = [("/chat/completions", _odds(body, **each)) for body, each in zip(asked.values, salt, strict=True)]
    return await _post(served, posts)


async def _post(served: Served, posts: Sequence[tuple[str, dict[str, Any]]]) -> float:
    todo = iter(posts)
    async with httpx.AsyncClient(headers=bearer(served.key), trust_env=False, timeout=600) as client:

        async def work() -> None:
            for path, body in todo:
                answer = await client.post(served.url + path, json={"model": served.name, **body})
                answer.raise_for_status()

        began = time.perf_counter()
        await _together([work() for _ in range(128)])
        return time.perf_counter() - began


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


# (a) one request at a time --------------------------------------------------------------------------------------------


class Sequential:
    """A TokenModel on transformers' generate with batches of one, as the reference calls its models."""

    digest = "sequential"

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(0)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()

    async def complete(self, prompt: Any, *, n: int = 1, stop: Sequence[str] = (), **options: Any) -> list[Completion]:
        if isinstance(prompt[0], Message):
            rows = [m.to_row() for m in prompt]
            prompt = self.tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
        return [self._one(list(prompt), stop, **options) for _ in range(n)]

    def _one(self, prompt: list[int], stop: Sequence[str], temperature: float, max_tokens: int) -> Completion:
        import torch

        ids = torch.tensor([prompt])
        with torch.inference_mode():
            out = self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=temperature > 0,
                temperature=temperature or None, stop_strings=list(stop) or None, tokenizer=self.tokenizer,
            )  # fmt: skip
        new = out[0, len(prompt) :].tolist()
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        found = next((s for s in stop if s in text), None)
        ended = found is None and new[-1] == self.tokenizer.eos_token_id
        finish = "stop" if found or ended else "length"
        return Completion(text, tuple(new), (0.0,) * len(new), finish, len(prompt), found, (), tuple(prompt))

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        return [self._odds(messages, words) for messages in chats]

    def _odds(self, messages: Sequence[Message], words: Sequence[str]) -> list[float]:
        import torch

        rows = [m.to_row() for m in messages]
        ids = self.tokenizer.apply_chat_template(
            rows, add_generation_prompt=True, return_tensors="pt", return_dict=False
        )
        with torch.inference_mode():
            p = self.model(ids).logits[0, -1].float().softmax(-1)
        return [float(p[self.tokenizer(word.capitalize(), add_special_tokens=False).input_ids[0]]) for word in words]


async def _sequential(model: Path, tasks: Sequence[Task], search: Search) -> Measured:
    context = Context(models={"policy": Sequential(model)}, verifiers=(AnswerMatch(),))
    began = time.perf_counter()
    groups = await sample(tasks, search, context, Memory(), nothing, concurrency=1)
    seconds = time.perf_counter() - began
    return _measured(await verify(groups, context.verifiers, context, nothing), seconds)


def _print(
    ours: Measured, flat: float, values: Sequence[float], sequential: Measured, args: argparse.Namespace
) -> None:
    print(
        f"{args.tasks} two-step problems, {args.iterations} iterations of 3 children, {TREES} trees in flight, p(True)"
    )
    for name, each in (("through the stack", ours), (f"(a) sequential, {args.sequential} trees", sequential)):
        print(
            f"  {name:28} {each.rate:7.2f} nodes/s  {each.tokens / each.seconds:7.1f} new tokens/s  "
            f"{1000 * each.solved / each.tokens:5.2f} solved per 1,000 tokens"
        )
    print(f"  (b) flat out                 {ours.nodes / flat:7.2f} nodes/s  {ours.tokens / flat:7.1f} new tokens/s")
    print(f"ratio to (a) {ours.rate / sequential.rate:.1f} (aim 10), to (b) {flat / ours.seconds:.3f} (aim 0.85)")
    shares = [each / ours.seconds for each in values]
    print(f"value calls: {shares[0]:.2f} of the search's time with their prefixes cached, {shares[1]:.2f} without")
    print(f"prefix cache: {ours.hits:.3f} of the tokens looked up were found; client: {ours.cpu:.2f} of a core")


if __name__ == "__main__":
    main()
