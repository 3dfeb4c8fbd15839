"""The limiter: never more in flight than an engine has room for, no request forgotten, whatever the order of things."""

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from selftaught.inference.limiter import ENGINE, KEPT, SHARE, Limiter


def said(share: int, engine: str = "a") -> dict[str, str]:
    return {ENGINE: engine, SHARE: str(share)}


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests at a limiter: each holds its sequences from when it is let through until it is told to end."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.running: dict[int, tuple[int, asyncio.Event]] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.let_through: list[int] = []

    def ask(self, sequences: int) -> None:
        number = len(self.tasks)

        async def request() -> None:
            async with self.limiter.turn(sequences):
                over = asyncio.Event()
                self.running[number] = sequences, over
                self.let_through.append(number)
                try:
                    await over.wait()
                finally:
                    del self.running[number]

        self.tasks.append(asyncio.create_task(request()))

    def end(self, chosen: int) -> None:
        if self.running:
            list(self.running.values())[chosen % len(self.running)][1].set()

    def cancel(self, chosen: int) -> None:
        if self.tasks:
            self.tasks[chosen % len(self.tasks)].cancel()

    @property
    def held(self) -> list[int]:
        return [sequences for sequences, _ in self.running.values()]


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "end", "end", "cancel", "hear"]), st.integers(1, 40)), max_size=40
)


@given(steps=STEPS, most=st.integers(1, 40), at_once=st.booleans())
def test_no_more_is_in_flight_than_there_is_room_for_and_every_request_ends(
    steps: list[tuple[str, int]], most: int, at_once: bool
):
    async def world() -> None:
        limiter = Limiter(most, clock=lambda: 0.0)
        crowd = Crowd(limiter)
        acts: dict[str, Callable[[int], None]] = {
            "ask": crowd.ask,
            "end": crowd.end,
            "cancel": crowd.cancel,
            "hear": lambda share: limiter.hear(said(share)),
        }
        for act, number in steps:
            before = len(crowd.let_through)
            acts[act](number)
            if not at_once:
                await settled()
                assert limiter.flying == sum(crowd.held)
                if len(crowd.let_through) > before:  # what was in flight before may be more: nothing is broken off
                    assert sum(crowd.held) <= limiter.limit or len(crowd.held) == 1
        for _ in crowd.tasks:
            await settled()
            crowd.end(0)
        await settled()
        assert all(task.done() for task in crowd.tasks)
        assert crowd.let_through == sorted(crowd.let_through)
        assert limiter.flying == 0

    asyncio.run(world())


async def test_a_request_that_is_larger_than_the_limit_goes_alone():
    crowd = Crowd(Limiter(8))
    for sequences in (2, 20, 2):
        crowd.ask(sequences)
    await settled()
    assert crowd.held == [2]
    crowd.end(0)
    await settled()
    assert crowd.held == [20]
    crowd.end(0)
    await settled()
    assert crowd.held == [2]


async def test_room_that_an_engine_tells_is_used_at_once():
    limiter = Limiter(2)
    crowd = Crowd(limiter)
    for _ in range(10):
        crowd.ask(1)
    await settled()
    assert sum(crowd.held) == 2
    limiter.hear(said(7))
    await settled()
    assert sum(crowd.held) == 7


def test_several_engines_at_one_address_have_room_together_as_long_as_they_answer():
    now = 0.0
    limiter = Limiter(64, clock=lambda: now)
    limiter.hear({})
    assert limiter.limit == 64
    limiter.hear(said(10, "a"))
    limiter.hear(said(20, "b"))
    limiter.hear(said(12, "a"))
    assert limiter.limit == 32
    now = KEPT + 1
    assert limiter.limit == 32, "the newest word stands until there is another"
    limiter.hear(said(12, "a"))
    assert limiter.limit == 12


def test_what_is_no_number_of_sequences_is_not_heard():
    limiter = Limiter(64)
    for words in ("", "-3", "many", "1.5"):
        limiter.hear({ENGINE: "a", SHARE: words})
    assert limiter.limit == 64
