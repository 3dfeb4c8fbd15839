"""A component asks for an engine over the socket: answers, errors and waiting, with a backend in the engine's place."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught.errors import BadInput, StoreError, Unavailable
from selftaught.serving.backend import Served
from selftaught.serving.owner import LONGEST_PATH, EngineOwner, request_engine


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
    with EngineOwner(Shelf(), tmp_path) as owner:
        served = request_engine(owner.address, "rft", "abcd1234" * 8, tmp_path / "good")
    assert served == Served("http://127.0.0.1:1/v1", "rft", "abcd1234" * 8)
    assert served.name == "rft-abcd1234"


def test_the_owners_error_is_raised_as_itself(tmp_path: Path):
    with EngineOwner(Shelf(), tmp_path) as owner:
        with pytest.raises(BadInput, match="bad: not a model"):
            request_engine(owner.address, "rft", "abcd1234", tmp_path / "bad")
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")


def test_a_full_disk_of_the_owner_is_said_and_the_owner_lives(tmp_path: Path):
    with EngineOwner(Shelf(), tmp_path) as owner:
        with pytest.raises(StoreError, match=r"engines/rft\.log: No space left on device"):
            request_engine(owner.address, "rft", "abcd1234", tmp_path / "full")
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")


def test_requests_are_answered_side_by_side(tmp_path: Path):
    with EngineOwner(Shelf(together=4), tmp_path) as owner, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(request_engine, owner.address, "rft", f"{i:08}", tmp_path / "good") for i in range(4)]
        assert [one.result().digest for one in asked] == [f"{i:08}" for i in range(4)]


@pytest.mark.parametrize("address", ["", "/nowhere/engines.sock"])
def test_no_owner_is_unavailable(address: str, tmp_path: Path):
    with pytest.raises(Unavailable, match="no owner of engines"):
        request_engine(address, "rft", "abcd1234", tmp_path)


def test_an_owner_that_has_left_is_unavailable_and_leaves_no_socket(tmp_path: Path):
    with EngineOwner(Shelf(), tmp_path) as owner:
        address = owner.address
    assert not Path(address).exists()
    with pytest.raises(Unavailable):
        request_engine(address, "rft", "abcd1234", tmp_path / "good")


def test_a_deep_home_still_gets_a_socket_that_the_kernel_takes(tmp_path: Path):
    home = tmp_path / ("deep/" * 40)
    with EngineOwner(Shelf(), home) as owner:
        assert len(os.fsencode(owner.address)) <= LONGEST_PATH
        assert request_engine(owner.address, "rft", "abcd1234", tmp_path / "good")
