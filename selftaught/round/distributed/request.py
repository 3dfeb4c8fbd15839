"""One objective's training as data, done in this process or by several that torchrun starts; here on examples.

What is written, in which store and under which version, is the train step's business: processes share a folder and
know nothing else. They die with whoever started them, and one that ends ends all; the next attempt resumes from the
latest complete checkpoint.
"""

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from selftaught.blocks import Objective, ProgressSink, TrainContext, TrainResult
from selftaught.blocks.boundary import called
from selftaught.core import errors
from selftaught.core.errors import SelftaughtError, Unavailable
from selftaught.core.files import write_atomically
from selftaught.core.progress import Curve, Progress
from selftaught.recipe import OnAxis
from selftaught.records import Example, dataset

RESULT = TypeAdapter(TrainResult)


class TrainRequest(BaseModel, ABC):
    """The input of an objective but for what it learns from. `step` and `events` say where its progress goes."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    objective: Annotated[Objective, OnAxis("train")]
    model: Path
    out: Path
    scratch: Path
    seed: int
    step: str
    events: Path | None = None
    template: Mapping[str, JsonValue] = {}
    reference: Path | None = None

    @property
    def context(self) -> TrainContext:
        """What the objective is given beside the model and the examples."""
        return TrainContext(self.scratch, self.seed, self.report, self.template, self.reference)

    def run(self, processes: int = 1) -> TrainResult:
        """Train, in as many processes as are asked for where the objective can be shared.

        Raises as `Objective.train` does, and Unavailable when a process was killed.
        """
        self.scratch.mkdir(parents=True, exist_ok=True)
        if processes == 1 or not self.objective.parallel:
            return self.train()
        self.torchrun("--standalone", f"--nproc-per-node={processes}")
        return self.answer()

    @property
    def curve(self) -> Path:
        """The file that has the figures of every step, over all attempts at this training."""
        return self.scratch / "curve.jsonl"

    @property
    def report(self) -> ProgressSink:
        """Where the training says how far it is: to anyone who watches the run, and every step in the `curve`."""
        progress, curve = Progress(self.step, self.events, "steps"), Curve(self.curve)

        def report(done: int, total: int, /, **values: float) -> None:
            curve(done, total, **values)
            progress(done, total, **values)

        return report

    @abstractmethod
    def train(self) -> TrainResult:
        """Do this process's part of the training. Raises as the objective does."""

    def torchrun(self, *options: str) -> bool:
        """Train in the processes that torchrun starts with `options`; whether they ended well."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        for answer in (self._result, self._failure):
            answer.unlink(missing_ok=True)
        work = self.scratch / "work.json"
        work.write_text(self.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "selftaught.round.distributed.torchrun", str(work), *options]
        return subprocess.run(command, check=False).returncode == 0

    def answer(self) -> TrainResult:
        """What the processes said in the end. Raises what one of them did, or Unavailable when none said anything."""
        if self._result.exists():
            return RESULT.validate_json(self._result.read_bytes())
        if self._failure.exists():
            raise decode_error(self._failure.read_text(encoding="utf-8"))
        raise Unavailable(
            f"{self.step}: a training process ended (its last words are above; killed without a word: memory). "
            "Run again: it resumes from its latest checkpoint, if there is one."
        )

    def run_as_rank(self, first: bool) -> None:
        """Be one of several processes; the `first` leaves the result in the scratch folder, any why there is none."""
        try:
            result = self.train()
        except (SelftaughtError, OSError) as error:
            write_atomically(self._failure, encode_error(error))
            raise
        if first:
            write_atomically(self._result, RESULT.dump_json(result).decode())

    @property
    def _result(self) -> Path:
        return self.scratch / "result.json"

    @property
    def _failure(self) -> Path:
        return self.scratch / "failure"


class OfflineRequest(TrainRequest):
    """A training on `examples`, a data set."""

    kind: Literal["offline"] = "offline"
    examples: Path

    def train(self) -> TrainResult:
        """See `TrainRequest`."""
        examples = dataset.read(self.examples, Example)
        train = partial(self.objective.train, self.model, examples, self.out, self.context)
        return called(self.objective, "train", TrainResult, train)


def encode_error(error: Exception) -> str:
    """An error as another process can read it; see `decode_error`."""
    return f"{type(error).__name__}\n{error}"


def decode_error(text: str) -> Exception:
    """The error that another process encoded with `encode_error`."""
    kind, message = text.split("\n", 1)
    return getattr(errors, kind, OSError)(message)
