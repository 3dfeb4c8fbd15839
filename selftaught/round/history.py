"""The rounds of a line: those that were planned, and those that have come to an end, as their reports recorded them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache

from pydantic import ValidationError

from selftaught.core.errors import BadInput, StoreError
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.report.data import ReportData, RoundDetail, RoundRecord, RoundReport
from selftaught.round.job import Job, Plan, begun
from selftaught.serving.promotion import REPLACED
from selftaught.state.ledger import DetailEntry, EndEntry, PlanEntry, RecordEntry, RoundEnd
from selftaught.state.round_key import RoundKey
from selftaught.state.tracking import ABANDONED

ENDED = ("promoted", "refused", "trained")
"""The outcomes that end a round; one that failed is redrawn."""
GONE = ("failed", ABANDONED)
"""The outcomes of attempts that are not resumed: the next attempt is redrawn."""


def planned(platform: Platform, line: str) -> dict[RoundKey, Plan]:
    """The plan of every attempt at every round of `line`, oldest first."""
    claims = {key: platform.store.claimed(key) for key in platform.store.claims(f"{PlanEntry.FOLDER}/{line}")}
    plans = [plan for key, value in claims.items() if value and (plan := plan_of(key, value)) is not None]
    return {plan.key: plan for plan in sorted(plans, key=lambda plan: plan.started)}


def plan_of(key: str, value: bytes) -> Plan | None:
    """The plan that the claim `key` holds; None, with a word, where it holds none or that of another round.

    Whoever can write to the store can leave anything there, which must not stop the line.
    """
    with suppress(ValidationError):
        plan = Plan.model_validate_json(value)
        if PlanEntry(plan.key).key == key:
            return plan
    _pass_over(key)
    return None


@cache
def _pass_over(key: str) -> None:
    logging.getLogger(__name__).warning("claims/%s: no plan of that round, so it is passed over. Remove it.", key)


def unfinished(platform: Platform, line: str) -> Iterator[Plan]:
    """The plans of `line` whose rounds are neither recorded nor redrawn."""
    ended = {entry.round for kind in (RecordEntry, EndEntry) for entry in platform.ledger.entries(kind, line)}
    for key, plan in planned(platform, line).items():
        if key not in ended and platform.tracker.outcome(plan.run) not in GONE:  # where release 0.1 alone noted it
            yield plan


def history(platform: Platform, job: Job) -> Iterator[RoundReport]:
    """The rounds of the job's campaign before it, oldest first."""
    return (record.round for key, record in records(platform, job.line, job.campaign) if key < job.key)


def records(platform: Platform, line: str, campaign: str) -> Iterator[tuple[RoundKey, RoundRecord]]:
    """Every round of the campaign that has come to an end, oldest first; one record is in memory at a time."""
    for key in platform.ledger.rounds(RecordEntry, line, campaign):
        if (record := recorded(platform, key)) is not None:
            yield key, record


def recorded(platform: Platform, key: RoundKey) -> RoundRecord | None:
    """What is kept of one attempt at one round, or None when it has not come to an end."""
    return platform.ledger.read(RecordEntry(key), RoundRecord)


def detail(platform: Platform, key: RoundKey) -> RoundDetail:
    """What only the page of a round shows. Release 0.1 kept it in the record itself."""
    for entry in (DetailEntry(key), RecordEntry(key)):
        if (found := platform.ledger.read(entry, RoundDetail)) is not None:
            return found
    raise StoreError(
        f"{platform.store.root}/claims/{RecordEntry(key).key}: is not there, so no page can be made of it."
    )


def keep(platform: Platform, key: RoundKey, record: RoundRecord, detail: RoundDetail) -> None:
    """End the round with its record. Of two who do, the first is heard."""
    platform.ledger.write(DetailEntry(key), detail)
    platform.ledger.write(RecordEntry(key), record)


def page_of(platform: Platform, key: RoundKey) -> ReportData:
    """What the page of a round that has ended is drawn from: its detail, and the records up to it.

    Where it leads to in MLflow is where that is now.
    """
    tracker = platform.tracker
    until = (record for each, record in records(platform, key.line, key.campaign) if each <= key)
    experiment = tracker.experiment(key.line) if tracker.address else ""
    page = ReportData.of(until, detail(platform, key), mlflow=tracker.address, experiment=experiment)
    run = next((run.run for run in tracker.rounds(key.line, key.campaign) if run.key == key), page.last.mlflow_run)
    return page.model_copy(update={"rounds": (*page.rounds[:-1], page.last.model_copy(update={"mlflow_run": run}))})


