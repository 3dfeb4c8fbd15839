"""Progress: events that steps append to a file, for anyone who watches the run.

One JSON object a line. A step runs in a process of its own (locally) or a pod (on a cluster), so progress travels
through a file or the log, never through memory. Drawing bars is the command line's business, showing curves that of
`selftaught.round.curves`.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Progress:
    """The progress of one step: call it with done and total. Writes at most one event every `every` seconds.

    Without a `path` it prints a line to standard error every 10 s, which is what a pod's log wants.
    """

    step: str
    path: Path | None = None
    unit: str = "tasks"
    every: float = 0.5
    _last: float = field(default=-1e9, init=False)

    def __call__(self, done: int, total: int, /, **values: float) -> None:
        now = time.monotonic()
        if done < total and now - self._last < (self.every if self.path else 10.0):
            return
        self._last = now
        self._emit({"step": self.step, "done": done, "total": total, "unit": self.unit, "time": time.time(), **values})

    def _emit(self, event: dict[str, float | int | str]) -> None:
        if self.path is None:
            print(_line(event), file=sys.stderr, flush=True)
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")


def _line(event: Mapping[str, float | int | str]) -> str:
    """`train: 12/40 steps loss=1.25`."""
    extras = {name: value for name, value in event.items() if name not in ("step", "done", "total", "unit", "time")}
    values = "".join(f" {name}={value:.6g}" for name, value in extras.items())
    return f"{event['step']}: {event['done']}/{event['total']} {event['unit']}{values}"


@dataclass(frozen=True, slots=True)
class Curve:
    """The figures of every step of a training, a JSON object a line of the file at `path`."""

    path: Path

    def __call__(self, done: int, total: int, /, **values: float) -> None:
        if values:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": done, **values}) + "\n")
