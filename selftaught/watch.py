"""Watching a champion: is it still as good on the tasks that arrived since its promotion?

Its answers to fresh gate tasks are compared with those that it gave to the report set of its promotion: the set that
no decision saw, so a lucky gate set is not held against it. The tasks are others, so nothing can be paired: the test is
one of two samples. As in the gate, it takes both a fall that chance does not explain and an estimate beyond a margin.
Fresh report tasks are left alone: what follows from a fall is a decision. Made for a schedule: it ends, and what it
found is on the model's version, in its run, and wherever the webhook leads. Each look errs with `alpha` anew.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

import httpx
import stamina

from selftaught.errors import BadInput, RoundFailed
from selftaught.lines import find, rollback
from selftaught.local_evaluation import scores
from selftaught.recipe import Recipe, Stage
from selftaught.records import Task, TaskScore
from selftaught.report.data import ReportData
from selftaught.round.fresh import dropped, past
from selftaught.round.history import recorded
from selftaught.round.job import Plan, Workplace, plan_key, round_name, understood
from selftaught.statistics import Change, independent_change
from selftaught.tracking import Version

Outcome = Literal["held", "fell", "nothing new", "no promotion"]
TAG = "selftaught.watch"
"""The tag of a version that says what became of it the last time that it was watched."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What is too much: a fall of `margin` or more that chance explains with `alpha` at most; and what then is done."""

    margin: float
    alpha: float = 0.01
    rolls_back: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found. `before` and `after` are means over `tasks_before` and `tasks_after` tasks.

    `champion` is the version that was watched, `rolled_back_to` the one that took its place, if one did.
    """

    line: str
    champion: str
    digest: str
    outcome: Outcome
    reason: str
    metric: str = ""
    before: float = 0.0
    after: float = 0.0
    tasks_before: int = 0
    tasks_after: int = 0
    change: Change | None = None
    rolled_back_to: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """How a champion came to be one: when its round was fixed, and what was told of it."""

    started: float
    told: ReportData

    @property
    def metric(self) -> str:
        return self.told.last.metric

    def values(self, digest: str) -> list[float]:
        """What the model scored on each dropped task of the report set."""
        wanted = (digest, self.metric, "report")
        found = (score for score in self.told.scores if (score.model, score.metric, score.split) == wanted)
        return [score.value for score in found if score.source.startswith("dropped/")]


def watch(place: Workplace, recipe: Recipe, line: str, campaign: str, guard: Guard) -> Watched:
    """Compare the champion of `line` with itself at its promotion, and act on a fall.

    Raises BadInput when there is no such line, the recipe's tasks are not dropped ones or it measures another metric
    than the one that decided, and what measuring raises.
    """
    source, champion = dropped(recipe), find(place.tracker, line, "champion")
    found = Watched(line, champion.version, champion.digest, "no promotion", "")
    promotion = _promotion(place, champion)
    before = promotion.values(champion.digest) if promotion else []
    if promotion is None or not before:
        return replace(found, reason="it was promoted on no dropped tasks, so there is nothing to compare with")
    tasks = source.held_out(past(place, line, campaign, until=promotion.started))
    if not tasks:
        return replace(found, outcome="nothing new", reason="no gate tasks arrived since its promotion")
    measured = scores(place, recipe, _deciding(recipe, promotion.metric), line, champion.digest, tasks)
    found = _compared(found, promotion.metric, before, measured, guard)
    if found.outcome == "fell" and guard.rolls_back:
        found = _rolled_back(place, recipe, found, champion, tasks)
    _track(place, champion, found)
    return found


def default_margin(recipe: Recipe) -> float:
    """The loss that the recipe's gate guards against, or 0.15."""
    return float(getattr(recipe.stages[-1].gate, "guard_margin", 0.15))


def _promotion(place: Workplace, champion: Version) -> Promotion | None:
    """The promotion of `champion`; None where it was adopted, or its round did not end."""
    campaign = place.tracker.version_tags(champion).get("selftaught.campaign", "")
    rounds = place.tracker.rounds(champion.line, campaign) if campaign else []
    made = next((each for each in rounds if each.run == champion.run), None)
    if made is None:
        return None
    told = recorded(place, champion.line, campaign, made.round, made.attempt)
    key = plan_key(round_name(champion.line, campaign, made.round, made.attempt))
    plan = place.store.claimed(key)
    return Promotion(understood(place.store, key, plan, Plan).started, told) if told and plan else None