def due(platform: Platform, line: str, campaign: str) -> RoundKey:
    """The round of `campaign` that comes next.

    The one that was interrupted, a new attempt at one that failed or was abandoned, or the next.
    """
    shown = {run.key: run.outcome for run in platform.tracker.rounds(line, campaign)}
    last = next(reversed(ended(platform, line, campaign, shown)), None)
    key = last.next() if last else RoundKey(line, campaign)
    begun = platform.ledger.rounds(PlanEntry, line, campaign)
    key = max([key, *(each for each in begun if each.number == key.number)])
    gone = set(platform.ledger.rounds(EndEntry, line, campaign))
    while key in gone or shown.get(key) in GONE:  # release 0.1 noted it in MLflow alone
        key = key.retry()
    return key


def ended(platform: Platform, line: str, campaign: str, shown: Mapping[RoundKey, str] | None = None) -> list[RoundKey]:
    """The rounds of the campaign that have ended with a decision, oldest first.

    One whose record is there while its run in MLflow continues was killed as it ended: it is resumed, which ends it.
    `shown` are the outcomes that MLflow has, where they have been asked for already.
    """
    if shown is None:
        shown = {run.key: run.outcome for run in platform.tracker.rounds(line, campaign)}
    return [key for key in platform.ledger.rounds(RecordEntry, line, campaign) if shown.get(key, ENDED[0]) in ENDED]


def next_round(platform: Platform, recipe: Recipe, line: str, campaign: str) -> RoundKey:
    """The round that `recipe` runs: the one that is due; one that was begun with another recipe has failed.

    Unless it has come so far that nothing is left but to end it, which its own recipe does.
    """
    key = due(platform, line, campaign)
    plan = begun(platform, key)
    if plan is None or plan.recipe.digest == recipe.digest or too_far(platform, key, plan.run):
        return key
    give_up(platform, key, plan.run, "it was begun with another recipe")
    return key.retry()


def too_far(platform: Platform, key: RoundKey, run: str) -> str:
    """What speaks against giving up the round `key`, whose run is `run`; empty where nothing does."""
    if platform.ledger.value(RecordEntry(key)) is not None:
        return f"round {key.name} has its report already"
    champion = platform.tracker.resolve(key.line, "champion")
    for version, tags in platform.tracker.tagged_versions(key.line):
        if version.run == run and (version == champion or REPLACED in tags):
            return f"round {key.name} has made the champion"
    return ""


def give_up(platform: Platform, key: RoundKey, run: str, reason: str) -> None:
    """End a round that would fail again as it was drawn; the next call redraws it."""
    platform.ledger.write(EndEntry(key), RoundEnd(outcome="failed", reason=reason))
    platform.tracker.tag(run, {"selftaught.failure": reason[:4000]})
    platform.tracker.finish(run, "failed")


def recorded_campaigns(platform: Platform, line: str) -> set[str]:
    """The campaigns of the line that have a round that has come to an end."""
    return {entry.round.campaign for entry in platform.ledger.entries(RecordEntry, line)}


def newest(platform: Platform, line: str, campaign: str) -> RoundKey | None:
    """The campaign's last round that has come to an end."""
    return next(reversed(platform.ledger.rounds(RecordEntry, line, campaign)), None)


def newest_of(platform: Platform, line: str, campaign: str = "") -> RoundKey:
    """The last finished round of a campaign; of the line's one with any unless it is named.

    Raises BadInput when there is none, with what ended the last attempt at one, or when there is more than one.
    """
    campaigns = (
        [campaign] if campaign else sorted({*recorded_campaigns(platform, line), *platform.tracker.campaigns(line)})
    )
    found = {each: key for each in campaigns if (key := newest(platform, line, each)) is not None}
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
    return next(iter(found.values()))


def failed_last(platform: Platform, line: str, campaign: str) -> str:
    """What ended the campaign's last attempt at a round, where that attempt failed; else nothing."""
    last = next(reversed(platform.tracker.rounds(line, campaign)), None)
    if last is None or last.outcome != "failed":
        return ""
    return f"{last.key.title} failed: {last.failure or 'see its run in MLflow'}"
