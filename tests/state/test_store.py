import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, StoreError
from selftaught.state.store import MARKER, DirectoryStore, Store, open_store
from tests.store_contract import StoreContract, folder_with, model

__all__ = ["model"]

KILLED_IN_A_COPY = """
import os, shutil, signal, sys
from pathlib import Path
from selftaught.state.store import DirectoryStore

def copy_half(source, target):
    Path(target).write_bytes(Path(source).read_bytes()[:5])
    os.kill(os.getpid(), signal.SIGKILL)

shutil.copyfile = copy_half
DirectoryStore(Path(sys.argv[1])).put("models", "d", Path(sys.argv[2]))
"""


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


class TestDirectoryStore(StoreContract):
    """The contract, in a directory."""

    def damage(self, store: Store, folder: str, content: bytes) -> None:
        assert isinstance(store, DirectoryStore)
        (store.directory / folder / MARKER).write_bytes(content)


def test_local_is_the_stored_folder_itself(store: DirectoryStore, model: Path, tmp_path: Path) -> None:
    uri = store.put("models", "d", model)
    assert store.local("models", "d", tmp_path / "cache").as_uri() == uri
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_found_and_nothing_is_left(store: DirectoryStore, model: Path, tmp_path: Path) -> None:
    store.put("models", "d", model)
    stored = store.directory / "models" / "d" / "weights"
    stored.write_bytes(b"\xff" + stored.read_bytes()[1:])
    with pytest.raises(StoreError, match=r"models/d/weights: damaged.*Remove .*models/d and run the step"):
        store.get("models", "d", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    assert not list(tmp_path.glob(".*.part"))


def test_a_truncated_or_missing_file_is_found(store: DirectoryStore, model: Path, tmp_path: Path) -> None:
    store.put("models", "d", model)
    stored = store.directory / "models" / "d" / "weights"
    stored.write_bytes(b"short")
    with pytest.raises(StoreError, match="weights: damaged"):
        store.local("models", "d", tmp_path)
    stored.unlink()
    with pytest.raises(StoreError, match="weights: missing though it was stored"):
        store.get("models", "d", tmp_path / "got")


def test_a_killed_put_is_never_seen_and_the_next_one_clears_it(
    store: DirectoryStore, model: Path, tmp_path: Path
) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_A_COPY, store.root, str(model)], check=False)
    assert killed.returncode == -9
    assert list((store.directory / "models").iterdir()), "it was killed before it wrote anything"
    assert (store.has("models", "d"), store.list("models")) == (False, [])
    store.put("models", "d", model)
    assert [path.name for path in (store.directory / "models").iterdir()] == ["d"]


def test_what_is_not_whole_is_told_as_that(store: DirectoryStore, model: Path, tmp_path: Path) -> None:
    """A removal that was killed after the marker, and a file of someone else."""
    store.put("models", "d", model)
    (store.directory / "models" / "d" / MARKER).unlink()
    (store.directory / "models" / "notes.txt").write_text("mine")
    os.utime(store.directory / "models" / "d" / "weights", (5, 2e9))
    (found,) = store.stored("models")
    assert (found.name, found.complete, found.written) == ("d", False, 2e9)
    store.remove("models", "d")
    assert store.stored("models") == []


