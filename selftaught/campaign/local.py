"""A campaign: a recipe run for its rounds on one model line, each round one run of the compiled pipeline.

Owns the local engines, starts the pipeline for each round, watches its events, and continues after a kill at any
moment: which round is next is read from MLflow, and within a round every step finds what it had done. It decides
nothing about the method (the recipe does) nor about promotion (the gate does).
"""

import fcntl
import json
import shutil
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selftaught.campaign.kfp.runner import KfpRunner
from selftaught.campaign.limits import Limits
from selftaught.campaign.local_runner import ENDED_EARLY, LocalRunner, round_folder, scratch
from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import RunStatus, require_idle
from selftaught.core import errors
from selftaught.core.errors import BadInput, NothingNew, SelftaughtError
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.report.data import ReportData
from selftaught.report.page import write
from selftaught.round.adopt import adopt, adopt_roles
from selftaught.round.controls import stopped_early
from selftaught.round.curves import check_sinks
from selftaught.round.findings import scores
from selftaught.round.history import ended, next_round, page_of, recorded, records
from selftaught.round.intake import nothing_new, stage_of
from selftaught.round.job import begun
from selftaught.serving.backend import Backend
from selftaught.serving.engines.engine import EngineOptions
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.remote import EngineServer
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import STOPPED, RoundRun

LAST_LINES = 12
"""Lines of a log that are shown where no step said what went wrong."""

Event = Mapping[str, Any]
Watcher = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class RoundResult:
    """A round that came to an end, with its report data and its page."""

    key: RoundKey
    report: ReportData
    page: Path