def _deciding(recipe: Recipe, metric: str) -> Stage:
    """The recipe's last stage with the metric alone that decided on the champion."""
    stage = recipe.stages[-1]
    wanted = tuple(block for block in stage.evaluate if block.name == metric)
    if not wanted:
        measured = ", ".join(block.name for block in stage.evaluate)
        raise BadInput(
            f"{recipe.name}: measures {measured}, but the champion was promoted on {metric}. Add it to evaluate."
        )
    return stage.model_copy(update={"evaluate": wanted})


def _compared(found: Watched, metric: str, before: list[float], measured: list[TaskScore], guard: Guard) -> Watched:
    after = [score.value for score in measured]
    change = independent_change(before, after, 1 - 2 * guard.alpha)
    fell = change.p_value <= guard.alpha and change.change <= -guard.margin
    told = (
        f"{metric} {_mean(before):.3f} on {len(before)} tasks at its promotion, {_mean(after):.3f} on {len(after)} "
        f"that arrived since: {change.change:+.3f} [{change.low:+.3f}, {change.high:+.3f}], one-sided "
        f"{change.test} p = {change.p_value:.2g}; a fall of {guard.margin:g} or more with p of at most {guard.alpha:g} "
        "is an alarm"
    )
    return replace(
        found,
        outcome="fell" if fell else "held",
        reason=told,
        metric=metric,
        before=_mean(before),
        after=_mean(after),
        tasks_before=len(before),
        tasks_after=len(after),
        change=change,
    )


def _rolled_back(place: Workplace, recipe: Recipe, found: Watched, champion: Version, tasks: Sequence[Task]) -> Watched:
    """Point the champion back, unless there is nothing better to point at: harder tasks make every model fall."""
    previous = place.tracker.resolve(champion.line, "previous")
    if previous is None or previous.digest == champion.digest:
        return replace(found, reason=f"{found.reason}; not rolled back: there is no previous champion")
    if place.tracker.version_tags(previous).get(TAG) == "fell":
        return replace(found, reason=f"{found.reason}; not rolled back: version {previous.version} fell as well")
    measured = scores(place, recipe, _deciding(recipe, found.metric), champion.line, previous.digest, tasks)
    mean = _mean([score.value for score in measured])
    told = f"version {previous.version} comes to {mean:.3f} on the same tasks"
    if mean <= found.after:
        return replace(found, reason=f"{found.reason}; not rolled back: {told}")
    try:
        rollback(place.tracker, place.serving(), champion.line, previous.version, expected=champion.digest)
    except RoundFailed:
        return replace(found, reason=f"{found.reason}; not rolled back: another version is the champion by now")
    return replace(found, reason=f"{found.reason}; rolled back: {told}", rolled_back_to=previous.version)


def _track(place: Workplace, champion: Version, found: Watched) -> None:
    """Tags on the champion's version, metrics in its run, one step a look."""
    tags = place.tracker.version_tags(champion)
    looks = int(tags.get(f"{TAG}.looks", "0")) + 1
    told = {TAG: found.outcome, f"{TAG}.reason": found.reason[:4000], f"{TAG}.looks": str(looks)}
    place.tracker.tag_version(champion, {**told, f"{TAG}.at": datetime.now(UTC).isoformat(timespec="seconds")})
    if found.change is not None:
        figures = {key: value for key, value in asdict(found.change).items() if isinstance(value, float)}
        figures |= {found.metric: found.after, "tasks": float(found.tasks_after)}
        place.tracker.log(champion.run, {f"watch.{key}": value for key, value in figures.items()}, step=looks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# Telling --------------------------------------------------------------------------------------------------------------


def post(url: str, found: Watched) -> str:
    """Post `found` as JSON to `url`. Returns what went wrong, or an empty string: an alarm must not die of it."""
    try:
        _post(url, found)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = type(error).__name__
        if isinstance(error, httpx.HTTPStatusError):
            reason = f"status {error.response.status_code}"
        return f"webhook at {urlsplit(url).hostname}: not told ({reason}). Check --webhook or SELFTAUGHT_WEBHOOK."
    return ""


@stamina.retry(on=httpx.TransportError, attempts=3, timeout=30)
def _post(url: str, found: Watched) -> None:
    httpx.post(url, json=asdict(found), timeout=10).raise_for_status()
