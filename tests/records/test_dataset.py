"""Data sets on disk: atomically, read back as written, and never read when they are not what was written."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.core.errors import BadInput
from selftaught.core.files import replacing
from selftaught.records import RECORDS, Example, Message, Record, Task, dataset
from tests import strategies

TASKS = [
    Task(messages=(Message(role="user", content=f"What is {n} + {n}?"),), answer=str(2 * n), source="sums")
    for n in range(50)
]
KILLED_AT_THE_MANIFEST = """
import os, signal, sys
from pathlib import Path
from selftaught.records import dataset
from selftaught.records import Message, Task

Path.write_text = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
task = Task(messages=(Message(role="user", content="new"),), source="s")
dataset.write(Path(sys.argv[1]), [task], "tasks")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of 50 tasks."""
    dataset.write(tmp_path / "tasks", TASKS, "tasks", parents={"seed": "1"}, recipe="r", counts={"seconds": 1.5})
    return tmp_path / "tasks"


@pytest.mark.parametrize("kind", RECORDS)
@given(data=st.data())
@settings(max_examples=10)
def test_what_is_written_is_read(kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    rows = data.draw(st.lists(strategies.BY_KIND[kind], max_size=4))
    out = tmp_path_factory.mktemp("data") / "set"
    manifest = dataset.write(out, rows, kind)
    assert dataset.read(out, RECORDS[kind]) == rows
    assert manifest == dataset.manifest(out)
    assert (manifest.rows, manifest.digest) == (len(rows), dataset.digest_of(rows))


@given(st.lists(strategies.tasks, min_size=2, max_size=4, unique_by=lambda task: repr(task.to_row())))
@settings(max_examples=20)
def test_a_digest_is_over_all_rows_in_order(rows: list[Record]):
    assert len({dataset.digest_of(some) for some in (rows, rows[1:], rows[:-1], rows[::-1])}) == 4


def test_the_golden_digest():
    """Digests are kept for years: a change here makes every stored data set another one."""
    assert dataset.digest_of(TASKS) == "5f4d9cffba30ecc3424e39c79872f8bd25c2fdffaedf8ff0574f532d7f27d721"
    assert dataset.digest_of([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("options", [{"compression": "none", "row_group_size": 7}, {"use_dictionary": False}])
def test_another_parquet_writer_gives_the_same_data_set(folder: Path, options: dict[str, object]):
    path = folder / "data.parquet"
    before = path.read_bytes()
    pq.write_table(pq.read_table(path), path, **options)
    assert path.read_bytes() != before
    assert dataset.read(folder, Task) == TASKS


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_never_read_as_something_else(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("damaged") / "set"
    dataset.write(out, TASKS, "tasks")
    path = out / "data.parquet"
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with suppress(BadInput):
        assert dataset.read(out, Task) == TASKS  # some bytes of a Parquet file mean nothing


@given(size=st.integers(0, 2000))
@settings(max_examples=20)
def test_a_truncated_file_is_refused(size: int, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("truncated") / "set"
    dataset.write(out, TASKS, "tasks")
    os.truncate(out / "data.parquet", size)
    with pytest.raises(BadInput, match=r"data\.parquet: cannot be read .* Remove .* and run again"):
        dataset.read(out, Task)


def test_other_rows_than_the_manifests_are_refused(folder: Path, tmp_path: Path):
    dataset.write(tmp_path / "other", TASKS[:-1], "tasks")
    shutil.copy(tmp_path / "other" / "data.parquet", folder)
    with pytest.raises(BadInput, match="rows are not those of its manifest"):
        dataset.read(folder, Task)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("digest", "0" * 64, "rows are not those of its manifest"),
        ("rows", 49, "rows are not those of its manifest"),
        ("rows", "many", "broken manifest"),
        ("kind", "groups", "holds groups, not Task rows"),
        ("kind", "poems", "holds poems, not Task rows"),
        ("schema_version", 2, "has schema 2 of tasks, and this is 1. Read it with selftaught"),
    ],
)
def test_an_altered_manifest_is_refused(folder: Path, field: str, value: object, text: str):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(BadInput, match=text):
        dataset.read(folder, Task)


def test_a_torn_or_missing_manifest_is_refused(folder: Path):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(BadInput, match=r"broken manifest.*Remove the folder and run again"):
        dataset.read(folder, Task)
    path.unlink()
    with pytest.raises(BadInput, match="not a data set"):
        dataset.read(folder, Task)


def test_rows_are_read_as_what_they_are(folder: Path):
    with pytest.raises(BadInput, match="holds tasks, not Example rows"):
        dataset.read(folder, Example)


def test_an_error_while_writing_leaves_the_old_set(folder: Path):
    with suppress(ZeroDivisionError), replacing(folder) as scratch:
        (scratch / "data.parquet").write_bytes(b"half")
        raise ZeroDivisionError
    assert dataset.read(folder, Task) == TASKS
    assert list(folder.parent.iterdir()) == [folder]


def test_a_kill_while_writing_leaves_the_old_set(folder: Path):
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_THE_MANIFEST, str(folder)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert dataset.read(folder, Task) == TASKS


def test_a_folder_that_cannot_be_written_is_told_by_its_path(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file"):
        dataset.write(tmp_path / "file" / "set", TASKS, "tasks")


# Row by row -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [1, 500, 10**9])
def test_how_much_is_in_memory_at_once_changes_neither_rows_nor_digest(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dataset, "GROUP", held)
    manifest = dataset.write(tmp_path / "tasks", iter(TASKS), "tasks")
    assert (manifest.digest, manifest.rows) == (dataset.digest_of(TASKS), len(TASKS))
    assert dataset.read(tmp_path / "tasks", Task) == TASKS
    assert (pq.ParquetFile(tmp_path / "tasks" / "data.parquet").num_row_groups == 1) is (held == 10**9)


def test_rows_are_made_while_they_are_written_and_an_error_among_them_leaves_the_old_set(folder: Path):
    def rows():
        yield from TASKS[:3]
        raise ValueError("the sampler died")

    with pytest.raises(ValueError, match="the sampler died"):
        dataset.write(folder, rows(), "tasks")
    assert dataset.read(folder, Task) == TASKS
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_rows_come_one_after_the_other_and_are_proven_at_the_end(folder: Path):
    data = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(data | {"digest": "0" * 64}))
    rows = dataset.rows(folder, Task)
    assert [next(rows) for _ in TASKS] == TASKS
    with pytest.raises(BadInput, match="its rows are not those of its manifest"):
        next(rows)


def test_the_rows_of_a_data_set_are_a_sequence_that_is_reread(folder: Path):
    rows = dataset.Rows(folder, Task)
    assert (len(rows), list(rows), list(rows)) == (50, TASKS, TASKS)
    assert (rows[7], rows[-1], rows[3:5]) == (TASKS[7], TASKS[-1], TASKS[3:5])


def test_one_column_is_read_without_the_others(folder: Path):
    assert list(dataset.column(folder, "answer")) == [task.answer for task in TASKS]
