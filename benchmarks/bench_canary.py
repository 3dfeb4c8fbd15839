"""Promotion by steps, some hundred times: which versions come through, after how long, and who was failed meanwhile?

The route, its rule and the engines' counting are the platform's own; the clock, the gateway and the users are made up:
requests come at random (Poisson), each is drawn by the shares and answered with an error at a rate.
Usage: `python benchmarks/bench_canary.py [--days 400] [--table-days 100]`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from selftaught.cluster.naming import version_name
from selftaught.core.errors import RoundFailed, Unavailable
from selftaught.serving.middleware.counting import HEADER, Counting
from selftaught.serving.routes import gateway
from selftaught.serving.routes.canary import Pod, answered
from selftaught.serving.routes.gateway import GatewayRoute
from selftaught.settings import Settings

OLD, NEW = "a" * 64, "b" * 64
LINE = "line"


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": scope["status"]})


async def _nothing(message: Any) -> None: ...


class Engine:
    """A version's one pod, which counts as the engines do."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counting = Counting(_answers, self._registry)
        self._read: tuple[str, Pod | None] = ("", None)

    def ask(self, mark: str, status: int) -> None:
        """One request; with a mark it came through the gateway."""
        headers = [(HEADER.encode(), mark.encode())] if mark else []
        scope = {"type": "http", "method": "POST", "headers": headers, "status": status}
        if mark:
            self._read = ("", None)
        answer = self._counting(scope, _nothing, _nothing)  # pyright: ignore[reportArgumentType]
        try:
            answer.__await__().send(None)
        except StopIteration:
            return

    def pod(self, mark: str) -> Pod:
        """What a look finds; reread when something was counted."""
        known, pod = self._read
        if known != mark or pod is None:
            counted = answered(generate_latest(self._registry).decode(), mark)
            assert counted is not None
            pod = Pod(0, counted)
            self._read = (mark, pod)
        return pod


@dataclass
class Day:
    """A promotion among users: `rate` requests a minute through the gateway, errors by version.

    `inside` is what clients in the cluster ask of the champion, in requests a minute, all answered. `repeats` is how
    often a client sends a request; with `sticky` all of them go to one version.
    """

    drawing: np.random.Generator
    rate: float
    new: float
    champion: float
    inside: float = 0.0
    repeats: int = 1
    drift: Callable[[float], float] = lambda seconds: 0.0
    """What all users err more, by the seconds since the beginning."""
    now: float = 0.0
    share: float = 0.0
    mark: str = ""
    failed: int = 0
    asked: int = 0
    """Requests that came to the new version."""
    came: list[int] = field(default_factory=list[int])
    """How many these were at the beginning of each step."""
    engines: Mapping[str, Engine] = field(
        default_factory=lambda: {version_name(LINE, digest): Engine() for digest in (OLD, NEW)}
    )

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Users ask meanwhile."""
        old, new = self.engines.values()
        for _ in range(self.drawing.poisson(self.inside * seconds / 60)):
            old.ask("", 200)
        for _ in range(self.drawing.poisson(self.rate * seconds / 60 / self.repeats)):
            tried, luck = self.drawing.random() < self.share, self.drawing.random()
            wrong = luck < (self.new if tried else self.champion) + self.drift(self.now)
            for _ in range(self.repeats):
                (new if tried else old).ask(self.mark, 500 if wrong else 200)
            self.asked += self.repeats * tried
            self.failed += self.repeats * (wrong and tried)
        self.now += seconds


class Route(GatewayRoute):
    """The gateway's route, with no cluster behind it."""

    def __init__(self, day: Day, settings: Settings) -> None:
        super().__init__(None, settings, lambda words: None)  # pyright: ignore[reportArgumentType]
        self._day = day

    def _weigh(self, line: str, shares: Mapping[str, int], mark: str) -> None:
        self._day.share, self._day.mark = shares.get(version_name(LINE, NEW), 0) / 100, mark
        self._day.came.append(self._day.asked)

    def _lead(self, line: str, name: str) -> None: ...


