import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.core.errors import Away, BadInput, StoreError
from selftaught.records import Group, Message, Rollout, Task, Turn
from selftaught.state.journal import FileJournal, SegmentJournal, open_journal, remove_journal, stored_journals
from selftaught.state.store import DirectoryStore, Store
from selftaught.state.store.s3 import S3Store

pytest_plugins = ["tests.s3_fixtures"]


def group(number: int, text: str = "4") -> Group:
    task = Task(messages=(Message(role="user", content=f"What is {number}?"),), answer="4", source="test")
    turn = Turn(content=text, token_ids=(1, 2), logprobs=(-0.25, float("-inf")))
    return Group(task=task, rollouts=(Rollout(task=task.id, index=0, model="m", turns=(turn,), temperature=1.0),))


GROUPS = [group(i, text) for i, text in enumerate(["4", "a\nb", "ü  \u2028 ", "", '"{}\\'])]


def ids(records: dict[str, Group]) -> list[str]:
    assert all(key == record.id for key, record in records.items())
    return list(records)


# In a file -----------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(data=st.data())
def test_killed_at_any_byte_nothing_whole_is_lost_and_nothing_is_doubled(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("journal") / "groups.jsonl"
    with FileJournal(path, Group) as journal:
        ends = [journal.append(each) or path.stat().st_size for each in GROUPS]
    cut = data.draw(st.integers(0, ends[-1]), label="killed at byte")
    os.truncate(path, cut)
    complete = [each for each, end in zip(GROUPS, ends, strict=True) if end <= cut]
    with FileJournal(path, Group) as journal:
        assert list(journal.read().values()) == complete
        for each in GROUPS:
            journal.append(each)
    with FileJournal(path, Group) as journal:
        assert list(journal.read().values()) == GROUPS
    assert len(path.read_bytes().splitlines()) == path.read_bytes().count(b"\n") == len(GROUPS)


def test_the_first_record_of_an_id_wins(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j", Group) as journal:
        for text in ("first", "second"):
            journal.append(group(1, text))
    with FileJournal(tmp_path / "j", Group) as journal:
        assert [each.rollouts[0].text for each in journal.read().values()] == ["first"]
    assert len((tmp_path / "j").read_text().splitlines()) == 1


def test_a_record_is_in_the_file_when_append_returns(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j", Group) as journal:
        journal.append(GROUPS[0])
        assert Group.from_row(json.loads((tmp_path / "j").read_text())) == GROUPS[0]


def test_a_damaged_line_inside_is_named_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with FileJournal(path, Group) as journal:
        for each in GROUPS[:3]:
            journal.append(each)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-9], *lines[2:]]))
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"{path}:2: damaged line. Remove it"):
        FileJournal(path, Group)
    assert path.read_bytes() == before
    path.write_bytes(b"\n".join([lines[0], *lines[2:]]))
    with FileJournal(path, Group) as journal:  # and the advice helps
        assert ids(journal.read()) == [GROUPS[0].id, GROUPS[2].id]


