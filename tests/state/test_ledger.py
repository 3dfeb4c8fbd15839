"""The ledger: its keys are those of earlier versions, and of everything else there it says nothing."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import StoreError
from selftaught.state.ledger import (
    DetailEntry,
    EndEntry,
    Entry,
    Ledger,
    PlanEntry,
    RecordEntry,
    ReferenceEntry,
    RoleEntry,
    RoundEnd,
    StateEntry,
    StepEntry,
    TrainingEntry,
)
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from tests.state.test_round_key import KEYS, NAMES

ROUND = RoundKey("support", "weekly", 12, 3)
DIGEST = "0123456789abcdef" * 4

GOLDEN: list[tuple[Entry, str]] = [
    (PlanEntry(ROUND), "plans/support/weekly/12-3"),
    (RecordEntry(ROUND), "rounds/support/weekly/12-3"),
    (StepEntry("train", DIGEST), f"steps/train/{DIGEST}"),
    (TrainingEntry("train-0123456789abcdef01234567", "order"), "trainings/train-0123456789abcdef01234567/order"),
    (RoleEntry("support", "judge", DIGEST), f"roles/support/judge/{DIGEST}"),
    (ReferenceEntry(DIGEST), f"references/{DIGEST}"),
]
"""Written down from release 0.1.0, whose rounds continue in this version."""
ENTRIES = st.one_of(
    st.builds(
        lambda kind, key: kind(key), st.sampled_from([PlanEntry, RecordEntry, DetailEntry, StateEntry, EndEntry]), KEYS
    ),
    st.builds(StepEntry, st.sampled_from(["sample", "train"]), st.just(DIGEST)),
    st.builds(TrainingEntry, NAMES, st.sampled_from(["order", "answer", "failure"])),
    st.builds(RoleEntry, NAMES, NAMES, st.just(DIGEST)),
    st.builds(ReferenceEntry, st.just(DIGEST)),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(DirectoryStore(tmp_path))


@pytest.mark.parametrize(("entry", "key"), GOLDEN)
def test_keys_are_those_of_release_0_1_0(entry: Entry, key: str):
    assert entry.key == key


@given(ENTRIES)
def test_an_entry_is_found_by_its_key_and_no_other_kind_takes_it(entry: Entry):
    kinds = [
        PlanEntry,
        RecordEntry,
        DetailEntry,
        StateEntry,
        EndEntry,
        StepEntry,
        TrainingEntry,
        RoleEntry,
        ReferenceEntry,
    ]
    assert [kind.parse(entry.key) for kind in kinds if kind.parse(entry.key)] == [entry]


def test_what_is_no_entry_is_left_out(ledger: Ledger):
    for key in ("plans/support/weekly/12-3", "plans/support/weekly/latest", "plans/support/weekly-2/1-0"):
        ledger.store.claim(key, b"{}")
    assert ledger.rounds(PlanEntry, "support", "weekly") == [ROUND]


def test_the_first_writer_is_heard(ledger: Ledger):
    first = RoundEnd(outcome="failed", reason="too few examples", when=1.0)
    ledger.write(EndEntry(ROUND), first)
    ledger.write(EndEntry(ROUND), RoundEnd(outcome="abandoned", when=2.0))
    assert ledger.read(EndEntry(ROUND), RoundEnd) == first
    assert ledger.read(EndEntry(ROUND.retry()), RoundEnd) is None


def test_an_entry_that_cannot_be_read_is_named(ledger: Ledger):
    ledger.store.claim(EndEntry(ROUND).key, b"junk")
    with pytest.raises(StoreError, match="/claims/ends/support/weekly/12-3: cannot be read as a RoundEnd"):
        ledger.read(EndEntry(ROUND), RoundEnd)


def test_a_training_names_its_models_and_every_other_step_all_that_is_in_it():
    policy, value, examples = (hashlib.sha256(name).hexdigest() for name in (b"policy", b"value", b"examples"))
    made = json.dumps({"digest": policy, "examples": examples, "losses": [], "others": {"value": {"digest": value}}})
    made = made.encode()
    training, sampling = StepEntry("train", DIGEST), StepEntry("sample", DIGEST)
    assert (training.digests(made), training.examples(made)) == ((policy, value), examples)
    assert (sampling.digests(made), sampling.examples(made)) == ((policy, examples, value), "")
    assert training.digests(b"torn " + policy.encode()) == (policy,)


def test_a_journal_is_its_step_s():
    step = StepEntry("verify", DIGEST)
    assert StepEntry.of_journal(f"support/{step.key}/0") == step
    assert StepEntry.of_journal("support/evaluations/1") is None
