"""Damaged small files and claims of our own: reported or repaired, and `clean` works whatever they hold."""

import logging
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core.errors import SelftaughtError, StoreError
from selftaught.lines.background import down
from selftaught.lines.serve import noted
from selftaught.platform import Platform, input_key
from selftaught.records import Message, Task, dataset
from selftaught.records.dataset import Manifest
from selftaught.retention.collecting import Collector
from selftaught.retention.policy import RetentionPolicy
from selftaught.round import history
from selftaught.round.history import planned, recorded, unfinished
from selftaught.round.in_use import in_use
from selftaught.serving.engines.sessions import pid_files, reap
from selftaught.settings import Settings
from selftaught.state.ledger import PlanEntry, RecordEntry
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from selftaught.state.tracking import Tracker
from tests.plans import fixed
from tests.rounds import database

__all__ = ["database"]

JUNK = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"line": "line"}', b"[" * 100_000]
KEY = RoundKey("line", "weekly")


@pytest.fixture
def platform(home: Path, database: Path) -> Platform:
    home.mkdir()
    (home / "mlflow.db").write_bytes((database / "mlflow.db").read_bytes())
    history._pass_over.cache_clear()  # pyright: ignore[reportPrivateUsage]
    return Platform(Settings.load(), DirectoryStore(home / "store"), Tracker(Settings.load().tracking_uri))


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("command", ["clean", "down", "doctor"])
def test_commands_work_whatever_the_notes_of_processes_hold(home: Path, junk: bytes, command: str) -> None:
    for path in ("engines/rft.json", "served/rft.json", "served/mlflow.json"):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_bytes(junk)
    done = CliRunner().invoke(app, [command])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert list(pid_files(home / "engines")) == []
    assert noted(home / "served" / "rft.json") is None
    assert reap(home / "engines") == []
    assert down(Platform.open()) == []
    assert [path for path in home.rglob("*.json") if path.is_file()] == []


@pytest.mark.parametrize("junk", [*JUNK[1:], fixed(RoundKey("other", "weekly"), "0" * 64)])
def test_what_is_no_plan_costs_a_word(platform: Platform, junk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    platform.store.claim(PlanEntry(KEY).key, fixed(KEY, "0" * 64, champion="c" * 64))
    for key in ("plans/line/anything", "plans/line/weekly/2-0", "steps/sample/anything", "steps/train/anything"):
        platform.store.claim(key, junk)
    for _ in range(2):
        assert list(planned(platform, "line")) == [KEY]
    assert [plan.key for plan in unfinished(platform, "line")] == [KEY]
    assert in_use(platform, "line") == {"c" * 64}
    assert [
        fate.key for fate in Collector(platform, RetentionPolicy()).plan().go if not fate.key.startswith("steps/")
    ] == []
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.partition(":")[0] for text in said] == ["claims/plans/line/anything", "claims/plans/line/weekly/2-0"]


def test_what_an_unreadable_plan_names_is_kept(platform: Platform, tmp_path: Path) -> None:
    """It may be another version's."""
    made = dataset.write(tmp_path / "tasks", list[Task](), "tasks")
    platform.store.put("datasets", made.digest, tmp_path / "tasks")
    platform.store.claim("plans/line/weekly/9-0", f'{{"version": 9, "tasks": "{made.digest}"}}'.encode())
    far = Collector(platform, RetentionPolicy(), now=4e9).plan()
    assert [(fate.key, fate.why) for fate in far.kept] == [
        (made.digest, "named in claims/plans/line/weekly/9-0, which is not a plan")
    ]


@pytest.mark.parametrize("junk", JUNK)
def test_a_claim_that_has_to_be_read_is_named_where_it_cannot(platform: Platform, junk: bytes) -> None:
    platform.store.claim(RecordEntry(KEY).key, junk)
    with pytest.raises(StoreError, match=rf"/claims/rounds/{KEY.name}: cannot be read as a RoundRecord .* remove it"):
        recorded(platform, KEY)


def test_a_claim_of_a_step_that_is_no_text_is_told(platform: Platform, tmp_path: Path) -> None:
    platform.store.claim(input_key("verify", {"a": 1}), b"\xff")
    with pytest.raises(SelftaughtError):
        platform.memoize("verify", {"a": 1}, tmp_path / "out", lambda out, key: 1 / 0)


def rows(folder: Path, text: str) -> Manifest:
    task = Task(messages=(Message(role="user", content=text),), answer="4", source="test")
    return dataset.write(folder, [task], "tasks")


def test_an_output_that_was_removed_is_made_again(platform: Platform, tmp_path: Path) -> None:
    """Which is what the message about a damaged one advises."""
    first = platform.memoize("sample", {"a": 1}, tmp_path / "first", lambda out, key: rows(out, "first"))
    shutil.rmtree(Path(platform.store.uri("datasets", first.digest).removeprefix("file://")))
    again = platform.memoize("sample", {"a": 1}, tmp_path / "again", lambda out, key: rows(out, "again"))
    assert again.digest != first.digest
    assert platform.memoize("sample", {"a": 1}, tmp_path / "third", lambda out, key: rows(out, "third")) == again


def test_workers_that_finish_one_step_at_once_go_on_with_the_first_ones_output(
    platform: Platform, tmp_path: Path
) -> None:
    """The other worker claims while this one is at work; what this one made is of no use to anybody."""

    def overtaken(out: Path, _: str) -> Manifest:
        platform.memoize("sample", {"a": 1}, tmp_path / "other", lambda out, key: rows(out, "first"))
        return rows(out, "late")

    mine = platform.memoize("sample", {"a": 1}, tmp_path / "mine", overtaken)
    assert mine == dataset.manifest(tmp_path / "other") == dataset.manifest(tmp_path / "mine")
    (task,) = dataset.read(tmp_path / "mine", Task)
    assert task.question == "first"
