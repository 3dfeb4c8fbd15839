"""Live progress on a terminal: a bar a step with rate and time left, drawn from a run's events."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Event = Mapping[str, Any]


@contextmanager
def watcher(console: Console, to_json: Callable[[Event], None] | None) -> Generator[Callable[[Event], None]]:
    """What a campaign's events are handed to: bars on a terminal, plain lines elsewhere, JSON for machines."""
    if to_json:
        yield lambda event: to_json({"event": dict(event)})
    elif console.is_terminal:
        with _bars(console) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(console)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


class _Bars:
    """One bar a step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._known: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        step = str(event["step"])
        if step == "round":
            self._known.clear()
            self._bars.console.rule(f"round {event['done']}")
            return
        total = float(event["total"]) or None
        if step not in self._known:
            self._known[step] = self._bars.add_task(step, total=total, rate="")
        self._bars.update(self._known[step], completed=float(event["done"]), total=total, rate=_rate(event))


class _Lines:
    """A line a step at most every ten seconds, and one when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        step, now = str(event["step"]), time.monotonic()
        finished = event["total"] and event["done"] >= event["total"]
        if not finished and now - self._printed_at.get(step, -1e9) < 10:
            return
        self._printed_at[step] = now
        if step == "round":
            self._console.print(f"round {event['done']}")
            return
        of = f"/{event['total']:g}" if event["total"] else ""
        self._console.print(f"  {step}: {event['done']:.4g}{of} {event['unit']}  {_rate(event)}", highlight=False)


def _rate(event: Event) -> str:
    parts = [f"{event['tokens_per_second']:.0f} tok/s"] if "tokens_per_second" in event else []
    return "  ".join(parts + ([f"loss {event['loss']:.3f}"] if "loss" in event else []))
