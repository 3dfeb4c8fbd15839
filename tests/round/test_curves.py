"""The curve of a training while it runs: a step is shown once, whatever is killed, and no sink holds it up."""

import json
import shutil
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import BadInput
from selftaught.core.progress import Curve as File
from selftaught.round import curves
from selftaught.round.curves import Curve, Follower, InMlflow, InTensorBoard, InWandb, Point, check_sinks, followed
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import Tracker
from tests.rounds import database
from tests.waiting import until

__all__ = ["database"]


@pytest.fixture
def tracker(tmp_path: Path, database: Path) -> Tracker:
    shutil.copytree(database, tmp_path / "home")
    return Tracker(f"sqlite:///{tmp_path}/home/mlflow.db")


@pytest.fixture
def run(tracker: Tracker) -> str:
    return tracker.round_run(RoundKey("line", "weekly"), "main")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "curve.jsonl"


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are asked as soon as there is something."""
    monkeypatch.setattr(curves, "EVERY", 0.01)


class Kept:
    """A sink that keeps what it is shown; it fails as often as it is asked to."""

    name = "kept"

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.points = failures, list[Point]()
        self.closed = False

    def show(self, points: Sequence[Point]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("https://me:secret@host does not answer")
        self.points += points

    def close(self) -> None:
        self.closed = True


class Hanging(Kept):
    """A sink that never comes back."""

    def show(self, points: Sequence[Point]) -> None:
        threading.Event().wait()


def wrote(file: Path, *losses: tuple[int, float]) -> None:
    """A training appends its steps, each with its loss."""
    for step, loss in losses:
        File(file)(step, 10, loss=loss, tokens_per_second=800.0)


def curve(tracker: Tracker, run: str, name: str = "train.loss") -> list[tuple[int, float]]:
    """Every point that MLflow has of a metric."""
    return sorted((point.step, point.value) for point in tracker.client.get_metric_history(run, name))


def attempt(file: Path, sink: curves.Sink) -> None:
    """What an attempt at a training shows that is killed after its file was checked."""
    Follower(file, sink).look()


@pytest.mark.usefixtures("often")
def test_a_step_is_in_mlflow_while_the_training_continues(tracker: Tracker, run: str, file: Path):
    with followed(file, [InMlflow(tracker, Curve(run, "title", "policy"))]):
        wrote(file, (1, 2.0))
        assert until(lambda: curve(tracker, run) == [(1, 2.0)])
        wrote(file, (2, 1.0))
    assert curve(tracker, run) == [(1, 2.0), (2, 1.0)]
    assert set(tracker.metrics(run)) == {"train.loss"}


def test_a_step_that_is_trained_again_after_a_kill_is_one_point(tracker: Tracker, run: str, file: Path):
    """The second attempt resumes from a checkpoint at step 2; what it computes differs in the last places."""
    wrote(file, (1, 4.0), (2, 3.0), (3, 2.0))
    attempt(file, InMlflow(tracker, Curve(run, "title", "policy")))
    wrote(file, (3, 2.001), (4, 1.0))
    attempt(file, InMlflow(tracker, Curve(run, "title", "policy")))
    assert curve(tracker, run) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]


def test_the_record_adds_what_was_not_shown_and_nothing_twice(tracker: Tracker, run: str, file: Path):
    wrote(file, (1, 4.0), (3, 2.0))
    attempt(file, InMlflow(tracker, Curve(run, "title", "policy")))
    tracker.log_curve(run, "train.loss", [(1, 4.0), (2, 3.0), (3, 2.001), (4, 1.0)])
    assert curve(tracker, run) == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]


def test_an_attempt_that_lost_its_folder_doubles_nothing(tracker: Tracker, run: str, file: Path):
    """As in a pod that was replaced."""
    for _ in range(2):
        wrote(file, (1, 4.0), (2, 3.0))
        attempt(file, InMlflow(tracker, Curve(run, "title", "policy")))
        file.unlink()
    assert curve(tracker, run) == [(1, 4.0), (2, 3.0)]


def test_the_second_objective_resumes_where_the_first_ended_and_another_role_has_a_curve_of_its_own(
    tracker: Tracker, run: str, file: Path
):
    wrote(file, (1, 4.0), (2, 3.0))
    for each in (Curve(run, "t", "policy"), Curve(run, "t", "policy", before=2), Curve(run, "t", "value")):
        attempt(file, InMlflow(tracker, each))
    assert curve(tracker, run) == [(1, 4.0), (2, 3.0), (3, 4.0), (4, 3.0)]
    assert curve(tracker, run, "train.value.loss") == [(1, 4.0), (2, 3.0)]


def test_a_place_that_fails_is_told_once_without_its_password_and_shown_everything_later(
    file: Path, capfd: pytest.CaptureFixture[str]
):
    sink = Kept(failures=3)
    follower = Follower(file, sink)
    for step in range(1, 6):
        wrote(file, (step, 1.0))
        follower.look()
    assert [point.step for point in sink.points] == [1, 2, 3, 4, 5]
    (stderr,) = capfd.readouterr().err.splitlines()
    assert stderr == (
        "kept: cannot show the curve of this training (https://host does not answer). The training continues; retrying."
    )


@pytest.mark.usefixtures("often")
def test_a_place_that_hangs_holds_up_neither_the_training_nor_another_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(curves, "FAREWELL", 0.2)
    sink = Kept()
    with followed(file, [Hanging(), sink]):
        wrote(file, (1, 1.0))
        assert until(lambda: len(sink.points) == 1)
    assert sink.closed


@pytest.mark.usefixtures("often")
def test_a_tracking_server_that_is_gone_fails_no_training(
    file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(curves, "FAREWELL", 60.0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with followed(file, [InMlflow(Tracker(nobody), Curve("run", "title", "policy"))]):
        wrote(file, (1, 1.0))
    stderr = capfd.readouterr().err
    assert stderr.startswith(f"MLflow: cannot show the curve of this training ({nobody}: the tracking server")
    assert stderr.count("cannot show") == 1


def test_what_a_full_disk_cut_off_is_passed_over(file: Path):
    sink = Kept()
    wrote(file, (1, 1.0))
    with file.open("a") as lines:
        lines.write('{"step": 2, "lo\n')
    wrote(file, (3, 0.5))
    attempt(file, sink)
    assert [(point.step, dict(point.figures)) for point in sink.points] == [(1, {"loss": 1.0}), (3, {"loss": 0.5})]


def test_a_package_that_is_missing_is_said_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(curves, "PACKAGES", {"wandb": "no_such_package"})
    with pytest.raises(BadInput, match=r"report_to: wandb is not installed here\. Run: pip install "):
        check_sinks(["wandb"])


def test_tensorboard_shows_each_step_once_as_the_last_attempt_had_it(file: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for each in [((1, 4.0), (2, 3.0), (3, 2.0)), ((3, 2.5), (4, 1.0))]:
        wrote(file, *each)
        sink = InTensorBoard(tmp_path, Curve("run", "line/weekly/round-1-0", "policy"))
        attempt(file, sink)
        sink.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard/line/weekly/round-1-0/policy")).Reload()
    assert shown.Tags()["scalars"] == ["train/loss"]
    assert [(event.step, event.value) for event in shown.Scalars("train/loss")] == [(1, 4), (2, 3), (3, 2), (4, 1)]


def test_wandb_keeps_figures_alone_and_no_key(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Offline, as its own tool reads it."""
    pytest.importorskip("wandb")
    key = "5ecre7" * 7
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", key)
    wrote(file, (1, 4.0), (2, 3.0))
    sink = InWandb(tmp_path / "home", Curve("0123", "line/weekly/round-1-0", "policy", before=5))
    attempt(file, sink)
    sink.close()
    (kept,) = (tmp_path / "home").rglob("*.wandb")
    assert kept.name == "run-0123-policy.wandb"
    found = _records(kept)
    assert [(record.history.step.num, _figures(record)) for record in found if record.history.item] == [
        (6, {"train/loss": 4.0}),
        (7, {"train/loss": 3.0}),
    ]
    assert [(record.run.host, record.run.project) for record in found if record.run.run_id] == [("", "selftaught")]
    files = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert [path for path, data in files.items() if key.encode() in data] == []
    assert {path.suffix for path in files} == {".log", ".wandb"}  # no code, no list of packages


def _records(kept: Path) -> list[Any]:
    """What a file of W&B's holds: 7 bytes, then records behind 7 bytes each that have the length (LevelDB's log).

    What is longer than a block of 32 KiB is not read here.
    """
    from wandb.proto import wandb_internal_pb2

    data, at, found = kept.read_bytes(), 7, list[Any]()
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        found.append(wandb_internal_pb2.Record.FromString(data[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


def _figures(record: Any) -> dict[str, float]:
    """The figures of a step, less W&B's own."""
    data = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
    return {name: value for name, value in data.items() if not name.startswith("_")}
