"""One objective's training as data, done in this process or by several that torchrun starts.

What is written, in which store and under which version, is the train step's business: processes share a folder and
know nothing else. They die with whoever started them, and one that ends ends all; the next attempt goes on from the
newest whole checkpoint.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, TypeAdapter

from selftaught import dataset, errors
from selftaught.blocks import Objective, TrainContext, TrainResult
from selftaught.errors import SelftaughtError, Unavailable
from selftaught.progress import Progress
from selftaught.recipe import OnAxis
from selftaught.records import Example

RESULT = TypeAdapter(TrainResult)


class Work(BaseModel):
    """What an objective is told. `step` and `events` say where its progress goes."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    objective: Annotated[Objective, OnAxis("train")]
    model: Path
    examples: Path
    out: Path
    scratch: Path
    seed: int
    step: str
    events: Path | None = None

    def done(self, processes: int = 1) -> TrainResult:
        """Train, in as many processes as are asked for where the objective can be shared.

        Raises as `Objective.train` does, and Unavailable when a process was killed.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self._shared(processes) if processes > 1 and self.objective.parallel else self._alone()

    def _alone(self) -> TrainResult:
        told = TrainContext(self.scratch, self.seed, Progress(self.step, self.events, "steps"))
        return self.objective.train(self.model, dataset.read(self.examples, Example), self.out, told)

    def _shared(self, processes: int) -> TrainResult:
        for answer in (self._result, self._failure):
            answer.unlink(missing_ok=True)
        work = self.scratch / "work.json"
        work.write_text(self.model_dump_json())
        threads = max(1, len(os.sched_getaffinity(0)) // processes)
        ended = subprocess.run(
            [sys.executable, "-m", "selftaught.round.torchrun", str(processes), str(work)],
            env={"OMP_NUM_THREADS": str(threads), **os.environ},
            check=False,
        )
        if ended.returncode == 0:
            return RESULT.validate_json(self._result.read_bytes())
        raise self._failed(processes)

    def as_a_process(self, first: bool) -> None:
        """Be one of several processes; the `first` leaves the result, or why there is none, in the scratch folder."""
        try:
            result = self._alone()
        except (SelftaughtError, OSError) as error:
            if first:
                self._failure.write_text(f"{type(error).__name__}\n{error}")
            raise
        if first:
            self._result.write_bytes(RESULT.dump_json(result))

    def _failed(self, processes: int) -> Exception:
        if self._failure.exists():
            kind, message = self._failure.read_text().split("\n", 1)
            return getattr(errors, kind, OSError)(message)
        return Unavailable(
            f"{self.step}: one of {processes} training processes ended (its last words are above; killed without a "
            "word: memory). Run again: it goes on from the newest checkpoint."
        )

    @property
    def _result(self) -> Path:
        return self.scratch / "result.json"

    @property
    def _failure(self) -> Path:
        return self.scratch / "failure"
