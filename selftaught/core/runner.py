"""Drives work over many items: bounded concurrency, a journal, results in their order, one error instead of many.

What sampling and verification share. What the work is, how it is tried again and how far it is reported as are theirs.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Journal(Protocol[R]):
    """Where results are kept as they are made: `selftaught.state.journal` has the real ones."""

    def read(self) -> Mapping[str, R]:
        """The results so far, by id."""
        ...

    def append(self, record: R, /) -> None:
        """Keep `record`; when this returns, a kill does not lose it."""
        ...


class Forgetful(Generic[R]):
    """A journal that keeps nothing, for what is cheaper made again than read."""

    def read(self) -> dict[str, R]:
        """Nothing."""
        return {}

    def append(self, _record: R, /) -> None:
        """Keep nothing."""


async def drive(
    items: Iterable[tuple[str, T]],
    work: Callable[[T], Awaitable[R | None]],
    journal: Journal[R],
    report: Callable[[R], None],
    concurrency: int,
    ahead: int | None = None,
) -> AsyncGenerator[tuple[T, R | None]]:
    """Each of `items` (id, item) with what `work` made of it, in their order, or with what `journal` has under its id.

    At most `concurrency` items are worked on, and the next begins as soon as one is done. What is made is appended to
    `journal` and `report`ed at once, unless it is None. With `ahead`, so many items at most are taken and not handed
    on yet, which bounds what is in memory; else all are taken at once. The first error is raised as itself; by then
    nothing else runs, and what was made is in the journal. Close it, or go through all of it.
    """
    known, pool = journal.read(), _Pool(work, journal, report, concurrency)
    begun = deque[tuple[T, asyncio.Task[R | None]]]()

    async def result(id: str, item: T) -> R | None:
        return known.get(id) or await pool.result(item)

    try:
        for id, item in items:
            begun.append((item, asyncio.ensure_future(result(id, item))))
            if ahead is not None and len(begun) >= ahead:
                yield await pool.first(begun)
        while begun:
            yield await pool.first(begun)
    finally:
        await pool.end(task for _, task in begun)


class _Pool(Generic[T, R]):
    """What is worked on at once. After the first error nothing more is begun, and whoever waits gets it."""

    def __init__(
        self,
        work: Callable[[T], Awaitable[R | None]],
        journal: Journal[R],
        report: Callable[[R], None],
        concurrency: int,
    ) -> None:
        self._work, self._journal, self._report = work, journal, report
        self._room = asyncio.Semaphore(concurrency)
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def result(self, item: T) -> R | None:
        """What is made of `item`, once there is room for it; None after an error."""
        async with self._room:
            if self._broken.done():
                return None
            try:
                return await self._made(item)
            except Exception as error:  # noqa: BLE001 (`first` raises it)
                if not self._broken.done():
                    self._broken.set_exception(error)
                return None

    async def _made(self, item: T) -> R | None:
        made = await self._work(item)
        if made is not None:
            self._journal.append(made)
            self._report(made)
        return made

    async def first(self, begun: "deque[tuple[T, asyncio.Task[R | None]]]") -> tuple[T, R | None]:
        """The first of those that have `begun`, which is taken away. Raises the first error of any."""
        item, task = begun[0]
        await asyncio.wait((task, self._broken), return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            self._broken.result()
        begun.popleft()
        return item, task.result()

    async def end(self, tasks: Iterable["asyncio.Task[R | None]"]) -> None:
        """Cancel `tasks`, and wait until they have ended."""
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if not self._broken.cancel():
            self._broken.exception()  # it was raised, or nobody waits for it any more
