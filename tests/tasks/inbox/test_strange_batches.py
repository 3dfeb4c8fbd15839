"""One drop among nine good ones that nothing can be made of: nine are used, and the tenth is set aside by name.

What a reader does with a cell is in test_cells; here it is whatever lies in a folder that strangers write to.
"""

import json
import os
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, Unavailable
from selftaught.state.store import MARKER, fingerprint, write_marker
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.source import Inbox, InboxHistory, TaskDraw
from tests.tasks.inbox.test_batches import Row, riddles, rows, source

BAD = "2026-11-20-bad"


def dropped(folder: Path, content: bytes, name: str = "a.jsonl") -> None:
    """A drop of one file, with a marker that is right."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    write_marker(folder, fingerprint(folder))


def line(text: str) -> Callable[[Path], None]:
    return lambda folder: dropped(folder, f'{{"question": "Good?", "answer": "1"}}\n{text}\n'.encode())


def parquet(table: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        cast(Any, pq).write_table(table, folder / "a.parquet", compression="zstd")
        write_marker(folder, fingerprint(folder))

    return write


def marker(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        dropped(folder, b"{}")
        (folder / MARKER).write_text(text)

    return write


def marker_is_a_folder(folder: Path) -> None:
    (folder / MARKER).mkdir(parents=True)


def marker_is_a_pipe(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / MARKER)


def a_pipe(folder: Path) -> None:
    dropped(folder, b"{}")
    (folder / "a.jsonl").unlink()
    os.mkfifo(folder / "a.jsonl")


def link(to: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        dropped(folder, b"{}")
        (folder / "a.jsonl").unlink()
        (folder / "a.jsonl").symlink_to(to)

    return write


def link_with_the_right_sum(folder: Path) -> None:
    outside = folder.parents[2] / "outside.jsonl"
    outside.write_text('{"question": "Secret?", "answer": "1"}\n')
    folder.mkdir(parents=True)
    (folder / "a.jsonl").symlink_to(outside)
    write_marker(folder, fingerprint(folder))


def grown(folder: Path) -> None:
    """Larger than its marker says, and larger than a disk."""
    dropped(folder, b"{}")
    with (folder / "a.jsonl").open("wb") as file:
        file.truncate(1 << 40)


def bomb(folder: Path) -> None:
    """Some kilobytes that are millions of rows."""
    count = 3_000_000
    same = cast(Any, pa).DictionaryArray.from_arrays(pa.array([0] * count, pa.int8()), pa.array(["What?"]))
    parquet(pa.table({"question": same, "answer": same}))(folder)
    assert (folder / "a.parquet").stat().st_size < 100_000


STRANGE: dict[str, Callable[[Path], None]] = {
    "an integer of 5,000 digits": line('{"question": "Big?", "answer": ' + "7" * 5000 + "}"),
    "nested too deeply": line("[" * 100_000),
    "half a character": line('{"question": "How many \\ud800?", "answer": "1"}'),
    "no numbers": line('{"question": "NaN?", "answer": NaN}'),
    "a date as a question": parquet(pa.table({"question": pa.array([10**8], pa.date32()), "answer": ["1"]})),
    "a parquet bomb": bomb,
    "a marker that names NUL": marker('{"files": [{"path": "a\\u0000b.jsonl", "size": 1, "sha256": "00"}]}'),
    "a marker that leads out": marker('{"files": [{"path": "../x.jsonl", "size": 1, "sha256": "00"}]}'),
    "a marker with a name too long": marker(json.dumps({"files": [{"path": "a" * 300, "size": 1, "sha256": "00"}]})),
    "a marker with a folder for a file": marker('{"files": [{"path": ".", "size": 1, "sha256": "00"}]}'),
    "a marker of bytes": lambda folder: (dropped(folder, b"{}"), (folder / MARKER).write_bytes(b"\xff\xfe"))[0],
    "a marker of depth": marker("[" * 100_000),
    "a marker that is a folder": marker_is_a_folder,
    "a marker that is a pipe": marker_is_a_pipe,
    "a pipe": a_pipe,
    "a link to what never ends": link("/dev/zero"),
    "a link to nothing": link("/nowhere/at/all"),
    "a link to itself": link("a.jsonl"),
    "a link out of the drop": link_with_the_right_sum,
    "a file of 1 TB": grown,
}


@pytest.fixture
def bucket(tmp_path: Path) -> Inbox:
    """Nine good drops."""
    block = source(tmp_path / "bucket")
    for number in range(9):
        file = rows(tmp_path / f"{number}.jsonl", *riddles(f"Riddle {chr(97 + number)}"))
        block.upload([file], date(2026, 11, 10 + number))
    return block


@pytest.mark.parametrize("what", STRANGE)
def test_nine_drops_are_used_and_a_strange_one_is_set_aside_by_name(what: str, bucket: Inbox):
    """Or, where its marker is none at all, is not there yet; it takes neither for ever nor all there is."""
    STRANGE[what](Path(bucket.path) / "drops" / BAD)
    found: list[TaskDraw] = []
    reader = threading.Thread(target=lambda: found.append(bucket.take(Draw(1, 2))), daemon=True)
    reader.start()
    reader.join(60)
    assert found, "still reading"
    (taken,) = found
    assert len(taken.drops) == 9
    (given,) = taken.broken
    assert BAD in given


def test_dates_that_python_has_no_word_for_are_nobodys_business_in_another_column(bucket: Inbox):
    odd = {"seen": pa.array([10**8], pa.date32()), "took": pa.array([10**15], pa.duration("s"))}
    parquet(pa.table({"question": ["What?"], "answer": ["1"], **odd}))(Path(bucket.path) / "drops" / BAD)
    assert len(bucket.take(Draw(1, 2)).drops) == 10


def test_whatever_a_reader_raises_is_its_drops_and_a_silent_bucket_is_nobodys(
    bucket: Inbox, monkeypatch: pytest.MonkeyPatch
):
    dropped(Path(bucket.path) / "drops" / BAD, b"{}")

    def raising(error: Exception) -> None:
        def read(where: str, name: str, *rest: object) -> object:
            if name == BAD:
                raise error
            return opened(where, name, *rest)  # pyright: ignore[reportArgumentType]

        monkeypatch.setattr(batches, "opened", read)

    opened = batches.opened
    for error in (KeyError("x"), RecursionError("deep"), MemoryError(), OverflowError("date"), OSError(5, "I/O error")):
        raising(error)
        assert bucket.take(Draw(1, 2)).broken[0].startswith(f"batch '{BAD}': cannot be read ({type(error).__name__}")
    raising(Unavailable("the bucket does not answer"))
    with pytest.raises(Unavailable):
        bucket.take(Draw(1, 2))


@pytest.mark.parametrize(("bound", "value"), [("MOST_BYTES", 0), ("MOST_ROWS", 5), ("MOST_CHARACTERS", 5 * 4)])
def test_a_batch_that_is_too_large_is_set_aside_and_one_at_the_bound_is_not(
    tmp_path: Path, bound: str, value: int, monkeypatch: pytest.MonkeyPatch
):
    """Over all its files together."""
    seen: list[Row] = [{"question": f"Q{letter}?", "answer": "1"} for letter in "abcde"]
    files = [rows(tmp_path / "x.jsonl", *seen[:3]), rows(tmp_path / "y.jsonl", *seen[3:])]
    block = source(tmp_path / "bucket")
    name = batches.write(files, block.path, date(2026, 11, 20))
    most = value or batches.sizes(block.path)[name]
    monkeypatch.setattr(batches, bound, most)
    assert block.waiting(InboxHistory())[1] == {}
    monkeypatch.setattr(batches, bound, most - 1)
    assert "Upload it in parts." in block.waiting(InboxHistory())[1][name]


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_ROWS"])
def test_too_large_files_are_told_when_they_are_dropped(tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batches, bound, 5)
    with pytest.raises(BadInput, match=r"Upload it in parts\."):
        source(tmp_path / "bucket").upload([rows(tmp_path / "a.jsonl", *riddles("Q", 6))], date(2026, 11, 21))
    assert not (tmp_path / "bucket").exists()
