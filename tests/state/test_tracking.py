"""MLflow: calls are idempotent, lineage leads both ways, and a server that is gone is reported in seconds."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from selftaught.core.errors import Unavailable
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import RoundRun, Tracker, Version
from tests import mlflow_server
from tests.rounds import database

__all__ = ["database"]

DIGEST = "d1" * 32


@pytest.fixture
def tracker(tmp_path: Path, database: Path) -> Tracker:
    """A tracker over a new SQLite database."""
    shutil.copytree(database, tmp_path / "home")
    return Tracker(f"sqlite:///{tmp_path}/home/mlflow.db")


def test_campaign_and_round_are_made_once(tracker: Tracker):
    campaign = tracker.campaign_run("line", "weekly", {"selftaught.recipe": "r"})
    first = tracker.round_run(RoundKey("line", "weekly"), "main")
    again = tracker.round_run(RoundKey("line", "weekly", 1, 1), "main")
    assert len({campaign, first, again}) == 3
    assert tracker.campaign_run("line", "weekly") == campaign
    assert tracker.round_run(RoundKey("line", "weekly"), "main") == first
    assert tracker.rounds("line", "weekly") == [
        RoundRun(first, RoundKey("line", "weekly"), "main", "", ""),
        RoundRun(again, RoundKey("line", "weekly", 1, 1), "main", "", ""),
    ]
    assert tracker.tags(first)["mlflow.parentRunId"] == campaign
    assert tracker.tags(campaign)["selftaught.recipe"] == "r"


@pytest.mark.parametrize("made", ["create_experiment", "create_registered_model"])
def test_what_another_makes_between_a_look_and_the_making_is_found_again(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, made: str
):
    """No lock keeps two clients of one server apart."""
    from mlflow import MlflowClient

    make, others = getattr(MlflowClient, made), ["another client, which is faster"]

    def overtaken(*args: object, **kwargs: object) -> object:
        if others:
            others.pop()
            make(*args, **kwargs)
        return make(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, made, overtaken)
    run = tracker.round_run(RoundKey("line", "weekly"), "main")
    assert tracker.register("line", DIGEST, "file:///store/models/d1", run, {}).version == "1"
    assert (others, tracker.lines(), tracker.campaigns("line")) == ([], ["line"], ["weekly"])


def test_campaigns_and_lines_do_not_see_each_others_rounds(tracker: Tracker):
    ids = {tracker.round_run(RoundKey(line, name), "main") for line in ("a", "b") for name in ("weekly", "weekly-2")}
    assert len(ids) == 4
    assert len(tracker.rounds("a", "weekly")) == 1


def test_versions_beyond_the_ninth_come_in_order_of_number(tracker: Tracker):
    numbers = [tracker.register("line", f"{number:064x}", "file:///m", "", {}).version for number in range(1, 13)]
    assert [version.version for version in tracker.versions("line")] == numbers == [str(n) for n in range(1, 13)]


def test_rounds_come_in_order(tracker: Tracker):
    keys = [RoundKey("line", "weekly", *numbers) for numbers in [(1, 0), (2, 0), (2, 1), (10, 0)]]
    for key in reversed(keys):
        tracker.round_run(key, "main")
    assert [r.key for r in tracker.rounds("line", "weekly")] == keys


@pytest.mark.parametrize(
    ("outcome", "status"), [("promoted", "FINISHED"), ("refused", "FINISHED"), ("failed", "FAILED")]
)
def test_a_round_ends_with_its_outcome(tracker: Tracker, outcome: str, status: str):
    run = tracker.round_run(RoundKey("line", "weekly"), "main")
    for _ in range(2):
        tracker.finish(run, outcome)
    assert [r.outcome for r in tracker.rounds("line", "weekly")] == [outcome]
    assert tracker.client.get_run(run).info.status == status


def test_a_model_is_registered_once_by_its_digest(tracker: Tracker):
    run = tracker.round_run(RoundKey("line", "weekly"), "main")
    made = tracker.register("line", DIGEST, "file:///store/models/d1", run, {"selftaught.parent": "p"})
    assert tracker.register("line", DIGEST, "file:///elsewhere", run, {}) == made
    assert made == Version("line", "1", DIGEST, "file:///store/models/d1", run)
    assert tracker.register("line", "e2" * 32, "file:///store/models/e2", run, {}).version == "2"
    assert tracker.register("other", DIGEST, "file:///store/models/d1", "", {}).line == "other"
    assert [v.digest for v in tracker.versions("line")] == [DIGEST, "e2" * 32]


def test_lineage_leads_from_run_to_version_and_back(tracker: Tracker):
    run = tracker.round_run(RoundKey("line", "weekly"), "main")
    tags = {"selftaught.parent": "p", "selftaught.examples": "e", "selftaught.tasks": "t"}
    made = tracker.register("line", DIGEST, "file:///m", run, tags)
    assert made.run == run
    assert tracker.version_tags(made) == tags | {"selftaught.digest": DIGEST}
    assert tracker.tags(run)["selftaught.model_version"] == "line/1"
    assert tracker.tags(run)["selftaught.model_digest"] == DIGEST


def test_a_kill_between_version_and_tag_is_healed(tracker: Tracker):
    run = tracker.round_run(RoundKey("line", "weekly"), "main")
    tracker.client.create_registered_model("line")
    tracker.client.create_model_version("line", "file:///m", run, tags={"selftaught.digest": DIGEST})
    assert tracker.register("line", DIGEST, "file:///m", run, {}).version == "1"
    assert tracker.tags(run)["selftaught.model_version"] == "line/1"


def test_aliases_move_and_are_resolved(tracker: Tracker):
    assert tracker.aliases("line") == {}
    assert tracker.resolve("line", "champion") is None
    one, two = (tracker.register("line", digit * 64, "file:///m", "", {}) for digit in "12")
    tracker.point("champion", one)
    tracker.point("base", one)
    tracker.point("champion", two)
    assert tracker.resolve("line", "champion") == two
    assert tracker.aliases("line") == {"champion": two, "base": one}


def test_a_registry_with_many_models_is_searched_to_its_end(tracker: Tracker):
    """MLflow lists 100 at a time."""
    for number in range(101):
        tracker.client.create_registered_model(f"line-{number:03}")
    assert len(tracker.lines()) == 101
    assert tracker.register("line-100", DIGEST, "file:///m", "", {}).version == "1"


def test_runs_and_versions_are_searched_to_their_end(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    """What a page leaves out would be taken for missing, and its files for nobody's."""
    monkeypatch.setattr("selftaught.state.tracking._PAGE", 2)
    for number in range(1, 6):
        tracker.register("line", str(number) * 64, "file:///m", "", {})
        tracker.round_run(RoundKey("line", "weekly", number), "main")
    assert [version.version for version in tracker.versions("line")] == list("12345")
    assert [past.key.number for past in tracker.rounds("line", "weekly")] == [1, 2, 3, 4, 5]