def test_two_live_writers_cannot_share_a_file(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j", Group), pytest.raises(StoreError, match=r"j: another process is writing it"):
        FileJournal(tmp_path / "j", Group, wait=0.1)
    FileJournal(tmp_path / "j", Group, wait=0.1).close()


WRITE_UNTIL_KILLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from selftaught.state.journal import FileJournal
from selftaught.records import Task

with FileJournal(Path(sys.argv[1]), Task) as journal:
    for number in range(10**6):
        task = Task(messages=({"role": "user", "content": str(number) * 50},), source="test")
        journal.append(task)
        print(task.id, flush=True)
"""


def test_kill_9_of_a_writer_loses_nothing_that_it_had_appended(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_UNTIL_KILLED, str(tmp_path / "j")], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    appended = [writer.stdout.readline().strip() for _ in range(50)]
    writer.kill()
    appended += writer.stdout.read().splitlines()
    writer.wait()
    with FileJournal(tmp_path / "j", Task) as journal:
        read = list(journal.read())
    assert read[: len(appended)] == appended
    assert len(read) <= len(appended) + 1  # one may be on the disk though its writer did not live to say so


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def short(file: int, content: bytes) -> int:
        if len(content) < 100:
            raise OSError(28, "No space left on device")
        return real(file, content[:-50])

    with FileJournal(tmp_path / "j", Group) as journal:
        journal.append(GROUPS[0])
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", short)
            with pytest.raises(StoreError, match=r"/j: No space left on device. Free some space"):
                journal.append(GROUPS[1])
        journal.append(GROUPS[2])
    with FileJournal(tmp_path / "j", Group) as journal:
        assert ids(journal.read()) == [GROUPS[0].id, GROUPS[2].id]


def test_a_journal_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*: Not a directory"):
        FileJournal(tmp_path / "file" / "sub" / "j", Group)


# In segments ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@settings(max_examples=40)
@given(batches=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=4))
def test_attempts_that_are_killed_or_closed_add_up(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, int]]
) -> None:
    """Killed attempts (never closed) lose at most what waits in a segment; the last one ends with everything."""
    store = DirectoryStore(tmp_path_factory.mktemp("store"))
    kept = 0
    for count, size in batches:
        journal = SegmentJournal(store, "k", Group, segment_records=size, segment_seconds=1e9)
        assert list(journal.read().values()) == GROUPS[:kept]
        for each in GROUPS[:count]:
            journal.append(each)
        kept += max(0, count - kept) // size * size
    with SegmentJournal(store, "k", Group) as journal:
        for each in GROUPS:
            journal.append(each)
    assert list(SegmentJournal(store, "k", Group).read().values()) == GROUPS


def test_a_writer_that_was_replaced_is_stopped(directory: DirectoryStore) -> None:
    old = SegmentJournal(directory, "k", Group, segment_records=1)
    old.append(GROUPS[0])
    new = SegmentJournal(directory, "k", Group, segment_records=1)
    with pytest.raises(StoreError, match=r"journals/k was taken over by a newer attempt of this step; this one stops"):
        old.append(GROUPS[1])
    new.append(GROUPS[2])
    assert ids(new.read()) == [GROUPS[0].id, GROUPS[2].id]
    assert ids(SegmentJournal(directory, "k", Group).read()) == [GROUPS[0].id, GROUPS[2].id]


def test_a_segment_that_arrives_while_the_next_attempt_opens_is_read(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer attempt looked before the old one wrote: it fences behind that segment, and reads it."""
    old = SegmentJournal(directory, "k", Group, segment_records=1)
    stale = directory.claims("journals/k")
    old.append(GROUPS[0])
    monkeypatch.setattr(directory, "claims", lambda _prefix: stale)
    assert ids(SegmentJournal(directory, "k", Group).read()) == [GROUPS[0].id]


def test_segments_are_written_by_count_and_by_time(directory: DirectoryStore) -> None:
    journal = SegmentJournal(directory, "k", Group, segment_records=3, segment_seconds=1e9)
    counts = [journal.append(each) or len(directory.claims("journals/k")) for each in GROUPS[:3]]
    assert counts == [1, 1, 2]  # the fence is one
    hasty = SegmentJournal(directory, "t", Group, segment_records=100, segment_seconds=0)
    counts = [hasty.append(each) or len(directory.claims("journals/t")) for each in GROUPS[:3]]
    assert counts == [2, 3, 4]


def test_a_segment_that_somebody_removed_loses_no_other(directory: DirectoryStore) -> None:
    with SegmentJournal(directory, "k", Group, segment_records=1) as journal:
        for each in GROUPS[:3]:
            journal.append(each)
    with SegmentJournal(directory, "k/below", Group):
        pass
    directory.release("journals/k/00000001")
    assert ids(SegmentJournal(directory, "k", Group).read()) == ids({each.id: each for each in GROUPS[1:3]})


def test_a_record_waits_no_longer_because_others_come_behind_it(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow trickle: each comes before the last one's second is over, and the first one's second passes."""
    now = [0.0]
    monkeypatch.setattr("selftaught.state.journal.time", SimpleNamespace(monotonic=lambda: now[0]))
    journal, written = SegmentJournal(directory, "k", Group, segment_seconds=1.0), list[int]()
    for seconds, each in enumerate(GROUPS[:4]):
        now[0] = 100 + 0.4 * seconds
        journal.append(each)
        written.append(len(directory.claims("journals/k")))
    assert written == [1, 1, 1, 2]  # the fence is one
    assert ids(SegmentJournal(directory, "k", Group).read()) == ids({each.id: each for each in GROUPS[:4]})


def test_a_segment_whose_answer_was_lost_is_this_writers_own(
    directory: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It arrived, and nobody said so; what comes behind it is no other attempt's."""
    journal, claim = SegmentJournal(directory, "k", Group, segment_records=1), directory.claim

    def lost(key: str, value: bytes) -> bytes:
        claim(key, value)
        monkeypatch.setattr(directory, "claim", claim)
        raise Away("s3: no answer")

    monkeypatch.setattr(directory, "claim", lost)
    with pytest.raises(Away):
        journal.append(GROUPS[0])
    journal.append(GROUPS[1])
    journal.close()
    assert list(SegmentJournal(directory, "k", Group).read().values()) == GROUPS[:2]


def test_a_damaged_segment_is_named(directory: DirectoryStore) -> None:
    directory.claim("journals/k/00000000", b"attempt\nnot a record")
    with pytest.raises(StoreError, match=r"journals/k/00000000:1: damaged line"):
        SegmentJournal(directory, "k", Group)


# Where the store says ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return S3Store("selftaught", request.getfixturevalue("s3_prefix"))
    return DirectoryStore(tmp_path / "store")


def test_a_step_goes_on_in_every_store(store: Store) -> None:
    with open_journal(store, "rft/round-1/sample-0", Group) as journal:
        for each in GROUPS[:3]:
            journal.append(each)
    with open_journal(store, "rft/round-1/sample-0", Group) as journal:
        assert list(journal.read().values()) == GROUPS[:3]
        for each in GROUPS:
            journal.append(each)
    with open_journal(store, "rft/round-1/sample-0", Group) as journal:
        assert list(journal.read().values()) == GROUPS
    with open_journal(store, "rft/round-1/sample-1", Group) as journal:
        assert journal.read() == {}


def test_a_replaced_writer_is_stopped_on_s3(s3_prefix: str) -> None:
    store = S3Store("selftaught", s3_prefix)
    old = SegmentJournal(store, "k", Group, segment_records=1)
    new = SegmentJournal(store, "k", Group, segment_records=1)
    with pytest.raises(StoreError, match="taken over by a newer attempt"):
        old.append(GROUPS[0])
    new.append(GROUPS[1])
    assert ids(SegmentJournal(store, "k", Group).read()) == [GROUPS[1].id]


def test_a_key_that_leaves_the_store_is_refused(store: Store) -> None:
    with pytest.raises(BadInput, match="not a name for the store"):
        open_journal(store, "../../etc", Group)


# What takes room -----------------------------------------------------------------------------------------------------


def test_journals_are_told_by_key_and_removed_alone(store: Store) -> None:
    before = time.time() - 2  # S3 tells complete seconds
    for key in ("steps/a", "steps/a/b", "steps/ab"):
        with open_journal(store, key, Group) as journal:
            journal.append(GROUPS[0])
    found = stored_journals(store)
    assert [each.name for each in found] == ["steps/a", "steps/a/b", "steps/ab"]
    assert all(each.bytes > 100 and before < each.written < time.time() + 2 for each in found)
    for _ in range(2):
        remove_journal(store, "steps/a")
    assert [each.name for each in stored_journals(store)] == ["steps/a/b", "steps/ab"]
    with open_journal(store, "steps/a", Group) as journal:
        assert journal.read() == {}


def test_a_journal_that_is_being_written_is_not_removed(directory: DirectoryStore) -> None:
    with open_journal(directory, "steps/a", Group) as journal:
        journal.append(GROUPS[0])
        remove_journal(directory, "steps/a")
        journal.append(GROUPS[1])
    with open_journal(directory, "steps/a", Group) as journal:
        assert list(journal.read().values()) == GROUPS[:2]


def test_a_killed_removal_leaves_a_shorter_journal(s3_prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store("selftaught", s3_prefix)
    with SegmentJournal(store, "k", Group, segment_records=1) as journal:
        for each in GROUPS[:4]:
            journal.append(each)
    removed: list[str] = []

    def release(key: str) -> None:
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(key)
        S3Store.release(store, key)

    monkeypatch.setattr(store, "release", release)
    with pytest.raises(KeyboardInterrupt):
        remove_journal(store, "k")
    with SegmentJournal(S3Store("selftaught", s3_prefix), "k", Group) as journal:
        assert list(journal.read().values()) == GROUPS[:2]
