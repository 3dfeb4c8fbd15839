"""Waiting out what passes: a step whose store, tracking server, cluster or engine is away continues when it is back.

Kubeflow Pipelines tries nothing again that ended on its own, so what will be over in a minute must not end what took an
hour. A step resumes from its journal whenever it is called again, which is all that is done here: it is called again
until `Settings.patience` is over. What does not pass (a wrong secret, a bucket that is not there) ends it at once, and
so does what is beside a round (`submit`, the command line): a person waits there.
"""

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from selftaught.core.errors import Away
from selftaught.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

LONG = 60.0
"""Seconds after which a step that continued counts as having continued: the next outage has the entire patience again.
"""
OUTAGES = 10
"""Outages of one step at most: what ends it again and again after a while passes no more."""
PAUSES = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0)


def patient(run: Callable[P, R]) -> Callable[P, R]:
    """`run`, called again while what it needs is away; it has to resume from where it was, whenever it is called."""

    @wraps(run)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> R:
        outages, since, tries = 0, 0.0, 0
        while True:
            begin = time.monotonic()
            try:
                return run(*args, **kwargs)
            except Away as away:
                now = time.monotonic()
                if not outages or now - begin > LONG:
                    outages, since, tries = outages + 1, now, 0
                left = Settings.load().patience - (now - since)
                if left <= 0:
                    raise Away(f"{away} Waited for {now - since:.0f} s.") from away
                if outages > OUTAGES:
                    raise Away(f"{away} It was away {OUTAGES} times before.") from away
                print(f"waits for up to {left:.0f} s more: {away}", file=sys.stderr, flush=True)
                time.sleep(min(left, PAUSES[min(tries, len(PAUSES) - 1)]))
                tries += 1

    return waiting
