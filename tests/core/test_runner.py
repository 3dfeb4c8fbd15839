"""Work over many items: order, bounds, what is kept, and how it ends."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.runner import Forgetful, drive


@dataclass(frozen=True)
class Item:
    id: str


@dataclass
class Kept:
    """A journal in memory."""

    records: dict[str, Item] = field(default_factory=dict)

    def read(self) -> dict[str, Item]:
        return dict(self.records)

    def append(self, record: Item, /) -> None:
        self.records[record.id] = record


@dataclass
class Work:
    """Takes as many turns of the loop as given for each item; says what was begun, and how many ran at once."""

    turns: list[int]
    begun: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0

    async def __call__(self, item: Item) -> Item:
        self.begun.append(item.id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(self.turns[int(item.id)]):
                await asyncio.sleep(0)
        finally:
            self.running -= 1
        return item


def items(count: int) -> list[tuple[str, Item]]:
    return [(str(n), Item(str(n))) for n in range(count)]


def ignored(_: Item) -> None: ...


@given(
    turns=st.lists(st.integers(0, 9), max_size=30),
    known=st.sets(st.integers(0, 29)),
    concurrency=st.integers(1, 8),
    ahead=st.none() | st.integers(1, 20),
)
def test_results_come_in_order_and_each_item_is_worked_on_once(
    turns: list[int], known: set[int], concurrency: int, ahead: int | None
):
    work, journal, reported = Work(turns), Kept({str(n): Item(str(n)) for n in known}), list[str]()

    async def run() -> list[str]:
        made = drive(items(len(turns)), work, journal, lambda one: reported.append(one.id), concurrency, ahead)
        return [made.id async for item, made in made if made is item or made == item]

    assert asyncio.run(run()) == [str(n) for n in range(len(turns))]
    new = {str(n) for n in range(len(turns)) if n not in known}
    assert sorted(work.begun) == sorted(reported) == sorted(new)
    assert journal.records.keys() == {*map(str, known), *new}
    assert work.most <= concurrency


async def test_items_are_taken_as_far_ahead_as_is_said():
    taken = list[str]()

    def endless() -> Iterator[tuple[str, Item]]:
        while True:
            taken.append(str(len(taken)))
            yield taken[-1], Item(taken[-1])

    async with aclosing(drive(endless(), Work([0] * 99), Forgetful[Item](), ignored, 2, 10)) as made:
        for n in range(3):
            assert (await anext(made))[0].id == str(n)
            assert len(taken) == 10 + n


async def test_a_slow_item_does_not_keep_the_next_ones_waiting():
    """Its result comes first all the same."""
    work = Work([10_000, *[1] * 40])
    async with aclosing(drive(items(41), work, Forgetful[Item](), ignored, 2, 32)) as made:
        assert (await anext(made))[0].id == "0"
        assert len(work.begun) >= 32


@pytest.mark.parametrize("where", ["work", "journal", "report"])
async def test_the_first_error_is_raised_at_once_and_nothing_continues(where: str):
    """Though an earlier item would take for ever, and by then what was made is kept."""
    forever, journal = asyncio.Event(), Kept()

    def at(platform: str) -> Callable[[Item], None]:
        def fail(item: Item) -> None:
            if platform == where and item.id == "5":
                raise KeyError(platform)

        return fail

    async def work(item: Item) -> Item:
        if item.id == "0":
            await forever.wait()
        at("work")(item)
        return item

    class Failing(Kept):
        def append(self, record: Item, /) -> None:
            at("journal")(record)
            journal.append(record)

    begun = list[str]()

    async def noted(item: Item) -> Item:
        begun.append(item.id)
        return await work(item)

    with pytest.raises(KeyError, match=where):
        async with asyncio.timeout(30):
            _ = [made async for made in drive(items(99), noted, Failing(), at("report"), 2)]
    assert begun == [str(n) for n in range(6)]
    assert len(asyncio.all_tasks()) == 1
    assert {str(n) for n in range(1, 5)} <= journal.records.keys()


async def test_whoever_stops_early_leaves_nothing_running():
    work = Work([5] * 99)
    async with aclosing(drive(items(99), work, Forgetful[Item](), ignored, 4)) as made:
        await anext(made)
    assert work.running == 0
    assert len(asyncio.all_tasks()) == 1


async def test_work_that_gives_nothing_keeps_and_reports_nothing():
    journal, reported = Kept(), list[Item]()

    async def even(item: Item) -> Item | None:
        return item if int(item.id) % 2 == 0 else None

    made = [made async for _, made in drive(items(6), even, journal, reported.append, 3)]
    assert [one and one.id for one in made] == ["0", None, "2", None, "4", None]
    assert journal.records.keys() == {"0", "2", "4"} and len(reported) == 3
