"""Turns: distributed mutual exclusion by the store's claims alone.

A turn is a numbered claim under `turns/<name>/`, and its end is another. Whoever comes takes the number after the last
turn that is over, or that began so long ago that its process must have died; of two that want one number the store
lets one have it. Nothing here waits.
"""

import json
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager

from selftaught.core.errors import Busy
from selftaught.state.store import Store

SECONDS = 600
"""How long a turn may last: one that was not ended by then is a dead process's."""
_OVER = "-over"


@contextmanager
def turn(store: Store, name: str, doing: str) -> Generator[None]:
    """Have the turn `name` while the block runs. Raises Busy, saying what it is `doing`, while another process has it.

    What the block does last has to be within half of SECONDS from its beginning: `store` cannot stop a process that
    sleeps through its turn.
    """
    number = _taken(store, f"turns/{name}", doing)
    try:
        yield
    finally:
        store.claim(f"turns/{name}/{number:08}{_OVER}", b"{}")


def _taken(store: Store, prefix: str, doing: str) -> int:
    """The number of the turn that this process has now."""
    last = _last(store, prefix)
    if (age := _running(store, prefix, last)) is not None:
        raise Busy(
            f"{doing}: another process has been at it for {age:.0f} s. Wait for it; should it have died, run this "
            f"again {SECONDS / 60:.0f} min after it began."
        )
    number, mine = last + 1, json.dumps({"by": uuid.uuid4().hex, "began": time.time()}).encode()
    if store.claim(f"{prefix}/{number:08}", mine) != mine:
        raise Busy(f"{doing}: another process has just started it. Wait for it.")
    if _last(store, prefix) != number:  # slept since it looked: others had their turns, and cleared up behind them
        store.release(f"{prefix}/{number:08}")
        raise Busy(f"{doing}: another process was faster. Run this again.")
    for key in store.claims(prefix):
        if 0 < _number(key) < number:
            store.release(key)
    return number


def _last(store: Store, prefix: str) -> int:
    return max(map(_number, store.claims(prefix)), default=0)


def _number(key: str) -> int:
    """The number of a turn; 0 for what is none."""
    name = key.rpartition("/")[2].removesuffix(_OVER)
    return int(name) if name.isdecimal() else 0


def _running(store: Store, prefix: str, number: int) -> float | None:
    """For how many seconds turn `number` has been running; None when it is over, or its process must have died."""
    begun = store.claimed(f"{prefix}/{number:08}")
    if begun is None or store.claimed(f"{prefix}/{number:08}{_OVER}") is not None:
        return None
    try:
        age = time.time() - float(json.loads(begun)["began"])
    except (ValueError, KeyError, TypeError, RecursionError):  # no process of ours has written that
        return None
    return age if -SECONDS < age < SECONDS else None  # begun long from now: by a clock that was wrong
