"""kill -9 of the entire process tree in every step of a round, then the same command again.

The compiled pipeline runs through kfp.local as `selftaught run` starts it, engines are real processes (recorded ones),
weights are those of a tiny model, and training is not reproducible. One round is killed in each step in turn; another
one, never killed, is what it is compared with.
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from selftaught.core.processes import die_with_parent
from selftaught.platform import Platform
from selftaught.records import Example, Group, TaskScore, dataset
from selftaught.report.data import RoundReport
from selftaught.round.history import newest, page_of
from selftaught.settings import Settings
from selftaught.state.round_key import RoundKey
from selftaught.state.store import DirectoryStore
from selftaught.state.tracking import Tracker
from tests.rounds import REPOSITORY, command, environment, model, recipe, recorded_blocks, written
from tests.waiting import end, until

__all__ = ["model", "recorded_blocks"]

LINE = "recorded"
Asked = tuple[str, str, int, float]
"""A request: served name, question, number of samples, temperature."""


@dataclass
class Run:
    """`selftaught run --rounds 1` with a home of its own, as often as it takes."""

    home: Path
    recipe: Path
    slow: float

    @property
    def requests(self) -> Path:
        return self.home.parent / f"{self.home.name}.requests"

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.home.name}.log"

    def start(self) -> "subprocess.Popen[bytes]":
        self.home.parent.mkdir(parents=True, exist_ok=True)
        env = environment(self.home, RECORDED_REQUESTS=str(self.requests), RECORDED_SECONDS=str(self.slow))
        with self.log.open("ab") as log:
            arguments = command(self.recipe, "--rounds", "1")
            return subprocess.Popen(
                arguments,
                cwd=REPOSITORY,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (should these tests be killed themselves)
            )

    def asked(self) -> list[Asked]:
        """The requests that engines have noted so far, in order."""
        lines = self.requests.read_text().splitlines() if self.requests.exists() else []
        return [(r["model"], r["question"], r["n"], r["temperature"]) for r in map(json.loads, lines)]

    def journaled(self) -> set[Asked]:
        """The requests whose answers are in a journal."""
        files = (self.home / "store" / "journals").rglob("*.jsonl")
        complete = (line for file in files for line in file.read_text().split("\n")[:-1])
        return {_asked(Group.model_validate_json(line)) for line in complete}

    def processes(self) -> list[int]:
        """Every live process that was started for this home: the run, its steps, its engines."""
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if self._is_ours(entry)]

    def kill(self) -> None:
        """Whatever still runs, because a test gave up on it, goes."""
        for pid in self.processes():
            end(pid)

    def _is_ours(self, process: Path) -> bool:
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"SELFTAUGHT_HOME={self.home}".encode() in variables

    @property
    def platform(self) -> Platform:
        uri = f"sqlite:///{self.home}/mlflow.db"
        settings = Settings(home=self.home, store=str(self.home / "store"), tracking_uri=uri, engines="", events="")
        return Platform(settings, DirectoryStore(self.home / "store"), Tracker(uri))

    def report(self) -> RoundReport:
        last = newest(self.platform, LINE, LINE)
        assert last is not None
        return page_of(self.platform, last).last

    def stored(self, kind: str) -> Path:
        """The stored data set that the round's report names as `kind`."""
        (digest,) = (ref.digest for ref in self.report().datasets if ref.kind == kind)
        return self.home / "store" / "datasets" / digest


def _asked(group: Group) -> Asked:
    first = group.rollouts[0]
    name = f"{LINE}-{first.model[:8]}"
    return name, group.task.messages[-1].content, len(group.rollouts), first.temperature


# When to kill: what a step leaves on the way, seen from outside ------------------------------------------------------


def _any(run: Run, pattern: str) -> bool:
    return any((run.home / "store").glob(pattern))


def _lines(run: Run, pattern: str) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (run.home / "store" / "journals").glob(pattern))


def _models(run: Run) -> int:
    return len(list((run.home / "store" / "models").glob("[!.]*")))


def _champion(run: Run) -> str:
    # Writable: what a kill left in the middle of a transaction has to be rolled back before it can be read.
    with sqlite3.connect(f"file:{run.home}/mlflow.db?mode=rw", uri=True, timeout=10) as database:
        found = database.execute("select version from registered_model_aliases where alias = 'champion'").fetchone()
    return str(found[0]) if found else ""


MOMENTS: dict[str, Callable[[Run], bool]] = {
    "prepare, once the round is fixed": lambda run: _any(run, f"claims/plans/{LINE}/{LINE}/1-0"),
    "sample, with some rollouts journaled": lambda run: _lines(run, f"{LINE}/steps/sample/*.jsonl") >= 5,
    "verify, before curation": lambda run: _any(run, "claims/steps/verify/*"),
    "train, the weights stored and not yet claimed": lambda run: (
        len(list((run.home / "store/models").glob("[!.]*"))) > 1
    ),
    "evaluate, amid the challenger's answers": lambda run: _lines(run, f"{LINE}/steps/steps/evaluate/*/*.jsonl") >= 32,
    "promote, the alias moved": lambda run: _champion(run) == "2",
    "report, the record claimed and the run still open": lambda run: _any(run, f"claims/rounds/{LINE}/{LINE}/1-0"),
}