def test_removed_files_are_said_on_the_version_until_the_model_is_made_again(tracker: Tracker):
    made = tracker.register("line", DIGEST, "file:///m", "", {"selftaught.parent": "p"})
    tracker.mark_removed(made, "2026-01-31")
    assert [version.removed for version in tracker.versions("line")] == ["2026-01-31"]
    assert tracker.register("line", DIGEST, "file:///m", "", {}) == made
    assert tracker.versions("line") == [made]
    assert tracker.version_tags(made) == {"selftaught.digest": DIGEST, "selftaught.parent": "p"}


def test_metrics_with_an_at_sign_and_parameters_are_kept(tracker: Tracker):
    run = tracker.campaign_run("line", "weekly")
    tracker.log(run, {"gate.pass@8.champion": 0.5}, step=3, params={"recipe": "rft"})
    tracker.log(run, {}, params={"recipe": "another", "seed": "1"})
    data = tracker.client.get_run(run).data
    assert data.metrics == {"gate.pass_at_8.champion": 0.5}
    assert data.params == {"recipe": "rft", "seed": "1"}
    assert [m.step for m in tracker.client.get_metric_history(run, "gate.pass_at_8.champion")] == [3]


def test_a_curve_that_is_logged_twice_is_one_curve(tracker: Tracker):
    run = tracker.campaign_run("line", "weekly")
    points = [(step, 1 / step) for step in range(1, 1101)]
    for _ in range(2):
        tracker.log_curve(run, "train.loss", points)
        tracker.log(run, {"gain": 0.25}, step=1)
    curve = tracker.client.get_metric_history(run, "train.loss")
    assert sorted((m.step, m.value) for m in curve) == points
    assert len(tracker.client.get_metric_history(run, "gain")) == 1


def test_data_sets_are_inputs_of_the_run_with_their_whole_digest(tracker: Tracker):
    run = tracker.campaign_run("line", "weekly")
    for _ in range(2):
        tracker.log_dataset(run, "examples", DIGEST, 's3://bucket/a "quoted" name', 151, "training")
    (given,) = tracker.client.get_run(run).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("examples", DIGEST[:36])
    assert DIGEST in given.dataset.profile
    assert (given.dataset.source_type, given.dataset.source) == ("s3", '{"uri": "s3://bucket/a \\"quoted\\" name"}')
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_a_data_set_in_a_folder_is_loaded_from_the_run_that_it_is_an_input_of(tracker: Tracker, tmp_path: Path):
    """With MLflow's own words; the address is a path as people copy it."""
    import mlflow.data

    folder = tmp_path / "my project é" / "d1"
    folder.mkdir(parents=True)
    (folder / "data.parquet").write_bytes(b"rows")
    run = tracker.campaign_run("line", "weekly")
    tracker.log_dataset(run, "examples", DIGEST, folder.as_uri(), 151, "training")
    (given,) = tracker.client.get_run(run).inputs.dataset_inputs
    source = mlflow.data.get_source(given)
    assert source.uri == str(folder)
    assert (Path(source.load()) / "data.parquet").read_bytes() == b"rows"


