"""What a node of a search costs the client: processor time against a server that answers at once.

The server is a process of its own. Each step that it gives is new and has 12 tokens, as the starter model's have, and
values differ, so that trees grow as a real model's do; what is counted is this process alone: searcher, client and the
rows that records are made of. Prints nodes a second of one core, without a value, with a value model's and with
p(True), three children an expansion. Usage: `python benchmarks/bench_nodes.py [--trees 200] [--iterations 8]`.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

from in_memory import Memory, nothing
from stub_server import serving

from selftaught.blocks import Context
from selftaught.inference.endpoint import Endpoint, RetryPolicy, served_name
from selftaught.recipe import load_blocks
from selftaught.records import Group, Task
from selftaught.sampling.runner import sample
from selftaught.search.outcomes import outcomes
from selftaught.search.searcher import Search
from selftaught.state.round_key import RoundKey
from selftaught.tasks.draw import prepare, seeds
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.verification.answer_match import AnswerMatch

LINE, DIGEST = "bench", "abcd1234" * 8
VALUES = ("constant", "value_model", "p_true")
FLIGHT = 64
"""Trees in flight, and sequences at the server."""

SERVER = """
import itertools, json, sys

NAME, TOKENS = sys.argv[1], 12
numbers = itertools.count()

def step(index, chat):
    number = next(numbers)
    text = f"{number} + 1 = {number + 1}\\n"
    tokens = [text, *[""] * (TOKENS - 1)]
    ids = [number % 49000, *range(TOKENS - 1)]
    more = {"content": [{"token": t, "logprob": -0.5, "top_logprobs": []} for t in tokens]}
    logprobs = more if chat else {"tokens": tokens, "token_logprobs": [-0.5] * TOKENS}
    said = {"message": {"content": text}} if chat else {"text": text}
    return {"index": index, "finish_reason": "stop", "stop_reason": "\\n", "token_ids": ids, "logprobs": logprobs,
    **said}

def judged(index):
    words = ["True", "False", *(f"w{i}" for i in range(18))]
    top = [{"token": word, "logprob": -1.0 - ((next(numbers) * 7919) % 97) / 97} for word in words]
    first = {"token": "True", "logprob": -1.0, "top_logprobs": top}
    return {"index": index, "message": {"content": "True"}, "finish_reason": "length", "logprobs": {"content": [first]}}

def answer(path, body):
    said = answered(path, json.loads(body or b"{}"))
    return json.dumps(said | {"model": NAME, "usage": {"prompt_tokens": 80, "completion_tokens": TOKENS}}).encode()

def answered(path, body):
    if path == "/v1/models":
        return {"data": [{"id": NAME}]}
    if path == "/classify":
        return {"data": [{"index": i, "probs": [(next(numbers) * 7919) % 97 / 97]} for i in range(len(body["input"]))]}
    if path.endswith("/batch"):
        return {"choices": [judged(i) for i in range(len(body["messages"]))]}
    chat = "messages" in body
    one = body.get("max_tokens", body.get("max_completion_tokens")) == 1
    more = {"prompt_token_ids": list(range(80))} if chat else {}
    return {"choices": [judged(i) if one else step(i, chat) for i in range(body.get("n", 1))], **more}

"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=8)
    args = parser.parse_args()
    load_blocks()
    tasks = _tasks(args.trees)
    with serving(SERVER, served_name(LINE, DIGEST)) as url:
        for value in VALUES:
            nodes, seconds = asyncio.run(measured(url, tasks, _search(value, args.iterations)))
            print(f"{value:12} {nodes:6} nodes  {seconds:6.2f} s of a core  {nodes / seconds:7.0f} nodes/s (aim 2,000)")


def _tasks(number: int) -> list[Task]:
    source = WordProblems(train=number, gate=8, report=8, levels=(2,), instruction="One short calculation a line.")
    return [task for task in prepare(source, seeds(RoundKey("bench", "bench"))) if task.split == "train"]


def _search(value: str, iterations: int) -> Search:
    return Search.model_validate(
        {
            "type": "search",
            "expand": {"type": "steps", "n": 3, "max_tokens": 32},
            "value": {"type": value},
            "limits": {"iterations": iterations, "depth": 20},
            "control": 0,
        }
    )


async def measured(url: str, tasks: Sequence[Task], search: Search) -> tuple[int, float]:
    """Nodes that grew, and seconds of this process's processor time."""
    async with Endpoint(url, LINE, DIGEST, policy=RetryPolicy(concurrency=FLIGHT * 3)) as model:
        context = Context(models={"policy": model, "value": model}, verifiers=(AnswerMatch(),))
        await grown(tasks[:FLIGHT], search, context)  # opens the connections
        begin = time.process_time()
        groups = await grown(tasks, search, context)
        return int(outcomes(groups)["search.nodes"]), time.process_time() - begin


async def grown(tasks: Sequence[Task], search: Search, context: Context) -> list[Group]:
    """A tree of each task."""
    return await sample(tasks, search, context, Memory(), nothing, concurrency=FLIGHT)


if __name__ == "__main__":
    main()
