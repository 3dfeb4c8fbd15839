"""The rounds of a line: those that were planned, and those that have come to an end, as their reports recorded them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache

from pydantic import ValidationError

from selftaught.core.errors import BadInput, RoundFailed
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.report.data import ReportData, RoundReport
from selftaught.round.job import Job, Plan, begun, plan_key, round_name
from selftaught.state.claims import parse_claim
from selftaught.state.tracking import ABANDONED, RoundRun, Tracker, round_title

ENDED = ("promoted", "refused")
"""The outcomes that end a round; one that failed is drawn anew."""
GONE = ("failed", ABANDONED)
"""The outcomes of attempts that nobody goes on with: the next attempt is drawn anew."""


def record_key(name: str) -> str:
    """The claim that holds a finished round's report data; `name` is the job's."""
    return f"rounds/{name}"


def planned(platform: Platform, line: str) -> dict[str, Plan]:
    """The plan of every attempt at every round of `line`, by the round's name, oldest first."""
    claims = {key: platform.store.claimed(key) for key in platform.store.claims(plan_key(line))}
    plans = [plan for key, value in claims.items() if value and (plan := plan_of(key, value)) is not None]
    return {plan.name: plan for plan in sorted(plans, key=lambda plan: plan.started)}


def plan_of(key: str, value: bytes) -> Plan | None:
    """The plan that the claim `key` holds; None, with a word, where it holds none or that of another round.

    Whoever can write to the store can leave anything there, which must not stop the line.
    """
    with suppress(ValidationError):
        plan = Plan.model_validate_json(value)
        if plan_key(plan.name) == key:
            return plan
    _pass_over(key)
    return None


@cache
def _pass_over(key: str) -> None:
    logging.getLogger(__name__).warning("claims/%s: no plan of that round, so it is passed over. Remove it.", key)


def unfinished(platform: Platform, line: str) -> Iterator[Plan]:
    """The plans of `line` whose rounds are neither recorded nor drawn anew."""
    for name, plan in planned(platform, line).items():
        told = platform.store.claimed(record_key(name)) is not None
        if not told and platform.tracker.outcome(plan.run) not in GONE:
            yield plan


def history(platform: Platform, job: Job) -> Iterator[RoundReport]:
    """The rounds of the job's campaign before it, oldest first."""
    for past, told in told_rounds(platform, job.line, job.campaign):
        if (past.round, past.attempt) < (job.round, job.attempt):
            yield told


def told_rounds(platform: Platform, line: str, campaign: str) -> Iterator[tuple[RoundRun, RoundReport]]:
    """Every round of the campaign that has come to an end, with what was told of it, oldest first.

    The newest record has all that came before it, so it alone is read.
    """
    told = newest(platform, line, campaign)
    ended = {(report.round, report.attempt - 1): report for report in (told.rounds if told else ())}
    for past in platform.tracker.rounds(line, campaign):
        if report := ended.get((past.round, past.attempt)):
            yield past, report


def recorded(platform: Platform, line: str, campaign: str, round: int, attempt: int) -> ReportData | None:
    """The report data of one attempt at one round, or None when it has not come to an end."""
    key = record_key(round_name(line, campaign, round, attempt))
    told = platform.store.claimed(key)
    return None if told is None else parse_claim(platform.store, key, told, ReportData)


def due(runs: Sequence[RoundRun]) -> tuple[int, int]:
    """Round and attempt that come after `runs` (oldest first).

    The one that was interrupted, a new attempt at one that failed or was abandoned, or the next.
    """
    if not runs:
        return 1, 0
    last = runs[-1]
    if last.outcome in ENDED:
        return last.round + 1, 0
    return last.round, last.attempt + (last.outcome in GONE)


def next_round(platform: Platform, recipe: Recipe, line: str, campaign: str) -> tuple[int, int]:
    """Round and attempt that `recipe` runs: the one that is due; one that was begun with another recipe has failed."""
    number, attempt = due(platform.tracker.rounds(line, campaign))
    plan = begun(platform, round_name(line, campaign, number, attempt))
    if plan is None or plan.recipe.digest == recipe.digest:
        return number, attempt
    platform.tracker.finish(plan.run, "failed")
    return number, attempt + 1


def give_up(tracker: Tracker, run: str, failure: RoundFailed) -> None:
    """End a round that would fail again as it was drawn; the next call draws it anew."""
    tracker.tag(run, {"selftaught.failure": str(failure)[:4000]})
    tracker.finish(run, "failed")


def newest(platform: Platform, line: str, campaign: str) -> ReportData | None:
    """The report data of the campaign's last round that has come to an end."""
    found = (
        recorded(platform, line, campaign, past.round, past.attempt)
        for past in reversed(platform.tracker.rounds(line, campaign))
    )
    return next((told for told in found if told is not None), None)


def told_last(platform: Platform, line: str, campaign: str = "") -> tuple[str, ReportData]:
    """A campaign, and what was told of its last finished round; the line's one with any unless it is named.

    Raises BadInput when there is none, with what ended the last attempt at one, or when there is more than one.
    """
    campaigns = [campaign] if campaign else platform.tracker.campaigns(line)
    found = {each: told for each in campaigns if (told := newest(platform, line, each)) is not None}
    if not found:
        of = f"campaign '{campaign}' has" if campaign else "has"
        raise BadInput(
            f"{line}: {of} no finished round. Finish one with `selftaught run`, or name another --campaign."
            + "".join(f"\n  {words}" for each in campaigns if (words := failed_last(platform, line, each)))
        )
    if len(found) > 1:
        raise BadInput(
            f"{line}: several campaigns have finished rounds ({', '.join(found)}). Name one with --campaign."
        )
    return next(iter(found.items()))


def failed_last(platform: Platform, line: str, campaign: str) -> str:
    """What ended the campaign's last attempt at a round, where that attempt failed; else nothing."""
    last = next(reversed(platform.tracker.rounds(line, campaign)), None)
    if last is None or last.outcome != "failed":
        return ""
    return f"{round_title(campaign, last.round, last.attempt)} failed: {last.failure or 'see its run in MLflow'}"