def test_a_model_that_was_not_trained_here_has_a_source_run_that_has_ended(tracker: Tracker):
    (run,) = {tracker.adoption_run("line", DIGEST, "owner/name") for _ in range(2)}
    data = tracker.client.get_run(run)
    assert (data.info.status, data.data.params) == ("FINISHED", {"source": "owner/name", "digest": DIGEST})
    assert tracker.rounds("line", "weekly") == []
    assert tracker.campaigns("line") == []
    assert tracker.adoption_run("line", "e2" * 32, "owner/name") != run


def test_a_campaign_without_a_process_of_its_own_is_not_left_running(tracker: Tracker):
    """As on a cluster, where the first step of each round makes or finds it."""
    for number in (1, 2):
        run = tracker.round_run(RoundKey("line", "weekly", number), "main")
        assert tracker.client.get_run(run).info.status == "RUNNING"
    assert tracker.client.get_run(tracker.campaign_run("line", "weekly")).info.status == "FINISHED"


def test_a_round_leaves_a_running_campaign_running(tracker: Tracker):
    campaign = tracker.campaign_run("line", "weekly")
    tracker.round_run(RoundKey("line", "weekly"), "main")
    assert tracker.client.get_run(campaign).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("https://me:secret@mlflow.example.com/", "https://mlflow.example.com"),
        ("http://mlflow:5000/base", "http://mlflow:5000/base"),
        ("sqlite:///home/mlflow.db", ""),
    ],
)
def test_people_are_led_to_a_server_without_its_password_and_to_no_file(uri: str, address: str):
    assert Tracker(uri).address == address


def test_a_text_is_an_artifact_beside_the_database(tracker: Tracker, tmp_path: Path):
    run = tracker.campaign_run("line", "weekly")
    tracker.log_text(run, "<p>page</p>", "report.html")
    (page,) = (tmp_path / "home" / "mlartifacts" / "line").rglob("report.html")
    assert page.read_text() == "<p>page</p>"


# A server ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, port: int, database: Path) -> Generator[str]:
    """The address of a real tracking server."""
    shutil.copy(database / "mlflow.db", tmp_path / "server.db")
    uri = f"http://127.0.0.1:{port}"
    places = mlflow_server.environment(tmp_path / "server.db", tmp_path / "kept")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            mlflow_server.command(port), env=places, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
        )
    try:
        _wait(uri, process, tmp_path / "log")
        yield uri
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def _wait(uri: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{uri}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(log.read_text())


def test_the_same_over_a_real_server(server: str):
    tracker = Tracker(server)
    runs = {tracker.round_run(RoundKey("line", "weekly"), "main") for _ in range(2)}
    (run,) = runs
    versions = {tracker.register("line", DIGEST, "s3://bucket/models/d1", run, {"a": "b"}) for _ in range(2)}
    (version,) = versions
    tracker.point("champion", version)
    for _ in range(2):
        tracker.log_dataset(run, "tasks", DIGEST, "s3://bucket/datasets/d1", 3, "tasks")
        tracker.log_curve(run, "train.loss", [(1, 2.0), (2, 1.0)])
    tracker.log_text(run, "<p>page</p>", "report.html")
    tracker.log_lines(run, iter(["{}\n", "[]\n"]), "rollouts.jsonl")
    tracker.finish(run, "promoted")
    assert tracker.resolve("line", "champion") == version
    assert len(tracker.client.get_run(run).inputs.dataset_inputs) == 1
    assert [m.value for m in tracker.client.get_metric_history(run, "train.loss")] == [2.0, 1.0]
    assert [artifact.path for artifact in tracker.client.list_artifacts(run)] == ["report.html", "rollouts.jsonl"]
    assert [r.outcome for r in tracker.rounds("line", "weekly")] == ["promoted"]


def test_a_server_that_is_not_there_is_unavailable_in_seconds(port: int):
    begin, text = time.monotonic(), f"http://127.0.0.1:{port}: the tracking server or database does not answer"
    with pytest.raises(Unavailable, match=re.escape(text)):
        Tracker(f"http://127.0.0.1:{port}").lines()
    assert time.monotonic() - begin < 20


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path):
    (tmp_path / "mlflow.db").write_bytes(b"no database " * 100)
    with pytest.raises(Unavailable, match=r"mlflow\.db: the tracking server or database does not answer"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db").lines()


def test_mlflow_reports_nothing_to_its_makers(tracker: Tracker, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    assert tracker.client.search_experiments()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
