"""Giving a round up: it stays unfinished for ever otherwise, and whatever it needs is kept for it.

An abandoned round has ended without a decision. The next attempt is redrawn, its drops are as new as before, and
retention takes what it made. That nothing of it runs any more is for the caller to know.
"""

from collections.abc import Iterator

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.round.history import too_far
from selftaught.round.job import Job
from selftaught.state.ledger import EndEntry, RoundEnd
from selftaught.state.tracking import ABANDONED, STOPPED, RoundRun


def abandon(platform: Platform, line: str, campaign: str) -> RoundRun:
    """Give up the round of `campaign` that is not finished.

    Raises BadInput when there is none, or when it has come so far that resuming it only ends it.
    """
    found = [run for run in platform.tracker.rounds(line, campaign) if run.outcome in ("", STOPPED)]
    if not found:
        known = ", ".join(platform.tracker.campaigns(line)) or "none"
        raise BadInput(f"{line}: campaign '{campaign}' has no round that is not finished.\n  campaigns: {known}")
    if so_far := too_far(platform, found[-1].key, found[-1].run):
        raise BadInput(f"{line}: {so_far}. Submit it again, or run it: it will finish in moments.")
    _end(platform, found[-1], "given up by hand")
    return found[-1]


def abandon_old(platform: Platform, line: str, before: float) -> tuple[str, ...]:
    """Give up every round of `line` that began `before` (seconds since the epoch) and did not end; returns their names.

    One that only has to be ended is left to be resumed.
    """
    return tuple(_abandoned(platform, line, before))


def _abandoned(platform: Platform, line: str, before: float) -> Iterator[str]:
    for campaign in platform.tracker.campaigns(line):
        for run in platform.tracker.rounds(line, campaign):
            old = run.outcome in ("", STOPPED) and run.began < before
            if old and not too_far(platform, run.key, run.run):
                _end(platform, run, "not finished for too long")
                yield run.key.name


def require_kept(platform: Platform, job: Job) -> None:
    """Raise BadInput when the job's round was given up: what is left of it must change nothing any more."""
    end = platform.ledger.read(EndEntry(job.key), RoundEnd)
    if end or platform.tracker.outcome(job.run) == ABANDONED:  # where release 0.1 alone noted it
        how = f"{end.outcome} ({end.reason})" if end else ABANDONED
        raise BadInput(f"{job.name}: has ended: {how}. Submit the line's next round, which draws its tasks again.")


def _end(platform: Platform, run: RoundRun, why: str) -> None:
    platform.ledger.write(EndEntry(run.key), RoundEnd(outcome="abandoned", reason=why))
    platform.tracker.tag(run.run, {"selftaught.abandoned": why})
    platform.tracker.finish(run.run, ABANDONED)
