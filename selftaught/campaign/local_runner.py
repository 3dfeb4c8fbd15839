"""Runs on this machine: the compiled pipeline in a process of its own (`local_pipeline`), a folder each.

The process dies with the one that started it, which owns the engines (`selftaught.campaign.local`). Other processes
know a run by the files in its folder, and may stop it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selftaught.campaign.order import CampaignOrder
from selftaught.campaign.runner import RunRef, RunStatus
from selftaught.core.environment import inherited
from selftaught.core.files import write_atomically
from selftaught.platform import Platform
from selftaught.round.step import ERRORS
from selftaught.state.round_key import RoundKey

ENDED_EARLY = "ended early, and no step reported why"


def round_folder(home: Path, key: RoundKey) -> Path:
    """Where the files of a round are: its page, its log, and in `run` those of a run that has not succeeded."""
    return home / "campaigns" / key.line / key.campaign / f"round-{key.number}-{key.attempt}"


def emptied(folder: Path) -> Path:
    """The folder of a run in the round's `folder`, without what an earlier one left there."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    (folder / "run").mkdir(parents=True)
    return folder / "run"


def scratch(home: Path, line: str) -> Path:
    """Where runs of `line` have their temporary files."""
    return home / "scratch" / f"tmp-{line}"


class LocalRunner:
    """Starts runs with the settings of `platform`, among which is the owner of the engines that their steps ask."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.home = platform, platform.settings.home
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, key: RoundKey, order: CampaignOrder) -> RunRef:
        """Start the pipeline in a process; its events are in `run/events.jsonl` of the round's folder."""
        order, folder = order.resumed(self.platform, key), round_folder(self.home, key)
        run, pipeline = emptied(folder), order.pipeline(key.number)
        arguments = json.dumps(order.arguments(key, order.recipe.model_dump_json()))
        program = [sys.executable, "-m", "selftaught.campaign.local_pipeline", str(pipeline), str(run / "files")]
        (run / "events.jsonl").touch()
        scratch(self.home, key.line).mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                [*program, arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(key),
            )
        self._started[str(process.pid)] = process
        write_atomically(run / "run.json", json.dumps({"pid": process.pid, "version": pipeline.stem}))
        return RunRef(str(process.pid), f"{key.line} {key.title}", str(folder), pipeline.stem)

    def environment(self, key: RoundKey) -> dict[str, str]:
        """The environment of the run of `key`: this process's settings, and where the run's own files are."""
        run = round_folder(self.home, key) / "run"
        settings = self.platform.settings.model_copy(update={"events": str(run / "events.jsonl")})
        own = {ERRORS: str(run / "errors.jsonl"), "TMPDIR": str(scratch(self.home, key.line))}
        return {**inherited(), **settings.environment(), **own}

    def status(self, run: RunRef) -> RunStatus:
        """How the run is. Of one that another process started and that has ended, only that it did not succeed."""
        if (process := self._started.get(run.id)) is None:
            state = "RUNNING" if _runs(run) else "FAILED"
            return RunStatus(run, state, _created(run))
        code = process.poll()
        if code is None:
            return RunStatus(run, "RUNNING", _created(run))
        return RunStatus(run, "FAILED" if code else "SUCCEEDED", _created(run), _reason(code))

    def stop(self, run: RunRef) -> None:
        """Kill the run if this process started it, or else ask it to end; the campaign that waits for it ends too."""
        if (process := self._started.get(run.id)) is not None:
            process.kill()
            process.wait()
        elif _runs(run):
            os.kill(int(run.id), signal.SIGTERM)

    def runs(self, line: str) -> list[RunStatus]:
        """Those whose files are still there: running, or failed and not tried again."""
        found = (self.home / "campaigns" / line).glob("*/round-*/run/run.json")
        return [self.status(_ref(line, path)) for path in found]


def _ref(line: str, path: Path) -> RunRef:
    """The run whose file `path` is."""
    said: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent.parent
    _, number, attempt = folder.name.split("-")
    key = RoundKey(line, folder.parent.name, int(number), int(attempt))
    return RunRef(str(said["pid"]), f"{line} {key.title}", str(folder), said["version"])


def _runs(run: RunRef) -> bool:
    """Whether the run's process is there: one that has its number and its files."""
    try:
        words = Path(f"/proc/{run.id}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(str(Path(run.experiment) / "run" / "files")) in words


def _created(run: RunRef) -> str:
    """When the run was started; empty where its files are gone."""
    file = Path(run.experiment) / "run" / "run.json"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(file.stat().st_mtime)) if file.exists() else ""


def _reason(code: int) -> str:
    """How a pipeline ended, in words; empty where it succeeded."""
    if code == -signal.SIGTERM:
        return "was stopped"
    if code < 0:
        return f"was killed (signal {-code})"
    return ENDED_EARLY if code else ""