@dataclass(frozen=True)
class Killed:
    """What was there when the run had been killed at `moment`."""

    moment: str
    asked: int
    journaled: frozenset[Asked]
    left: tuple[int, ...]


def _kill(run: Run, moment: str) -> Killed:
    """Start the run, kill its process group at `moment`, and look at what is left."""
    process = run.start()
    give_up = time.monotonic() + 600
    while not MOMENTS[moment](run):
        assert process.poll() is None, f"ended before {moment}: {run.log.read_text()[-3000:]}"
        assert time.monotonic() < give_up, f"never came to {moment}: {run.log.read_text()[-3000:]}"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return Killed(moment, *_aftermath(run))


def _aftermath(run: Run) -> Iterator[object]:
    """Requests and journals once everything has ended, and who has not ended within a minute."""
    until(lambda: not run.processes())
    left = tuple(run.processes())
    yield from (len(run.asked()), frozenset(run.journaled()), left)


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Run]:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("unkilled")
    run = Run(folder / "home", written(folder / "recorded.yaml", recipe(model)), slow=0)
    try:
        assert run.start().wait() == 0, run.log.read_text()[-3000:]
        yield run
    finally:
        run.kill()


@dataclass(frozen=True)
class Survivor:
    """A run that was killed at every moment in turn and then came to its end."""

    run: Run
    kills: tuple[Killed, ...]


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory, unkilled: Run) -> Iterator[Survivor]:
    run = Run(tmp_path_factory.mktemp("killed") / "home", unkilled.recipe, slow=0.1)
    try:
        kills = tuple(_kill(run, moment) for moment in MOMENTS)
        assert run.start().wait() == 0, run.log.read_text()[-3000:]
        yield Survivor(run, kills)
    finally:
        run.kill()


pytestmark = pytest.mark.usefixtures("recorded_blocks")


def test_the_round_is_promoted_all_the_same(survivor: Survivor, unkilled: Run):
    for run in (survivor.run, unkilled):
        rounds = run.platform.tracker.rounds(LINE, LINE)
        assert [(r.key, r.outcome) for r in rounds] == [(RoundKey(LINE, LINE), "promoted")]
        champion = run.platform.tracker.resolve(LINE, "champion")
        assert champion is not None
        assert champion.digest == run.report().challenger.digest


def test_every_kill_left_no_process(survivor: Survivor):
    assert {kill.moment: kill.left for kill in survivor.kills} == dict.fromkeys(MOMENTS, ())
    assert survivor.run.processes() == []


def test_what_was_journaled_was_not_asked_again(survivor: Survivor):
    asked = survivor.run.asked()
    for kill in survivor.kills:
        assert not kill.journaled & set(asked[kill.asked :]), kill.moment
    assert any(kill.journaled for kill in survivor.kills[:2]), "the kill in sample came too late to tell"


def test_every_task_was_asked_and_answered(survivor: Survivor, unkilled: Run):
    """The models' names differ, since training is not reproducible; nothing else does."""
    both = [{(question, n, heat) for _, question, n, heat in run.asked()} for run in (survivor.run, unkilled)]
    assert both[0] == both[1]
    assert len(unkilled.asked()) == len(set(unkilled.asked()))


@pytest.mark.parametrize("kind", ["tasks", "verified", "examples"])
def test_data_sets_are_those_of_the_unkilled_run(survivor: Survivor, unkilled: Run, kind: str):
    assert survivor.run.stored(kind).name == unkilled.stored(kind).name


def test_no_row_is_there_twice(survivor: Survivor):
    groups = dataset.read(survivor.run.stored("verified"), Group)
    assert len({group.id for group in groups}) == len(groups) == 12
    assert {len(group.rollouts) for group in groups} == {2}
    examples = dataset.read(survivor.run.stored("examples"), Example)
    assert len({example.id for example in examples}) == len(examples)
    for kind, tasks in [("gate_scores", 28), ("report_scores", 8)]:
        scores = dataset.read(survivor.run.stored(kind), TaskScore)
        assert len({score.id for score in scores}) == len(scores) == 2 * tasks


def test_one_new_version_and_one_run_whose_figures_are_there_once(survivor: Survivor):
    tracker = survivor.run.platform.tracker
    versions = tracker.versions(LINE)
    assert [version.version for version in versions] == ["1", "2"]
    (experiment,) = {tracker.client.get_run(version.run).info.experiment_id for version in versions[1:]}
    runs = tracker.client.search_runs([experiment])
    assert sorted(run.data.tags["selftaught.kind"] for run in runs) == ["adoption", "campaign", "round"]
    (round,) = (run for run in runs if run.data.tags["selftaught.kind"] == "round")
    assert round.info.status == "FINISHED"
    for name in ("train.loss", "funnel.kept", "gate.accuracy.gain"):
        assert len(tracker.client.get_metric_history(round.info.run_id, name)) == 1
    names = [given.dataset.name for given in round.inputs.dataset_inputs]
    assert sorted(names) == ["examples", "tasks", "verified"]


def test_nothing_half_written_is_left(survivor: Survivor):
    home = survivor.run.home
    assert list((home / "scratch").iterdir()) == []
    store = survivor.run.platform.store
    for kind in ("datasets", "models"):
        assert store.list(kind) == sorted(p.name for p in (home / "store" / kind).glob("[!.]*"))
    assert (home / "campaigns" / LINE / "report.html").read_text().startswith("<!doctype html>")
