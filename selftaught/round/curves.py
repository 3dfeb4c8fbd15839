"""The curve of a training while it runs: in MLflow, and in TensorBoard or Weights & Biases where settings name them.

A training appends the figures of every step to a file, wherever it runs (`Work.curve`). Who started it follows that
file and shows what is new, in a thread for each sink: none can slow the training, and one that fails is reported once,
asked again every few seconds, and not waited for in the end. A training that resumes after a kill continues in its file
and in the same run of each sink, where a step is shown once. The training's final result is not reported here.
"""

import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from typing_extensions import override

from selftaught.core.errors import BadInput, without_credentials
from selftaught.state.tracking import Tracker

EVERY = 5.0
"""Seconds from one look at the file to the next."""
FAREWELL = 10.0
"""Seconds that a sink may take for the last points, once the training has ended."""
OVERALL = ("tokens_per_second",)
"""Figures of the training so far: the record has those of all of it."""
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of one step."""

    step: int
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Curve:
    """What a curve is of: the `run` in MLflow, its `title` elsewhere, the role trained, and the steps before it."""

    run: str
    title: str
    role: str
    before: int = 0


class Sink(Protocol):
    """Somewhere that shows curves. Both methods may take their time, and raise whatever they like."""

    name: ClassVar[str]

    def show(self, points: Sequence[Point]) -> None:
        """Show `points`, which come in the order of their steps; those that could not be shown come again."""
        ...

    def close(self) -> None:
        """There are no more points."""
        ...


@contextmanager
def followed(file: Path, places: Iterable[Sink]) -> Generator[None]:
    """While open, what is appended to `file` is shown in `places`."""
    followers = [Follower(file, sink) for sink in places]
    for follower in followers:
        follower.start()
    try:
        yield
    finally:
        for follower in followers:
            follower.ended.set()
        for follower in followers:
            follower.join(FAREWELL)


def check_sinks(names: Iterable[str]) -> None:
    """Raise BadInput when a package that a sink needs is missing."""
    for name in names:
        if importlib.util.find_spec(PACKAGES[name]) is None:
            raise BadInput(
                f"report_to: {name} is not installed here. Run: pip install 'selftaught[curves]', or take it out of "
                "SELFTAUGHT_REPORT_TO (or report_to in selftaught.toml)."
            )


def places(names: Iterable[str], tracker: Tracker, home: Path, curve: Curve) -> list[Sink]:
    """MLflow, and those of `names` (`tensorboard`, `wandb`). Raises BadInput when a package is missing."""
    check_sinks(names)
    others = {"tensorboard": InTensorBoard, "wandb": InWandb}
    return [InMlflow(tracker, curve), *(others[name](home, curve) for name in names)]


class Follower(threading.Thread):
    """Shows what is appended to `file` in `sink`, until `ended` is set and what is there then is shown."""

    def __init__(self, file: Path, sink: Sink) -> None:
        super().__init__(name=f"curve in {sink.name}", daemon=True)
        self.ended = threading.Event()
        self._file, self._sink = file, sink
        self._last, self._reported = 0, False

    @override
    def run(self) -> None:
        while not self.ended.wait(EVERY):
            self.look()
        self.look()
        self._safely(self._sink.close)

    def look(self) -> None:
        """Show what is new."""
        points = list(self._new())
        if points and self._safely(partial(self._sink.show, points)):
            self._last = points[-1].step

    def _safely(self, ask: Callable[[], None]) -> bool:
        """Whether the sink has done what it is asked; what it raises is reported."""
        try:
            ask()
        except Exception as error:  # noqa: BLE001 (a sink is somebody else's program; the training is what matters)
            self._report_once(error)
            return False
        return True

    def _new(self) -> Iterator[Point]:
        """The points after those that were shown; a step that was trained again after a kill is the first one's."""
        last = self._last
        for record in _lines(self._file):
            if record["step"] > last:
                last = record["step"]
                yield Point(last, {k: v for k, v in record.items() if k not in ("step", *OVERALL)})

    def _report_once(self, error: Exception) -> None:
        if not self._reported:
            print(
                f"{self._sink.name}: cannot show the curve of this training ({without_credentials(str(error))}). The "
                "training continues; retrying.",
                file=sys.stderr,
                flush=True,
            )
        self._reported = True


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """The objects in `file`, of which a full disk may have cut one off; none where there is no file yet."""
    with suppress(FileNotFoundError), file.open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                yield json.loads(line)


