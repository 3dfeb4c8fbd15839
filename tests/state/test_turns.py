"""One process at a time, by claims alone: turns follow each other, and a dead process's ends by itself."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught.core.errors import Busy
from selftaught.state import turns
from selftaught.state.store import DirectoryStore
from selftaught.state.turns import SECONDS, turn


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_a_turn_is_one_processs_until_it_is_over(store: DirectoryStore):
    with turn(store, "line", "working"):
        with (
            pytest.raises(Busy, match="working: another process has been at it for 0 s"),
            turn(store, "line", "working"),
        ):
            pass
        with turn(store, "other", "working"):
            pass
    with turn(store, "line", "working"):
        pass


def test_a_turn_that_ends_with_an_error_is_over(store: DirectoryStore):
    with pytest.raises(ZeroDivisionError), turn(store, "line", "working"):
        raise ZeroDivisionError
    with turn(store, "line", "working"):
        pass


def test_of_many_that_begin_at_once_one_has_the_turn(store: DirectoryStore):
    """Round after round, so that each begins behind turns that are over."""
    threads, had = 8, []
    for _ in range(20):
        at_once, inside = threading.Barrier(threads), []

        def one(_: int, at_once: threading.Barrier = at_once, inside: list[int] = inside) -> int:
            at_once.wait()
            try:
                with turn(store, "line", "working"):
                    inside.append(1)
                    assert sum(inside) == 1
                    time.sleep(0.002)
                    inside.append(-1)
                return 1
            except Busy:
                return 0

        with ThreadPoolExecutor(threads) as pool:
            had.append(sum(pool.map(one, range(threads))))
    assert min(had) >= 1


@pytest.mark.parametrize(("ago", "free"), [(SECONDS - 5, False), (SECONDS + 1, True)])
def test_the_turn_of_a_process_that_died_ends_in_time(store: DirectoryStore, ago: float, free: bool):
    store.claim("turns/line/00000007", json.dumps({"by": "dead", "began": time.time() - ago}).encode())
    if free:
        with turn(store, "line", "working"):
            assert store.claims("turns/line") == ["turns/line/00000008"]
    else:
        with pytest.raises(Busy, match="10 min after it began"), turn(store, "line", "working"):
            pass


@pytest.mark.parametrize("junk", [b"", b"{", b"null", b"[]", b'{"began": "x"}', b'{"began": NaN}', b'{"began": 1e18}'])
def test_what_no_process_of_ours_has_begun_keeps_nobody_out(store: DirectoryStore, junk: bytes):
    """Another's object, or a beginning by a clock that was years ahead."""
    store.claim("turns/line/00000007", junk)
    store.claim("turns/line/notes", junk)
    with turn(store, "line", "working"):
        assert store.claims("turns/line") == ["turns/line/00000008", "turns/line/notes"]


def test_who_slept_since_it_looked_does_not_take_a_number_that_was_cleared_away(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
):
    """It saw turn 1 over; others had turns 2 and 3 and cleared up, so number 2 is free for it to claim."""
    with turn(store, "line", "working"):
        pass
    looked = turns._running

    def asleep(*asked: object) -> float | None:
        monkeypatch.setattr(turns, "_running", looked)
        for _ in range(2):
            with turn(store, "line", "working"):
                pass
        return None

    monkeypatch.setattr(turns, "_running", asleep)
    with pytest.raises(Busy, match="another process was faster"), turn(store, "line", "working"):
        pass
    assert max(store.claims("turns/line")) == "turns/line/00000003-over"
    assert "turns/line/00000002" not in store.claims("turns/line")
