"""For how long verifiers keep an event loop from continuing: its longest pause, and what a verdict takes.

A task that does nothing but tick runs beside `answer_match` on groups of answers: numbers, formulas, and what a hostile
model may write. Three ways to ask in the same run: in the loop itself, in a thread of this process, and as every step
does (`Verifier.judge`: in the worker). Comparisons kept from before are forgotten before each; the worker has been
started and has imported sympy. A pause is the processor time of this process between two ticks, so that a busy machine
makes none. Prints the longest one and the time a verdict (ms). Usage: `python benchmarks/bench_verification.py`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from selftaught.blocks import Context
from selftaught.core.worker import in_worker
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.symbolic import symbolically_equal

SAMPLES = 64
TOKENS = 1_000
"""Of an answer: what is sent to the worker with it."""
CASES = {
    "numbers": ("42", [f"So there are {n} of them.\n#### {n}" for n in range(SAMPLES)]),
    "formulas": (r"\frac{x+1}{2}", [rf"\boxed{{\frac{{1+x}}{{2}} + {n}x}}" for n in range(SAMPLES)]),
    "9^9^9": ("42", [r"\boxed{9^{9^{9}}}"]),
    "a long sum": ("42", [r"\boxed{\sum_{k=1}^{10^9} \frac{1}{k^2}}"]),
    "nested fractions": (r"\frac{x+1}{2}", [r"\boxed{" + r"\frac{1}{1+" * 14 + "x" + "}" * 15]),
    "unclosed LaTeX": ("42", [r"\begin{align}" * 2_500]),
}
MATCH = AnswerMatch()
Way = Callable[[Group], Awaitable[list[Verdict]]]


def main() -> None:
    """Measure and print."""
    asyncio.run(measured())


async def measured() -> None:
    """Each case in each way."""
    for way in (in_the_loop, judged):  # which imports what is needed
        await way(group("x+1", ["1+x"]))
    pause, _ = await beside_a_tick(nothing, group("42", []))
    print(f"nothing        longest pause {pause * 1e3:8.1f} ms")
    for name, (gold, texts) in CASES.items():
        print(f"{name} ({len(texts)} answers)")
        for way in (in_the_loop, in_a_thread, judged):
            symbolically_equal.cache_clear()
            await in_worker(symbolically_equal.cache_clear)
            pause, took = await beside_a_tick(way, group(gold, texts))
            label = way.__name__.replace("_", " ")
            print(f"  {label:12} longest pause {pause * 1e3:8.1f} ms   a verdict {took * 1e3 / len(texts):8.2f} ms")


async def nothing(asked: Group) -> list[Verdict]:
    """Leave the loop to the tick."""
    await asyncio.sleep(1)
    return []


async def in_the_loop(asked: Group) -> list[Verdict]:
    """One verdict after the other, the loop's turn in between."""
    said = list[Verdict]()
    for rollout in asked.rollouts:
        said.append(MATCH.verdict(asked.task, rollout))
        await asyncio.sleep(0)
    return said


async def in_a_thread(asked: Group) -> list[Verdict]:
    """All verdicts in one thread of this process, where nothing limits a comparison."""
    return await asyncio.to_thread(lambda: [MATCH.verdict(asked.task, rollout) for rollout in asked.rollouts])


async def judged(asked: Group) -> list[Verdict]:
    """As every step asks."""
    return await MATCH.judge(asked, Context())


async def beside_a_tick(way: Way, asked: Group) -> tuple[float, float]:
    """The longest time between two ticks beside `way`, and what it took (s)."""
    pauses = list[float]()
    ticking = asyncio.ensure_future(tick(pauses))
    await asyncio.sleep(0.01)
    pauses.clear()
    begin = time.perf_counter()
    await way(asked)
    took = time.perf_counter() - begin
    await asyncio.sleep(0.002)
    ticking.cancel()
    with suppress(asyncio.CancelledError):
        await ticking
    return max(pauses), took


async def tick(pauses: list[float]) -> None:
    """Note what this process computed in every millisecond in which the loop was to wake up, for ever."""
    while True:
        begin = time.process_time()
        await asyncio.sleep(0.001)
        pauses.append(time.process_time() - begin)


def group(gold: str, texts: list[str]) -> Group:
    """`texts` as answers to one task, with as many tokens as answers have."""
    task = Task(messages=(Message(role="user", content="How many?"),), answer=gold, source="bench")
    tokens, logprobs = tuple(range(TOKENS)), tuple(-1 / (n + 1) for n in range(TOKENS))
    turns = ((Turn(content=text, token_ids=tokens, logprobs=logprobs),) for text in texts)
    return Group(
        task=task,
        rollouts=tuple(
            Rollout(task=task.id, index=i, model="m", turns=turn, temperature=1.0) for i, turn in enumerate(turns)
        ),
    )


if __name__ == "__main__":
    main()
