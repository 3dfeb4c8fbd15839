"""A component asks for an engine over the socket: answers, errors and waiting, with a backend instead of the engine."""

import errno
import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, StoreError, Unavailable
from selftaught.serving.backend import Served
from selftaught.serving.engines.remote import EngineServer, request_engine


class Shelf:
    """A backend that knows one good folder, and lets `together` requests meet before it answers."""

    def __init__(self, together: int = 1) -> None:
        self.meeting = threading.Barrier(together)

    def deploy(self, line: str, digest: str, folder: Path) -> Served:
        self.meeting.wait(60)
        if folder.name == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "engines/rft.log")
        if folder.name != "good":
            raise BadInput(f"{folder}: not a model")
        return Served(url="http://127.0.0.1:1/v1", line=line, digest=digest)

    def remove(self, line: str, digest: str) -> None: ...


def test_a_component_gets_what_the_owner_serves(tmp_path: Path):
    with EngineServer(Shelf(), tmp_path) as owner:
        served = request_engine(owner.address, "rft", "abcd1234" * 8, tmp_path / "good")
    assert served == Served("http://127.0.0.1:1/v1", "rft", "abcd1234" * 8)
    assert served.name == "rft-abcd1234"


def test_the_owners_error_is_raised_as_itself(tmp_path: Path):
    with EngineServer(Shelf(), tmp_path) as owner:
        with pytest.raises(BadInput, match="bad: not a model"):
            request_engine(owner.address, "rft", "abcd1234", tmp_path / "bad")
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")


def test_a_full_disk_of_the_owner_is_said_and_the_owner_lives(tmp_path: Path):
    with EngineServer(Shelf(), tmp_path) as owner:
        with pytest.raises(StoreError, match=r"engines/rft\.log: No space left on device"):
            request_engine(owner.address, "rft", "abcd1234", tmp_path / "full")
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")


def test_requests_are_answered_side_by_side(tmp_path: Path):
    with EngineServer(Shelf(together=4), tmp_path) as owner, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(request_engine, owner.address, "rft", f"{i:08}", tmp_path / "good") for i in range(4)]
        assert [one.result().digest for one in asked] == [f"{i:08}" for i in range(4)]


@pytest.mark.parametrize("address", ["", "/nowhere/engines.sock"])
def test_no_owner_is_unavailable(address: str, tmp_path: Path):
    with pytest.raises(Unavailable, match="no owner of engines"):
        request_engine(address, "rft", "abcd1234", tmp_path)


def test_an_owner_that_has_left_is_unavailable_and_leaves_no_socket(tmp_path: Path):
    with EngineServer(Shelf(), tmp_path) as owner:
        address = owner.address
    assert not Path(address).exists()
    with pytest.raises(Unavailable):
        request_engine(address, "rft", "abcd1234", tmp_path / "good")


def test_a_deep_home_has_its_socket_too(tmp_path: Path):
    """The kernel takes paths of 107 bytes."""
    home = tmp_path / ("deep/" * 40)
    with EngineServer(Shelf(), home) as owner:
        assert Path(owner.address).parent == home / "engines"
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")


def test_the_sockets_of_killed_owners_go_with_the_next_and_those_of_others_stay(tmp_path: Path):
    (tmp_path / "engines").mkdir()
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (tmp_path / "engines" / f"{pid}.sock").touch()
    with EngineServer(Shelf(), tmp_path):
        there = {int(path.stem) for path in (tmp_path / "engines").glob("*.sock")}
    assert there == {os.getpid(), os.getppid()}