def claim_in_process(root: str, value: int) -> bytes:
    return DirectoryStore(Path(root)).claim("race/one", str(value).encode() * 1000)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced, renamed and linked, in order: a power cut may come between any two."""
    done: list[str] = []
    rename, link = Path.rename, os.link

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return rename(path, target)

    def linked(source: str, target: Path) -> None:
        done.append(f"link {target.name}")
        link(source, target)

    monkeypatch.setattr(
        os, "fsync", lambda handle: done.append(f"sync {Path(f'/proc/self/fd/{handle}').readlink().name}")
    )
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(os, "link", linked)
    return done


def test_every_file_is_on_the_disk_before_its_folder_is_there(
    store: DirectoryStore, model: Path, order: list[str]
) -> None:
    store.put("models", "d", model)
    files = {path.name for path in model.rglob("*") if path.is_file()}
    assert order[-1] == "rename to d"
    assert sorted(order[:-1]) == sorted(f"sync {name}" for name in (*files, MARKER))


def test_a_claim_is_on_the_disk_before_it_has_its_name(store: DirectoryStore, order: list[str]) -> None:
    store.claim("steps/a", b"value")
    synced, linked = order
    assert synced.startswith("sync .")
    assert linked == "link a"


def test_a_claim_can_be_read_by_whoever_can_read_the_store(store: DirectoryStore, tmp_path: Path) -> None:
    store.claim("steps/a", b"value")
    (tmp_path / "other").touch()
    assert (store.directory / "claims/steps/a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_of_many_processes_exactly_one_wins_a_claim(store: DirectoryStore) -> None:
    # An executor, not a Pool: a worker that is killed from outside fails the test there, where a Pool waits for ever.
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        winners = set(pool.map(claim_in_process, [store.root] * 9, range(9)))
    assert winners == {store.claimed("race/one")}
    assert store.claims("race") == ["race/one"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB, where mounting is permitted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_said_and_nothing_half_written_stays(small_disk: Path, tmp_path: Path) -> None:
    store = DirectoryStore(small_disk / "store")
    big = folder_with(tmp_path / "big", data=os.urandom(2 * 2**20))
    with pytest.raises(StoreError, match=r"No space left on device. Free some space"):
        store.put("models", "d", big)
    assert list((store.directory / "models").iterdir()) == []
    store.put("models", "small", folder_with(tmp_path / "small", data=b"fits"))


@pytest.mark.parametrize("work", ["put", "claim"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, model: Path, work: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    store = DirectoryStore(tmp_path / "file" / "store")
    with pytest.raises(StoreError, match=r"file.*: Not a directory. Make it a directory that can be written"):
        store.put("models", "d", model) if work == "put" else store.claim("key", b"value")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that even root cannot write."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", folder], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a read-only disk is not permitted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_read_only_directory_is_named(read_only: Path, model: Path) -> None:
    with pytest.raises(StoreError, match=r"read-only/models: Read-only file system. Make it a directory"):
        DirectoryStore(read_only).put("models", "d", model)


def test_the_marker_is_not_part_of_a_copy_that_is_stored_again(
    store: DirectoryStore, model: Path, tmp_path: Path
) -> None:
    store.put("models", "d", model)
    copy = store.get("models", "d", tmp_path / "copy")
    (copy / "new").write_text("new")
    store.put("models", "e", copy)
    stored = store.local("models", "e", tmp_path)
    assert '"new"' in (stored / MARKER).read_text()


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_marker_that_leads_out_of_its_folder_writes_nothing_there(
    path: str, store: DirectoryStore, model: Path, tmp_path: Path
) -> None:
    """Whoever may write into a shared bucket must not choose where a reader's files are written."""
    store.put("models", "d", model)
    marker = store.directory / "models" / "d" / MARKER
    marker.write_text(json.dumps({"files": [{"path": path, "size": 1, "sha256": "0" * 64}]}))
    (store.directory / "models" / "outside").write_text("x")
    with pytest.raises(StoreError, match=r"models/d/\.complete\.json: damaged"):
        store.get("models", "d", tmp_path / "deep" / "copy")
    assert not list(tmp_path.glob("**/deep/outside"))


def test_locations_are_a_directory_or_s3(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)).root == open_store(tmp_path.as_uri()).root == str(tmp_path)
    assert open_store("s3://bucket/a/b/").uri("models", "d") == "s3://bucket/a/b/models/d"
    assert open_store("s3://bucket").uri("models", "d") == "s3://bucket/models/d"
    assert open_store("minio://bucket/a").uri("models", "d") == "s3://bucket/a/models/d"
    with pytest.raises(BadInput, match=r"gs://bucket: no store .* Accepted: a directory, or s3://bucket/prefix"):
        open_store("gs://bucket")


def test_importing_the_store_does_not_import_boto3() -> None:
    modules = ", ".join(f"selftaught.state.{name}" for name in ("store", "journal", "weights"))
    code = f"import sys, {modules}; sys.exit('boto3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _name(handle: int) -> str:
    """The name of the file that is open under a descriptor."""
    return Path(f"/proc/self/fd/{handle}").readlink().name


@pytest.mark.parametrize("location", ["s3:/bucket/x", "s3:bucket/x", "minio:/bucket/x", "file:/tmp/x"])
def test_a_url_that_lacks_a_slash_is_no_folder(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of that name would be made, and every model and data set put there."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=rf"{location}: neither a directory nor a URL. Is \w+://[a-z/]+ meant"):
        open_store(location)
