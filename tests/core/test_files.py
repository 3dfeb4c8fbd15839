"""A file that is written complete: readers never meet a part of it, and what fails changes nothing."""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from selftaught.core.files import OLD, replacing, sweep, write_atomically

LONG = ["a" * 1_000_000, "b" * 2_000_000]


def test_who_reads_while_it_is_written_again_and_again_finds_one_or_the_other(tmp_path: Path):
    path, over = tmp_path / "note.json", threading.Event()
    write_atomically(path, LONG[0])

    def write() -> None:
        while not over.is_set():
            for content in LONG:
                write_atomically(path, content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert {content for _ in range(100) if (content := path.read_text()) not in LONG} == set()
    finally:
        over.set()
        writer.join()
    assert list(tmp_path.iterdir()) == [path]


def test_it_is_its_owners_alone_to_read_whatever_the_umask(tmp_path: Path):
    """Some hold the key of what is served on loopback."""
    umask = os.umask(0)
    try:
        for content in LONG:
            write_atomically(tmp_path / "note.json", content)
    finally:
        os.umask(umask)
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "note.json"
    write_atomically(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "half \ud800")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A power cut in between would leave the name with nothing behind it."""
    done: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(f"sync {Path(f'/proc/self/fd/{handle}').resolve().name}")
    )
    monkeypatch.setattr(Path, "replace", lambda path, target: done.append(f"replace {path.name}"))
    write_atomically(tmp_path / "note.json", "content")
    assert done == [f"{what} .note.json.{os.getpid()}.part" for what in ("sync", "replace")]


@pytest.fixture
def dead() -> int:
    """The pid of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def left(tmp_path: Path, dead: int) -> Path:
    """A folder with what killed writers left, and what living ones write."""
    for name in (f".note.json.{dead}.part", f".other.json.{dead}.part", f".note.json.{os.getppid()}.part", ".x.part"):
        (tmp_path / name).write_text("half")
    for name in (f".model.{dead}.part", f".model.abc.wheel.{dead}.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("half")
    os.utime(tmp_path / f".note.json.{os.getppid()}.part", (0, time.time() - OLD + 600))
    return tmp_path


def test_the_next_writer_of_a_name_removes_what_a_killed_one_left(left: Path, dead: int):
    """What a living process writes, and what is of another name, perhaps not ours, stays."""
    before = {path.name for path in left.iterdir()}
    write_atomically(left / "note.json", "whole")
    with replacing(left / "model"):
        pass
    gone = {f".note.json.{dead}.part", f".model.{dead}.part", f".model.abc.wheel.{dead}.part"}
    assert {path.name for path in left.iterdir()} == (before - gone) | {"note.json", "model"}


def test_in_a_folder_of_ours_all_of_it_goes(left: Path):
    sweep(left)
    assert {path.name for path in left.iterdir()} == {f".note.json.{os.getppid()}.part", ".x.part"}


def test_what_is_old_goes_though_the_number_of_its_process_is_anothers_now(left: Path):
    os.utime(left / f".note.json.{os.getppid()}.part", (0, time.time() - OLD - 600))
    sweep(left)
    assert {path.name for path in left.iterdir()} == {".x.part"}


def _name(handle: int) -> str:
    """The name of the file that is open under a descriptor."""
    return Path(f"/proc/self/fd/{handle}").readlink().name
