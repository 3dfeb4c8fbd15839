"""Which folder's settings and home are used, from wherever a command is typed; looking makes no home."""

import os
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core import project
from selftaught.settings import Settings


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder with nothing in it; no variable says where the home is."""
    folder = tmp_path / "user"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SELFTAUGHT_HOME")
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder two levels below `tmp_path / "project"`."""
    folder = tmp_path / "project" / "data" / "raw"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def mark(folder: Path, name: str) -> None:
    """Make what tells that `folder` is a project's."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).mkdir() if name == project.HOME else (folder / name).write_text("")


@pytest.mark.parametrize("name", [".selftaught", "selftaught.toml", "pipelines/round.py"])
@pytest.mark.parametrize("above", [0, 1, 2], ids=["here", "parent", "grandparent"])
def test_the_home_is_the_nearest_projects(name: str, above: int, work: Path):
    folder = (work, *work.parents)[above]
    mark(folder, name)
    mark(folder.parent, ".selftaught")
    assert Settings.load().home == folder / ".selftaught"


def test_without_a_project_the_home_is_the_users(work: Path, user: Path):
    assert Settings.load().home == user / ".selftaught"


def test_the_variable_wins_and_is_relative_to_the_working_folder(work: Path, monkeypatch: pytest.MonkeyPatch):
    mark(work, ".selftaught")
    monkeypatch.setenv("SELFTAUGHT_HOME", "../other")
    assert Settings.load().home == work.parent / "other"


def test_settings_hold_below_their_folder_and_their_folders_are_found_from_it(work: Path):
    top = work.parent.parent
    (top / "selftaught.toml").write_text("[profiles.local]\nhome = 'my/home'\nstore = 'kept'\ngrace = 7\n")
    found = Settings.load()
    assert (found.home, found.store, found.grace) == (top / "my" / "home", str(top / "kept"), 7)


def test_a_bucket_in_the_settings_is_no_folder(work: Path):
    (work / "selftaught.toml").write_text("[profiles.local]\nstore = 's3://bucket/prefix'\n")
    assert Settings.load().store == "s3://bucket/prefix"


def test_what_somebody_else_left_above_the_working_folder_does_not_count(
    work: Path, user: Path, monkeypatch: pytest.MonkeyPatch
):
    """A `selftaught.toml` in /tmp would decide where models go; the working folder itself is one's own choice."""
    mark(work.parent, "selftaught.toml")
    monkeypatch.setattr(os, "getuid", lambda: (work.parent.stat().st_uid) + 1)
    assert Settings.load().home == user / ".selftaught"
    mark(work, ".selftaught")
    assert Settings.load().home == work / ".selftaught"


def test_a_process_without_a_user_has_its_home_where_it_works(work: Path, monkeypatch: pytest.MonkeyPatch):
    """Containers run as numbers that no account has."""

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert Settings.load().home == work / ".selftaught"


@pytest.mark.parametrize(
    "command",
    ["models list", "models list --json", "recipes list", "run rft --dry-run", "tasks list fresh", "clean", "down"],
)
def test_looking_makes_no_home(command: str, work: Path, user: Path, monkeypatch: pytest.MonkeyPatch):
    if command == "tasks list fresh":
        (work / "inbox").mkdir()
        command += f" --set tasks.path={work / 'inbox'}"
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 0, done.stderr + repr(done.exception)
    assert list(user.iterdir()) == []
    assert [path.name for path in work.iterdir()] in ([], ["inbox"])


@pytest.mark.parametrize(
    "command", ["models show mine", "models rollback mine", "chat mine hi", "up mine", "status mine"]
)
def test_a_line_that_is_not_there_is_looked_for_in_a_home_that_is_named(command: str, work: Path, user: Path):
    done = CliRunner().invoke(app, shlex.split(command))
    assert done.exit_code == 1
    assert f"none yet in sqlite:///{user}/.selftaught/mlflow.db" in done.stderr
    assert list(user.iterdir()) == []


def test_a_home_that_is_made_is_told(work: Path, user: Path):
    done = CliRunner().invoke(app, ["models", "pull", str(work)])  # no model, which is found out later
    assert done.exit_code == 1
    assert f"making a new home: {user / '.selftaught'}" in done.stderr
