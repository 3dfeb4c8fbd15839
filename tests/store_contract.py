"""What every store does: subclass `StoreContract` and give it a `store`."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from selftaught.core.errors import BadInput, StoreError
from selftaught.state.store import MARKER, Store, fingerprint


def folder_with(folder: Path, **files: bytes) -> Path:
    """A folder with `files`; `__` in a name stands for a `/`, a leading `_` for a `.`."""
    for name, content in files.items():
        path = folder / ("." + name[1:] if name.startswith("_") else name).replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return folder_with(tmp_path / "model", config=b"{}", weights=bytes(range(256)) * 99, empty=b"", sub__more=b"more")


class StoreContract:
    def test_what_is_put_is_got_byte_for_byte(self, store: Store, model: Path, tmp_path: Path) -> None:
        store.put("models", "d1", model)
        got = store.get("models", "d1", tmp_path / "got")
        assert fingerprint(got) == fingerprint(model)

    def test_local_is_a_readable_copy_and_stays_the_same_folder(
        self, store: Store, model: Path, tmp_path: Path
    ) -> None:
        store.put("models", "d1", model)
        first = store.local("models", "d1", tmp_path / "cache")
        assert fingerprint(first) == fingerprint(model)
        inode = first.stat().st_ino
        assert store.local("models", "d1", tmp_path / "cache").stat().st_ino == inode

    def test_a_folder_is_there_only_after_put_and_until_remove(self, store: Store, model: Path) -> None:
        assert (store.has("models", "d1"), store.list("models")) == (False, [])
        store.put("models", "d1", model)
        store.put("models", "d0", model)
        assert (store.has("models", "d1"), store.list("models"), store.list("datasets")) == (True, ["d0", "d1"], [])
        store.remove("models", "d1")
        store.remove("models", "d1")
        assert (store.has("models", "d1"), store.list("models")) == (False, ["d0"])

    def test_the_first_writer_of_a_digest_wins(self, store: Store, tmp_path: Path) -> None:
        """Two writers of one data set may differ in file bytes; what is stored never changes under a reader."""
        uri = store.put("datasets", "d", folder_with(tmp_path / "a", data=b"first"))
        assert store.put("datasets", "d", folder_with(tmp_path / "b", data=b"other")) == uri
        assert (store.get("datasets", "d", tmp_path / "got") / "data").read_bytes() == b"first"

    def test_writers_of_one_digest_at_once_leave_one_whole_folder(self, store: Store, tmp_path: Path) -> None:
        folders = [folder_with(tmp_path / str(i), data=bytes([i]) * 1000, more=bytes([i])) for i in range(6)]
        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(lambda folder: store.put("datasets", "d", folder), folders))) == 1
        got = store.get("datasets", "d", tmp_path / "got")
        assert len((got / "data").read_bytes()) == 1000

    @pytest.mark.parametrize("damaged", [b"", b'{"files": [{"path', b"\xff\x00"])
    def test_a_damaged_marker_is_told_and_healed_by_the_next_put(
        self, store: Store, model: Path, tmp_path: Path, damaged: bytes
    ) -> None:
        store.put("models", "d1", model)
        self.damage(store, "models/d1", damaged)
        for use in (
            store.has,
            lambda *of: store.get(*of, tmp_path / "a"),
            lambda *of: store.local(*of, tmp_path / "b"),
        ):
            with pytest.raises(StoreError, match=r"models/d1/\.complete\.json: damaged\. Remove .* and run the step"):
                use("models", "d1")
        for _ in range(2):
            store.put("models", "d1", model)
        assert fingerprint(store.get("models", "d1", tmp_path / "got")) == fingerprint(model)

    def damage(self, store: Store, folder: str, content: bytes) -> None:
        """Have `content` for the marker of `folder`."""
        raise NotImplementedError

    def test_folders_are_told_with_their_bytes_and_when_they_were_put(self, store: Store, model: Path) -> None:
        before = time.time() - 2  # S3 tells complete seconds
        for digest in ("d1", "d0"):
            store.put("models", digest, model)
        first, second = store.stored("models")
        assert (first.name, second.name, first.complete) == ("d0", "d1", True)
        files = sum(file.size for file in fingerprint(model).files)
        assert files < first.bytes < files + 2000  # the marker counts
        assert before < first.written < time.time() + 2
        store.remove("models", "d0")
        assert [each.name for each in store.stored("models")] == ["d1"]
        assert store.stored("datasets") == []

    def test_claims_are_told_with_their_bytes_and_when_they_were_set(self, store: Store) -> None:
        before = time.time() - 2
        for key, value in (("a/2", b"two"), ("a/b/1", b"o"), ("ab/4", b"")):
            store.claim(key, value)
        found = store.stored_claims("a")
        assert [(each.name, each.bytes) for each in found] == [("a/2", 3), ("a/b/1", 1)]
        assert all(before < each.written < time.time() + 2 for each in found)

    def test_one_file_is_read(self, store: Store, model: Path) -> None:
        store.put("models", "d1", model)
        assert store.read("models", "d1", "sub/more") == b"more"
        for digest, path in (("d1", "nothing"), ("d404", "config")):
            with pytest.raises(StoreError, match=f"models/{digest}/{path}: missing though it was stored"):
                store.read("models", digest, path)

    def test_hidden_files_are_not_stored(self, store: Store, tmp_path: Path) -> None:
        store.put("models", "d", folder_with(tmp_path / "m", _secret=b"x", _git__config=b"x", config=b"{}"))
        got = store.get("models", "d", tmp_path / "got")
        assert {path.name for path in got.rglob("*")} == {"config", MARKER}

    def test_what_is_not_there_is_named(self, store: Store, tmp_path: Path) -> None:
        for read in (store.get, store.local):
            with pytest.raises(StoreError, match=r"models/d404: not in the store. Run the step"):
                read("models", "d404", tmp_path / read.__name__)
        assert not (tmp_path / "get").exists()

    def test_a_missing_or_empty_folder_is_bad_input(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="no such folder"):
            store.put("models", "d", tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(BadInput, match="holds no files"):
            store.put("models", "d", tmp_path / "empty")

    @pytest.mark.parametrize("name", ["..", "../models", "a/b", "", ".hidden", "a b"])
    def test_names_that_leave_the_store_are_refused(self, store: Store, name: str) -> None:
        with pytest.raises(BadInput, match="not a name for the store"):
            store.has("models", name)
        with pytest.raises(BadInput, match="not a name for the store"):
            store.claim(f"{name}/x" if name != "a/b" else "a//b", b"")

    def test_a_claim_is_the_first_writers_until_it_is_released(self, store: Store) -> None:
        assert store.claimed("steps/a") is None
        assert [store.claim("steps/a", value) for value in (b"1", b"2")] == [b"1", b"1"]
        assert store.claimed("steps/a") == b"1"
        store.release("steps/a")
        assert store.claim("steps/a", b"3") == b"3"

    def test_of_many_claims_at_once_exactly_one_wins(self, store: Store) -> None:
        for turn in range(3):
            start = threading.Barrier(8)

            def race(i: int, turn: int = turn, start: threading.Barrier = start) -> bytes:
                start.wait()
                return store.claim(f"race/{turn}", str(i).encode())

            with ThreadPoolExecutor(8) as pool:
                winners = set(pool.map(race, range(8)))
            assert winners == {store.claimed(f"race/{turn}")}

    def test_claims_are_listed_by_prefix(self, store: Store) -> None:
        for key in ("a/2", "a/1", "a/b/3", "ab/4"):
            store.claim(key, b"")
        assert store.claims("a") == ["a/1", "a/2", "a/b/3"]
