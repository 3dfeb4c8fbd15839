"""A file that is written whole: readers never meet a part of it, and what fails changes nothing."""

import os
import threading
from pathlib import Path

import pytest

from selftaught.files import write_whole

LONG = ["a" * 1_000_000, "b" * 2_000_000]


def test_who_reads_while_it_is_written_again_and_again_finds_one_or_the_other(tmp_path: Path):
    path, over = tmp_path / "note.json", threading.Event()
    write_whole(path, LONG[0])

    def write() -> None:
        while not over.is_set():
            for content in LONG:
                write_whole(path, content)

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
            write_whole(tmp_path / "note.json", content)
    finally:
        os.umask(umask)
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "note.json"
    write_whole(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half \ud800")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A power cut in between would leave the name with nothing behind it."""
    done: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(f"sync {Path(f'/proc/self/fd/{handle}').resolve().name}")
    )
    monkeypatch.setattr(Path, "replace", lambda path, target: done.append(f"replace {path.name}"))
    write_whole(tmp_path / "note.json", "content")
    assert done == [f"{what} .note.json.{os.getpid()}.part" for what in ("sync", "replace")]


def _name(handle: int) -> str:
    """The name of the file that is open under a descriptor."""
    return Path(f"/proc/self/fd/{handle}").readlink().name