@contextmanager
def _in(day: Day) -> Iterator[None]:
    def pods(cluster: None, version: str, mark: str) -> dict[str, Pod]:
        return {version: day.engines[version].pod(mark)}

    with patch.object(gateway, "time", day), patch.object(gateway, "pods", pods):
        yield


def settings(**more: Any) -> Settings:
    """The settings that a chart has by default."""
    return Settings(home=Path(), store="store", tracking_uri="none", **more)


def tried(day: Day, settings: Settings) -> str:
    """What became of the version: promoted, failing, unseen or unproven."""
    with _in(day):
        try:
            Route(day, settings).introduce(LINE, NEW, OLD)
        except Unavailable:
            return "unseen"
        except RoundFailed as refused:
            return "failing" if "more errors" in str(refused).partition("rolled back: more")[2] else "unproven"
    return "promoted"


def days(count: int, **world: Any) -> list[tuple[str, Day]]:
    """So many promotions in worlds of one kind, drawn from a seed that follows from it."""
    configured = settings()
    made = [Day(np.random.default_rng([number, 13]), **world) for number in range(count)]
    return [(tried(day, configured), day) for day in made]


def row(name: str, found: list[tuple[str, Day]]) -> str:
    """A line of the table: how many were rolled back and why, the minutes, and the users that were failed."""
    ends = Counter(end for end, _ in found)
    back = 1 - ends["promoted"] / len(found)
    minutes = [day.now / 60 for _, day in found]
    why = ", ".join(f"{end} {count}" for end, count in ends.items() if end != "promoted")
    failed = median(day.failed for _, day in found)
    return f"{name:58} {back:6.3f}  {median(minutes):6.1f} min ({max(minutes):5.1f})  {failed:5.0f} failed  {why}"


def main() -> None:
    """Print the figures that docs/operations.md gives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--table-days", type=int, default=100)
    options = parser.parse_args()
    print(f"rolled back, of {options.days}; median time (longest); users' requests that the new version failed")
    for name, world in {
        "60/min, 30 % errors, in-cluster 600/min": {"rate": 60, "new": 0.3, "champion": 0.01, "inside": 600},
        "60/min, equal (1 %), in-cluster 600/min": {"rate": 60, "new": 0.01, "champion": 0.01, "inside": 600},
        "60/min, equal (20 %), in-cluster 600/min": {"rate": 60, "new": 0.2, "champion": 0.2, "inside": 600},
        "60/min, equal, 20 % more errors for all from minute 8 on": {
            "rate": 60,
            "new": 0.01,
            "champion": 0.01,
            "drift": lambda seconds: 0.2 * (seconds > 480),
        },
        "60/min, sticky clients that send each request 5 times, 10 %": {
            "rate": 60,
            "new": 0.1,
            "champion": 0.1,
            "repeats": 5,
        },
        "20/min, equal (1 %)": {"rate": 20, "new": 0.01, "champion": 0.01},
        "5/min, equal (1 %)": {"rate": 5, "new": 0.01, "champion": 0.01},
    }.items():
        print(row(name, days(options.days, **world)), flush=True)
    print(f"\nrolled back, of {options.table_days}, champion 1 % errors")
    rates = (0.1, 0.2, 0.3, 0.5, 1.0)
    print("requests/min  " + "  ".join(f"{rate:>6.0%}" for rate in rates))
    for asked in (20, 60, 100, 300, 1000):
        found = [days(options.table_days, rate=asked, new=rate, champion=0.01) for rate in rates]
        shares = (sum(end != "promoted" for end, _ in each) / len(each) for each in found)
        print(f"{asked:12}  " + "  ".join(f"{share:6.3f}" for share in shares), flush=True)


if __name__ == "__main__":
    main()
