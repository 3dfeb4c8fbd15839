"""Who may do what on the MLflow server of the chart: the files that it mounts, run with a real server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from selftaught.errors import Unavailable
from selftaught.tracking import Tracker, Version

FILES = Path(__file__).parents[2] / "charts" / "selftaught" / "files" / "mlflow"
PASSWORDS = {
    name: f"{name}-password-for-tests" for name in ("admin", "steps", "promoter", "team-steps", "team-promoter")
}
PARTS = {
    "admin": "admin",
    "steps": "steps",
    "promoter": "promoter",
    "steps.team": "team-steps",
    "promoter.team": "team-promoter",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    for part, username in PARTS.items():
        (folder / "accounts" / part).mkdir(parents=True)
        (folder / "accounts" / part / "username").write_text(username)
        (folder / "accounts" / part / "password").write_text(PASSWORDS[username])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")} | {
        "PYTHONPATH": str(FILES),
        "MLFLOW_AUTH_DATABASE_URI": f"sqlite:///{folder}/auth%.db",  # as in a password that is URL-encoded
        "MLFLOW_AUTH_DEFAULT_PERMISSION": "READ",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    prepare = [sys.executable, str(FILES / "accounts.py"), str(folder / "accounts"), str(folder / "auth.ini")]
    for expected in ("made", "unchanged"):
        done = subprocess.run(prepare, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.count(expected) == len(PARTS)
    arguments = ["--host=127.0.0.1", f"--port={port}", "--workers=1", "--app-name=basic-auth"]
    stores = [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments, *stores],
        env=environment | {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini")},
        cwd=folder,
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until_up(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def until_up(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(log.read_text()[-3000:])


@pytest.fixture
def tracker(server: str, monkeypatch: pytest.MonkeyPatch):
    """A tracker that goes on as the account of the given name."""

    def as_account(name: str, password: str = "") -> Tracker:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password or PASSWORDS[name])
        return Tracker(server)

    return as_account


def line_of(tracker: Tracker, line: str) -> list[Version]:
    """A line with two versions, of which the first is the champion."""
    versions = [tracker.register(line, digest * 64, f"s3://models/{digest}", "", {}) for digest in "ab"]
    for alias in ("base", "head", "champion"):
        tracker.point(alias, versions[0])
    return versions


def test_steps_does_all_that_a_round_does(tracker) -> None:
    steps = tracker("steps")
    first, second = line_of(steps, "whole")
    run = steps.round_run("whole", "spring", "main", 1, 0)
    steps.log(run, {"accuracy": 0.5, "pass@8": 0.9}, params={"k": "8"})
    steps.log_curve(run, "train.loss", [(0, 2.0), (1, 1.0)])
    steps.log_dataset(run, "tasks", "d" * 64, "s3://data/d", 3, "train")
    steps.log_text(run, "<p>report</p>", "report.html")
    steps.tag_version(second, {"selftaught.gain": "+0.1"})
    steps.point("challenger", second)
    steps.point("head", second)
    steps.finish(run, "refused")
    assert steps.aliases("whole") | {} == {"base": first, "champion": first, "challenger": second, "head": second}


@pytest.mark.parametrize("alias", ["champion", "previous", "base"])
def test_steps_cannot_move_what_users_follow_and_the_promoter_can(tracker, alias: str) -> None:
    line = f"moved-{alias}"
    steps = tracker("steps")
    first, second = line_of(steps, line)
    promoter = tracker("promoter")
    promoter.point(alias, first)
    with pytest.raises(Unavailable, match="Permission denied"):
        tracker("steps").point(alias, second)
    tracker("promoter").point(alias, second)
    assert tracker("steps").resolve(line, alias) == second


@pytest.mark.parametrize(
    ("verb", "noun", "body"),
    [
        ("DELETE", "registered-models/alias", {"name": "kept", "alias": "champion"}),
        ("DELETE", "registered-models/delete", {"name": "kept"}),
        ("POST", "registered-models/rename", {"name": "kept", "new_name": "other"}),
        ("DELETE", "model-versions/delete", {"name": "kept", "version": "1"}),
        ("POST", "model-versions/set-tag", {"name": "kept", "version": "1", "key": "selftaught.digest", "value": "b"}),
        ("DELETE", "model-versions/delete-tag", {"name": "kept", "version": "1", "key": "selftaught.digest"}),
        ("POST", "registered-models/alias", {"name": "kept", "alias": "champion", "version": "2"}),
        ("POST", "registered-models/alias", {"name": "nowhere", "alias": "champion", "version": "1"}),
    ],
)
@pytest.mark.parametrize("api", ["api", "ajax-api"])
def test_no_way_round_for_steps(tracker, server: str, api: str, verb: str, noun: str, body: dict[str, str]) -> None:
    steps = tracker("steps")
    if "kept" not in steps.lines():
        line_of(steps, "kept")
    before = steps.aliases("kept"), steps.versions("kept")
    login = ("steps", PASSWORDS["steps"])
    answer = httpx.request(verb, f"{server}/{api}/2.0/mlflow/{noun}", json=body, auth=login)
    assert answer.status_code == 403
    assert (steps.aliases("kept"), steps.versions("kept")) == before


def test_teams_do_not_write_into_each_others_lines_and_runs(tracker) -> None:
    line_of(tracker("steps"), "ours")
    run = tracker("steps").round_run("ours", "spring", "main", 1, 0)
    for account in ("team-steps", "team-promoter"):
        theirs = tracker(account)
        version = theirs.versions("ours")[1]
        for write in (
            lambda: theirs.point("champion", version),  # noqa: B023
            lambda: theirs.point("head", version),  # noqa: B023
            lambda: theirs.register("ours", "c" * 64, "s3://models/c", "", {}),  # noqa: B023
            lambda: theirs.log(run, {"accuracy": 1.0}),  # noqa: B023
        ):
            with pytest.raises(Unavailable, match="Permission denied"):
                write()


@pytest.mark.parametrize(("name", "password"), [("steps", "wrong-password"), ("nobody", "no-such-account")])
def test_wrong_credentials_are_refused(server: str, name: str, password: str) -> None:
    answer = httpx.get(f"{server}/api/2.0/mlflow/experiments/get", params={"experiment_id": "0"}, auth=(name, password))
    assert answer.status_code == 401
