"""Work of an event loop, for callers that have none of their own and for those in whose thread one runs already."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_apart(work: Coroutine[None, None, T]) -> T:
    """What `work` gives, in an event loop of its own: there may be one here already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