@dataclass(frozen=True, slots=True)
class Skipped:
    """A round that found nothing new to train on, and why. The order ends with it; the next one tries that round."""

    key: RoundKey
    reason: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The round that is due and does not begin, because the campaign has reached a limit, and which."""

    key: RoundKey
    reason: str


@dataclass(frozen=True, slots=True)
class StoppedEarly:
    """The round that would come next and does not begin, because a control has ended the campaign, and why."""

    key: RoundKey
    reason: str


Ended = RoundResult | Skipped | LimitReached | StoppedEarly
"""What a campaign yields: rounds as they end, and at last perhaps why there is no other."""


class Campaign:
    """Runs an order on this machine. One process at a time per line."""

    def __init__(self, platform: Platform, order: CampaignOrder, watch: Watcher) -> None:
        self.platform, self.order, self.watch = platform, order, watch
        self.folder = platform.settings.home / "campaigns" / order.line / order.campaign

    def run(self) -> Iterator[Ended]:
        """Run the rounds that are ordered and not done yet, yielding each as it ends.

        When it was killed after its last round had ended, that round is reported again. Where nothing new was
        dropped the order ends, before any engine is started; where a limit is reached it stops, and the same order with
        a higher one continues. Where a control of the stage ends the campaign, the order is done.

        Raises RoundFailed when a round cannot end as it was drawn (the next call redraws it), BadInput when
        another process runs the line, UnderWay when Kubeflow Pipelines does, and other SelftaughtErrors after which the
        same call resumes where it stopped.
        """
        for stage in self.order.recipe.stages:
            _require_training(self.order.recipe, stage)
            _require_pipeline(self.order.pipeline_of(stage))
        for objective in (each for stage in self.order.recipe.stages for each in stage.train):
            objective.check()
        check_sinks(self.platform.settings.report_to)
        if self.platform.settings.kfp:  # this machine's own runs hold the line's lock
            require_idle(self.order.line, KfpRunner(self.platform).runs(self.order.line))
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked_line(self.folder.parent / "lock", self.order.line), _temporary(self._scratch), self._stopping():
            last = self._target()
            ended = self._over(self._next()) if len(self._ended()) < last else None
            if ended is not None:
                yield ended
            else:
                for ended in self._run_until(last):
                    yield ended
            self._close(done=not isinstance(ended, LimitReached))

    @contextmanager
    def _stopping(self) -> Generator[None]:
        """End the runs in MLflow that an error or Ctrl-C leaves, so that nothing there seems to be running."""
        try:
            yield
        except BaseException:
            with suppress(SelftaughtError):  # a registry that is silent
                tracker = self.platform.tracker
                open_rounds = [run.run for run in self._rounds() if not run.outcome]
                for run in (*open_rounds, tracker.campaign_run(self.order.line, self.order.campaign)):
                    tracker.finish(run, STOPPED)
            raise

    def _run_until(self, last: int) -> Iterator[Ended]:
        """Run rounds until there are `last`, nothing new is left, a limit is reached or a control ends them."""
        with self._engines():
            self.watch({"step": "adopt", "done": 0, "total": 1, "unit": "models"})
            adopt(self.platform, self.order.recipe, self.order.line)
            adopt_roles(self.platform, self.order.recipe, self.order.line)
            self.watch({"step": "adopt", "done": 1, "total": 1, "unit": "models"})
            rounds = self._ended()
            if len(rounds) == last:
                yield self._again(rounds[-1])
            while len(self._ended()) < last:
                key = self._next()
                result = self._over(key) or self._round(key)
                yield result
                if not isinstance(result, RoundResult):
                    return

    @contextmanager
    def _engines(self) -> Generator[None]:
        """Own engines while the rounds run; on a cluster the steps have their models served there."""
        settings = self.platform.settings
        if settings.serving != "local":
            yield
            return
        with (
            LocalEngines(
                settings.home, options=EngineOptions.from_settings(settings), waiting=self._starting, forkserver=True
            ) as engines,
            EngineServer(engines, settings.home) as owner,
        ):
            self.platform = replace(self.platform, settings=settings.model_copy(update={"engines": owner.address}))
            yield

    def _starting(self, name: str, seconds: float) -> None:
        self.watch({"step": f"engine {name}", "done": seconds, "total": 0, "unit": "s"})

    # Which rounds ---------------------------------------------------------------------------------------------------

    def _target(self) -> int:
        """How many rounds the campaign shall have: an order that was interrupted is resumed, not added to."""
        tracker, order = self.platform.tracker, self.order
        wanted = order.rounds or sum(stage.rounds for stage in order.recipe.stages)
        run = tracker.campaign_run(order.line, order.campaign)
        tracker.reopen(run)
        done = len(self._ended())
        start, _, count = (tracker.tags(run).get("selftaught.order") or "0:0").partition(":")
        if int(count) == wanted:
            return int(start) + wanted
        tracker.tag(run, {"selftaught.order": f"{done}:{wanted}", "selftaught.recipe": order.recipe.digest})
        return done + wanted

    def _close(self, done: bool) -> None:
        """End the campaign's run; the order stays where it is not `done`, or else the next one adds its rounds."""
        tracker = self.platform.tracker
        run = tracker.campaign_run(self.order.line, self.order.campaign)
        if done:
            tracker.tag(run, {"selftaught.order": ""})
        tracker.finish(run, "done" if done else STOPPED)

    def _rounds(self) -> list[RoundRun]:
        return self.platform.tracker.rounds(self.order.line, self.order.campaign)

    def _ended(self) -> list[RoundKey]:
        return ended(self.platform, self.order.line, self.order.campaign)

    def _next(self) -> RoundKey:
        return next_round(self.platform, self.order.recipe, self.order.line, self.order.campaign)

    def _over(self, key: RoundKey) -> Skipped | LimitReached | StoppedEarly | None:
        """Why the round `key` that is due does not begin; None where it does, or was begun before."""
        if begun(self.platform, key) is not None:
            return None
        if reason := self._limit():
            return LimitReached(key, reason)
        if reason := stopped_early(self.platform, self.order.recipe, key):
            return StoppedEarly(key, reason)
        reason = nothing_new(self.platform, self.order.recipe, key)
        return Skipped(key, reason) if reason else None

    def _limit(self) -> str:
        """Which limit the campaign's rounds have reached; no record is read where there is none."""
        limits = self.order.limits
        if limits == Limits():
            return ""
        rounds = [record.round for _, record in records(self.platform, self.order.line, self.order.campaign)]
        return limits.reached(rounds) if rounds else ""

    def _again(self, key: RoundKey) -> RoundResult:
        found = page_of(self.platform, key)
        folder = self._folder(key)
        page = folder / "report.html"
        folder.mkdir(exist_ok=True)
        write(found, page)
        self._tidy(folder, page)
        return RoundResult(key, found, page)

    def _folder(self, key: RoundKey) -> Path:
        return round_folder(self.platform.settings.home, key)

    @property
    def _scratch(self) -> Path:
        return scratch(self.platform.settings.home, self.order.line)

    # One round ------------------------------------------------------------------------------------------------------

    def _round(self, key: RoundKey) -> RoundResult | Skipped:
        folder = self._folder(key)
        self.watch({"step": "round", "done": key.number, "total": 0, "unit": ""})
        self._warm(stage_of(self.order.recipe, key.number).sample_from)
        ended = self._pipeline(key, folder)
        if ended.state != "SUCCEEDED" or recorded(self.platform, key) is None:
            failure = self._failure(key, folder, ended.reason)
            if isinstance(failure, NothingNew):  # the batches went while the pipeline was being started
                return Skipped(key, str(failure))
            raise failure
        return RoundResult(key, page_of(self.platform, key), self._page(folder))

    def _warm(self, alias: Any) -> None:
        """Start the engine that sampling will ask for while the tasks are being prepared."""
        version = self.platform.tracker.resolve(self.order.line, alias)
        if version is not None:
            asked = (self.platform.serving(), self.order.line, version.digest)
            threading.Thread(target=_quietly, args=asked, daemon=True).start()

    def _pipeline(self, key: RoundKey, folder: Path) -> RunStatus:
        """Run the compiled pipeline to its end, handing on the events in `folder`."""
        runner = LocalRunner(self.platform)
        run = runner.start(key, self.order)
        try:
            with (folder / "run" / "events.jsonl").open(encoding="utf-8") as lines:
                while True:
                    found = runner.status(run)
                    for event in _objects(lines):
                        self.watch(event)
                    if not found.active:
                        return found
                    time.sleep(0.2)
        finally:
            runner.stop(run)

    def _failure(self, key: RoundKey, folder: Path, reason: str) -> SelftaughtError:
        """What the failed step reported, what was measured, and where the log is.

        Where no step could tell, how the pipeline ended, and its last words.
        """
        log = folder / "log.txt"
        error = _recorded_error(folder / "run" / "errors.jsonl")
        if isinstance(error, NothingNew):
            return error
        if error is not None:
            runs = [run.run for run in self._rounds() if run.key == key]
            measured = [scores(self.platform.tracker.metrics(run)) for run in runs]
            return type(error)(f"{error}{''.join(measured)}\n  log: {log}")
        return SelftaughtError(
            f"round {key.number} {reason or ENDED_EARLY}. Rerun the same command to resume. "
            f"The end of its log, {log}:\n{_end_of(log)}"
        )

    def _page(self, folder: Path) -> Path:
        made = next((folder / "run" / "files").rglob("report/page"))
        page = folder / "report.html"
        shutil.copyfile(made, page)
        self._tidy(folder, page)
        return page

    def _tidy(self, folder: Path, page: Path) -> None:
        """The page is the line's newest now; the run's own files go, what matters of them is in the store."""
        shutil.copyfile(page, self.folder.parent / "report.html")
        shutil.rmtree(folder / "run", ignore_errors=True)