@dataclass(slots=True)
class InMlflow:
    """Metrics `train.loss` … of the round's run, or `train.<role>.loss` where another model than the policy is trained.

    What an earlier attempt showed stays: nothing can be taken out of a metric.
    """

    name: ClassVar[str] = "MLflow"
    tracker: Tracker
    curve: Curve
    _there: dict[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]], init=False)

    def __post_init__(self) -> None:
        """Import MLflow before there are threads: the loops import much of the same."""
        importlib.import_module("mlflow")

    def show(self, points: Sequence[Point]) -> None:
        """Log what no earlier attempt has logged."""
        within = "train" if self.curve.role == "policy" else f"train.{self.curve.role}"
        for name in sorted({name for point in points for name in point.figures}):
            there = self._known(f"{within}.{name}")
            curve_values = [
                (self.curve.before + point.step, point.figures[name]) for point in points if name in point.figures
            ]
            self.tracker.log_points(
                self.curve.run, f"{within}.{name}", [each for each in curve_values if each[0] not in there]
            )

    def _known(self, name: str) -> frozenset[int]:
        if name not in self._there:
            self._there[name] = self.tracker.steps(self.curve.run, name)
        return self._there[name]

    def close(self) -> None:
        """Nothing is held back."""


class InTensorBoard:
    """An event file below `<home>/tensorboard/<line>/…/<role>`; what an earlier attempt wrote there is purged."""

    name: ClassVar[str] = "TensorBoard"

    def __init__(self, home: Path, curve: Curve) -> None:
        self._folder, self._before = home / "tensorboard" / curve.title / curve.role, curve.before
        self._made: Any = None
        self._writers = importlib.import_module("torch.utils.tensorboard")

    def show(self, points: Sequence[Point]) -> None:
        """Write them, and have TensorBoard see them."""
        if self._made is None:
            first = self._before + points[0].step
            self._made = self._writers.SummaryWriter(str(self._folder), purge_step=first)
        for point in points:
            for name, value in point.figures.items():
                self._made.add_scalar(f"train/{name}", value, self._before + point.step)
        self._made.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._made is not None:
            self._made.close()


class InWandb:
    """A run of W&B's project `selftaught` (or WANDB_PROJECT): figures alone, nothing of the machine or the code.

    W&B passes over steps that its run has already. The key is W&B's own matter (WANDB_API_KEY, `wandb login`);
    WANDB_MODE=offline keeps the run below `<home>/wandb`.
    """

    name: ClassVar[str] = "W&B"

    def __init__(self, home: Path, curve: Curve) -> None:
        self._home, self._curve = home, curve
        self._made: Any = None
        self._wandb = importlib.import_module("wandb")

    def show(self, points: Sequence[Point]) -> None:
        """Log them."""
        if self._made is None:
            self._made = self._begun()
        for point in points:
            curve_values = {f"train/{name}": value for name, value in point.figures.items()}
            self._made.log(curve_values, step=self._curve.before + point.step)

    def _begun(self) -> Any:
        quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True}
        private = {"host": "", "x_disable_meta": True, "x_disable_stats": True, "x_save_requirements": False}
        self._home.mkdir(parents=True, exist_ok=True)
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "selftaught"),
            dir=str(self._home),
            id=f"{self._curve.run}-{self._curve.role}",
            name=f"{self._curve.title} {self._curve.role}",
            group=self._curve.title,
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(**quiet, **private),
        )

    def close(self) -> None:
        """End the run."""
        if self._made is not None:
            self._made.finish()
