"""The main job with the real model and real engines: killed while it samples, resumed, nothing left behind.

One small round of recipes/rft.yaml from the compiled pipeline. What a model learns from so little is not checked.
"""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.records import Group, dataset
from selftaught.report.data import ReportData
from selftaught.round.history import newest, page_of
from selftaught.settings import Settings
from selftaught.state.store import DirectoryStore
from selftaught.state.tracking import Tracker
from selftaught.state.weights import model_digest
from tests.waiting import end, until

pytestmark = pytest.mark.model
REPOSITORY = Path(__file__).parents[2]
SMALL = {
    "tasks.train": "32",
    "tasks.gate": "16",
    "tasks.report": "16",
    "tasks.guard": "8",
    "stages.main.sample.k": "4",
    "stages.main.curate.minimum": "1",
    "stages.main.train.epochs": "1",
    "stages.main.evaluate": "[{type: accuracy, max_tokens: 48}]",
    "stages.main.gate.metric": "accuracy",
}


@dataclass(frozen=True)
class Demo:
    """`selftaught run recipes/rft.yaml`, made small, with a home of its own."""

    home: Path
    model: Path

    def start(self) -> "subprocess.Popen[bytes]":
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SELFTAUGHT_", "MLFLOW_"))}
        changes = [f"--set={key}={value}" for key, value in (SMALL | {"models.policy": str(self.model)}).items()]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "selftaught", "run", "recipes/rft.yaml", *changes],
                cwd=REPOSITORY,
                env=kept | {"SELFTAUGHT_HOME": str(self.home)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.home.with_suffix(".log")

    @property
    def platform(self) -> Platform:
        uri = f"sqlite:///{self.home}/mlflow.db"
        settings = Settings(home=self.home, store=str(self.home / "store"), tracking_uri=uri, engines="", events="")
        return Platform(settings, DirectoryStore(self.home / "store"), Tracker(uri))

    def journaled(self) -> dict[str, Group]:
        """The sampled groups that are in a journal, by task."""
        files = (self.home / "store" / "journals").glob("*/steps/sample/*.jsonl")
        complete = [line for file in files for line in file.read_text().split("\n")[:-1]]
        return {group.id: group for group in map(Group.model_validate_json, complete)}

    def processes(self) -> list[int]:
        """Every live process that was started for this home."""
        wanted = f"SELFTAUGHT_HOME={self.home}".encode()
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if wanted in _environ(entry)]


def _environ(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


@dataclass(frozen=True)
class Round:
    """A round that was killed once: what was journaled by then, how it ended, and its report."""

    demo: Demo
    survived: dict[str, Group]
    left: list[int]
    code: int
    report: ReportData


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, starter_model: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("e2e") / "home", starter_model)
    yield demo
    for pid in demo.processes():
        end(pid)


@pytest.fixture(scope="module")
def round(demo: Demo) -> Round:
    first = demo.start()
    assert until(lambda: len(demo.journaled()) >= 4, 600), demo.log.read_text()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not demo.processes())
    left, survived = demo.processes(), demo.journaled()
    second = demo.start()
    code = second.wait()
    last = newest(demo.platform, "rft", "rft")
    assert last is not None, demo.log.read_text()
    return Round(demo, survived, left, code, page_of(demo.platform, last))


def test_a_kill_leaves_no_process(round: Round):
    assert round.left == []


def test_the_round_ends_with_a_decision(round: Round):
    assert round.report.last.outcome == {0: "promoted", 3: "refused"}[round.code]


def test_what_was_journaled_is_in_the_data_once(round: Round):
    (ref,) = (ref for ref in round.report.last.datasets if ref.kind == "verified")
    groups = dataset.read(round.demo.home / "store" / "datasets" / ref.digest, Group)
    assert len({group.id for group in groups}) == len(groups) == 32
    assert all(len(group.rollouts) == 4 for group in groups)
    found = {group.id: group.rollouts for group in groups}
    assert len(round.survived) >= 4
    assert all(found[task] == group.rollouts for task, group in round.survived.items())


def test_the_challenger_is_one_version_with_the_digest_of_its_weights(round: Round):
    tracker, last = round.demo.platform.tracker, round.report.last
    base, challenger = tracker.versions("rft")
    assert last.challenger is not None
    assert challenger.digest == last.challenger.digest == model_digest(round.demo.platform.model(challenger.digest))
    assert challenger.digest != base.digest == model_digest(round.demo.model)
    assert tracker.resolve("rft", "champion") == (challenger if last.outcome == "promoted" else base)


def test_it_was_trained_and_both_were_measured(round: Round):
    last = round.report.last
    assert last.training is not None
    assert last.training.steps == len(last.training.losses) > 0
    assert all(math.isfinite(loss) for _, loss in last.training.losses)
    measured = {(summary.model, summary.split): summary.n for summary in last.summaries}
    assert sorted(measured.values()) == [8, 8, 16, 16, 16, 16]


def test_nothing_is_left_running(round: Round):
    assert until(lambda: not round.demo.processes())


def test_the_report_is_there(round: Round):
    page = round.demo.home / "campaigns" / "rft" / "report.html"
    assert page.read_text().startswith("<!doctype html>")


def test_the_served_model_is_the_one_that_the_registry_names(round: Round):
    env = os.environ | {"SELFTAUGHT_HOME": str(round.demo.home)}
    up = [sys.executable, "-m", "selftaught", "up", "rft", "--port", "0", "--ui-port", "0", "--json"]
    down = [sys.executable, "-m", "selftaught", "down"]
    try:
        there = json.loads(subprocess.run(up, env=env, capture_output=True, text=True, check=True).stdout)
        assert there["digest"] == round.demo.platform.tracker.aliases("rft")["champion"].digest
    finally:
        subprocess.run(down, env=env, capture_output=True, check=True)
    assert until(lambda: not round.demo.processes())