def _quietly(backend: Backend, line: str, digest: str) -> None:
    """Deploy ahead of time; the step that needs the engine asks again and gets any failure."""
    try:
        backend.deploy(line, digest)
    except SelftaughtError:
        return


def _recorded_error(path: Path) -> SelftaughtError | None:
    """The first error that a step recorded in `path`, as an exception."""
    if not path.exists():
        return None
    for error in _objects(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        kind = getattr(errors, error["kind"], SelftaughtError)
        return kind(f"{error['step']}: {error['message']}")
    return None


def _objects(lines: Iterable[str]) -> Iterator[Event]:
    """What steps wrote, an object a line; a full disk may have cut one off."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)


def _end_of(log: Path) -> str:
    """The last lines of a log that say anything."""
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in said[-LAST_LINES:]) or "  (nothing)"


def _require_training(recipe: Recipe, stage: Stage) -> None:
    if not stage.train:
        raise BadInput(
            f"{recipe.name}: stage {stage.name} trains nothing, so there is no round to run. Measure a model with it: "
            f"selftaught evaluate {recipe.policy} recipes/{recipe.name}.yaml"
        )


def _require_pipeline(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"{path}: no compiled pipeline. Run `selftaught compile` in a checkout, or give --pipelines.")


@contextmanager
def _temporary(folder: Path) -> Generator[Path]:
    """Make `folder` again for the temporary files of a run (kfp leaves its own behind), and remove it with all of them.

    What a killed run left goes with the line's next one; the caller holds the line's lock.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def locked_line(path: Path, line: str) -> Generator[None]:
    """Hold the line's lock. Raises BadInput when another process has it; the kernel frees it when that one dies."""
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                f"{line}: another process is running this line. Wait for it, or choose another --line."
            ) from None
        yield
