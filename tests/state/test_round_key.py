"""What a round is called: equal to what earlier versions called it, so that rounds that they began are found again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.state.ledger import PlanEntry, RecordEntry
from selftaught.state.round_key import RoundKey

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
KEYS = st.builds(RoundKey, NAMES, NAMES, st.integers(1, 99), st.integers(0, 99))

GOLDEN = [
    (RoundKey("line", "demo"), "line/demo/1-0", "demo round 1", 3335526022490179086),
    (RoundKey("support", "weekly", 12, 3), "support/weekly/12-3", "weekly round 12 attempt 3", 8491472007689872339),
]
"""Written down from release 0.1.0's functions."""


@pytest.mark.parametrize(("key", "name", "title", "seed"), GOLDEN)
def test_names_keys_and_seeds_are_those_of_release_0_1_0(key: RoundKey, name: str, title: str, seed: int):
    assert (key.name, key.title, key.seed) == (name, title, seed)
    assert (PlanEntry(key).key, RecordEntry(key).key) == (f"plans/{name}", f"rounds/{name}")
    assert RoundKey("any", "demo").campaign_seed == 1534505598134367298


@given(KEYS)
def test_what_comes_after_a_round_sorts_after_it(key: RoundKey):
    assert key < key.retry() < key.next()
    assert key.next() == key.retry().next()
    assert key.next().attempt == 0


@given(KEYS)
def test_a_round_is_found_by_its_name(key: RoundKey):
    assert RoundKey.parse(key.name) == key


@pytest.mark.parametrize("name", ["", "line", "line/demo/1", "line/demo/0-0", "line/demo/1-00", "a/b/c/1-0"])
def test_what_is_called_otherwise_is_no_round(name: str):
    assert RoundKey.parse(name) is None


@given(KEYS, KEYS)
def test_two_rounds_share_no_name(one: RoundKey, other: RoundKey):
    assert (one == other) == (one.name == other.name) == (PlanEntry(one).key == PlanEntry(other).key)
