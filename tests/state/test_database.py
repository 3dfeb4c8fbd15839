"""MLflow's database in a file is complete or not there: under kills, several starts at once, and odd paths."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import Unavailable
from selftaught.settings import database_url
from selftaught.state.database import create_or_upgrade, database_file
from selftaught.state.tracking import Tracker
from tests.rounds import database
from tests.waiting import until

__all__ = ["database"]

OPEN = "import sys; from selftaught.state.tracking import Tracker; Tracker(sys.argv[1]).campaign_run('line', 'weekly')"
ODD = ["my project", "été", "feature%2Fx", "what?x=1", "a#b", "semi;colon", "python3", "100%"]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1))
def test_a_path_survives_being_a_url(name: str) -> None:
    file = Path("/homes") / name / "mlflow.db"
    assert database_file(database_url(file)) == file


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:5000", "sqlite://", "sqlite:///:memory:", "postgresql://me@host/mlflow", "nonsense"]
)
def test_what_is_no_file_has_none(url: str) -> None:
    assert database_file(url) is None


@pytest.mark.parametrize("name", ODD)
def test_a_home_may_have_any_name(name: str, tmp_path: Path, database: Path) -> None:
    home = tmp_path / name
    home.mkdir()
    (home / "mlflow.db").write_bytes((database / "mlflow.db").read_bytes())
    tracker = Tracker(database_url(home / "mlflow.db"))
    tracker.log_text(tracker.campaign_run("line", "weekly"), "<p>page</p>", "report.html")
    assert Tracker(database_url(home / "mlflow.db")).campaigns("line") == ["weekly"]
    assert [page.read_text() for page in home.rglob("report.html")] == ["<p>page</p>"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def opening(file: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", OPEN, database_url(file)], stderr=subprocess.PIPE)


def test_three_first_starts_at_once_make_one_database(tmp_path: Path) -> None:
    file = tmp_path / "home" / "mlflow.db"
    started = [opening(file) for _ in range(3)]
    said = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    runs = Tracker(database_url(file)).client.search_runs(["1"])
    assert [run.data.tags["selftaught.campaign"] for run in runs] == ["weekly"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_a_start_that_is_killed_leaves_a_home_that_works(tmp_path: Path) -> None:
    chance, file = random.Random(13), tmp_path / "mlflow.db"
    for signalled in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        file.unlink(missing_ok=True)
        process = opening(file)
        until(lambda: any(tmp_path.iterdir()))
        time.sleep(chance.uniform(0, 0.7))
        process.send_signal(signalled)
        process.communicate()
    assert Tracker(database_url(file)).campaign_run("line", "weekly")
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part-journal"] == ["mlflow.db"]


def older(file: Path) -> None:
    """A database as MLflow 2.0 made it, with an experiment in it."""
    from alembic import command
    from alembic.config import Config
    from mlflow.store import db_migrations
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    engine, config = create_engine(database_url(file)), Config()
    config.set_main_option("script_location", str(Path(str(db_migrations.__file__)).parent))
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "cc1f77228345")
    engine.dispose()
    write(file, "INSERT INTO experiments (name, artifact_location, lifecycle_stage) VALUES ('mine', '/m', 'active')")


def write(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute(statement)


def test_a_database_of_an_earlier_mlflow_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    older(tmp_path / "mlflow.db")
    tracker = Tracker(database_url(tmp_path / "mlflow.db"))
    assert tracker.client.get_experiment_by_name("mine") is not None
    assert tracker.campaign_run("line", "weekly")
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_one_that_cannot_be_brought_up_to_date_stays_as_it_was(tmp_path: Path) -> None:
    older(file := tmp_path / "mlflow.db")
    write(file, "UPDATE alembic_version SET version_num = 'feedfacecafe'")
    before = file.read_bytes()
    with pytest.raises(Unavailable, match=r"cannot be used \(Can't locate revision .*A newer MLflow wrote it"):
        Tracker(database_url(file)).lines()
    assert (file.read_bytes(), [path.name for path in tmp_path.iterdir()]) == (before, ["mlflow.db"])


@pytest.mark.parametrize("stop", [0, 1, 4])
def test_a_half_made_one_without_content_is_recreated(tmp_path: Path, stop: int) -> None:
    """As kills left them while MLflow made its tables in place: no table, or some, and perhaps a journal."""
    file = tmp_path / "mlflow.db"
    for name in ["experiments", "runs", "tags", "metrics"][:stop]:
        write(file, f"CREATE TABLE {name} (name TEXT)")
    (tmp_path / "mlflow.db-journal").write_bytes(b"half a page")
    assert Tracker(database_url(file)).lines() == []


def test_a_database_of_another_program_keeps_its_tables(tmp_path: Path) -> None:
    write(tmp_path / "notes.db", "CREATE TABLE notes (said TEXT)")
    create_or_upgrade(tmp_path / "notes.db")
    with closing(sqlite3.connect(tmp_path / "notes.db")) as opened:
        assert opened.execute("SELECT * FROM notes").fetchall() == []
        assert opened.execute("SELECT count(*) FROM alembic_version").fetchall() == [(1,)]
