"""Where a step meets the world: the only code that turns an error into words, an exit code and a record.

A component's body runs inside `step`: what a user can fix is printed as its message alone, a bug with its traceback;
both are also appended to the run's error file, because the pipeline's own failure text says little. What libraries log
of each of their requests stays out of the task's log, which is the step's.
"""

import json
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from selftaught.core.errors import RoundFailed, SelftaughtError, StoreError
from selftaught.core.processes import die_with_parent
from selftaught.platform import Platform
from selftaught.round.history import give_up, too_far
from selftaught.round.job import Job
from selftaught.round.notify import notify_failed
from selftaught.settings import variable

ERRORS = "SELFTAUGHT_ERRORS"
"""Environment variable: the file that failures are appended to, one JSON object a line."""

_TALKATIVE = (
    *("httpx", "httpcore", "openai", "urllib3", "kubernetes"),
    *("boto3", "botocore", "s3transfer"),
    *("alembic", "datasets"),
)
"""Loggers of libraries that say at level INFO what each request, credential and file was."""


@contextmanager
def step(name: str, job: str = "") -> Generator[None]:
    """Run a step: it dies with the pipeline that started it, its errors are reported once, and its log is its own.

    `job` is the file of the round's job, where it is fixed: a round that would fail again as it was drawn ends here.
    """
    if ERRORS in os.environ:
        die_with_parent()
    _quieten()
    begin = time.monotonic()
    try:
        yield
    except RoundFailed as failure:
        if job:
            _give_up(Job.read(job), failure)
        _fail(name, "RoundFailed", str(failure))
    except SelftaughtError as error:
        _fail(name, type(error).__name__, str(error))
    except OSError as error:
        found = StoreError(
            f"{error.filename or _anywhere()}: {error.strerror or error}. "
            "Free disk space or fix the permissions, then run again."
        )
        traceback.print_exc()
        _fail(name, type(found).__name__, str(found))
    except Exception:  # noqa: BLE001 (a bug: its traceback is the message)
        traceback.print_exc()
        _fail(name, "Bug", traceback.format_exc())
    print(f"{name}: done in {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)


def _give_up(job: Job, failure: RoundFailed) -> None:
    """End the round, unless it has made the champion by now: then the same run again ends it as promoted."""
    with suppress(SelftaughtError):  # a registry that is silent must not keep the failure from being reported
        platform = Platform.open()
        if too_far(platform, job.key, job.run):
            return
        give_up(platform, job.key, job.run, str(failure))
    notify_failed(job.key, job.recipe.name, job.run, str(failure))


def _quieten() -> None:
    """KFP's executor has set the root logger to INFO, for all libraries: back to warnings for those that tell much."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _anywhere() -> str:
    """Where a file is of which the system gives no name: one that is open, on a full disk."""
    return f"a file below {os.environ.get(variable('home'), 'the home')} or {tempfile.gettempdir()}"


def _fail(step: str, kind: str, message: str) -> None:
    print(f"{step}: {message}", file=sys.stderr, flush=True)
    if path := os.environ.get(ERRORS):
        with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:  # a full disk: the log may have room
            file.write(json.dumps({"step": step, "kind": kind, "message": message}) + "\n")
    raise SystemExit(1)
