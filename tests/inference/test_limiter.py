"""The limiter: never more in flight than the engines' shares, and every request gets its turn, in any order."""

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from selftaught.inference.limiter import ENGINE, SHARE, SHARE_LIFETIME, Limiter


def headers(share: int, engine: str = "a") -> dict[str, str]:
    return {ENGINE: engine, SHARE: str(share)}


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Requests at a limiter: each holds its sequences from its admission until it is ended."""

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
    st.tuples(st.sampled_from(["ask", "ask", "ask", "end", "end", "cancel", "update"]), st.integers(1, 40)), max_size=40
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
            "update": lambda share: limiter.update(headers(share)),
        }
        for act, number in steps:
            before = len(crowd.let_through)
            acts[act](number)
            if not at_once:
                await settled()
                assert limiter.in_flight == sum(crowd.held)
                if len(crowd.let_through) > before:  # more may already be in flight: nothing is aborted
                    assert sum(crowd.held) <= limiter.limit or len(crowd.held) == 1
        for _ in crowd.tasks:
            await settled()
            crowd.end(0)
        await settled()
        assert all(task.done() for task in crowd.tasks)
        assert crowd.let_through == sorted(crowd.let_through)
        assert limiter.in_flight == 0

    asyncio.run(world())


async def test_a_request_larger_than_the_limit_runs_alone():
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


async def test_a_new_share_is_used_at_once():
    limiter = Limiter(2)
    crowd = Crowd(limiter)
    for _ in range(10):
        crowd.ask(1)
    await settled()
    assert sum(crowd.held) == 2
    limiter.update(headers(7))
    await settled()
    assert sum(crowd.held) == 7


def test_the_shares_of_several_engines_at_one_address_add_up_while_they_answer():
    now = 0.0
    limiter = Limiter(64, clock=lambda: now)
    limiter.update({})
    assert limiter.limit == 64
    limiter.update(headers(10, "a"))
    limiter.update(headers(20, "b"))
    limiter.update(headers(12, "a"))
    assert limiter.limit == 32
    now = SHARE_LIFETIME + 1
    assert limiter.limit == 32, "the newest share is valid until there is another"
    limiter.update(headers(12, "a"))
    assert limiter.limit == 12


def test_an_invalid_share_is_ignored():
    limiter = Limiter(64)
    for words in ("", "-3", "many", "1.5"):
        limiter.update({ENGINE: "a", SHARE: words})
    assert limiter.limit == 64
