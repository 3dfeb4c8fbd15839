"""Monitoring a champion: is it still as good on tasks that arrived since its promotion?

Other tasks may be harder, so a fall of its own score says little. Beside it answers its predecessor, the anchor, which
the report set of its promotion has scores of, too: the set that no decision on the promotion saw. An alarm is a fall of
the *difference* between the two, from that set to the fresh gate tasks (a difference in differences): how hard tasks
are weighs on both alike. As in the gate, it takes both a fall that chance does not explain and an estimate beyond a
margin. Checked are all fresh tasks and their newest half, quarter and so on, which share the error probability: all
of them together would dilute a fall that has just begun.

Whatever raised an alarm is low by bad luck, too. So nothing is rolled back by the tasks that raised it: the alarm is
claimed in the store, with the batches that it knows, and it is for a paired test on what arrives later to say that the
predecessor is the better one. Feedback is not part of either: it is there because of what the champion answered.

Fresh report tasks are left alone: what follows from a fall is a decision. Made for a schedule: it ends, and what it
found is on the model's version, in its run, and wherever the webhook leads. Each look errs with `alpha` again.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from selftaught.core.errors import BadInput, RoundFailed
from selftaught.core.statistics import Change, Gain, change_of_gains, independent_change, paired_gain
from selftaught.core.webhook import deliver
from selftaught.lines.evaluation import scores
from selftaught.lines.versions import find, rollback
from selftaught.platform import Platform
from selftaught.recipe import Recipe, Stage
from selftaught.records import UPLOADED, Task, TaskScore
from selftaught.report.data import RoundReport
from selftaught.round.history import detail, recorded
from selftaught.round.in_use import in_use
from selftaught.round.intake import inbox, past
from selftaught.round.job import Plan
from selftaught.state.claims import parse_claim
from selftaught.state.ledger import PlanEntry
from selftaught.state.tracking import Version
from selftaught.tasks.inbox.batches import names

WatchOutcome = Literal["held", "fell", "nothing new", "no promotion", "busy"]
TAG = "selftaught.watch"
"""The tag of a version that says what became of it the last time that it was watched."""


LEVEL = 0.05
"""How often an equal predecessor is gone back to after an alarm, at the first look; half as often at each later one."""
FEWEST = 50
"""Tasks below which the newest ones are not tested separately."""
FEWEST_PAIRS = 2
"""Tasks below which nothing is tested: of one there is no telling what is chance."""
TOO_FEW = "fewer than two gate tasks arrived that both models were judged on"


@dataclass(frozen=True, slots=True)
class Guard:
    """What is too much: a fall of `margin` or more that chance explains with `alpha` at most; and what then is done."""

    margin: float
    alpha: float = 0.01
    rolls_back: bool = False


@dataclass(frozen=True, slots=True)
class Watched:
    """What was found. `before` and `after` are means over `tasks_before` and `tasks_after` tasks.

    `champion` is the version that was watched, `anchor` its predecessor, with means of its own on the same tasks;
    `change` is that of the difference between them, `alone` the champion's own. `better` is what the anchor gains on
    the champion on tasks that arrived after an alarm, which is `confirmed` where that is beyond chance;
    `rolled_back_to` is the version that replaced the champion, if one did.
    """

    line: str
    champion: str
    digest: str
    outcome: WatchOutcome
    reason: str
    metric: str = ""
    before: float = 0.0
    after: float = 0.0
    anchor: str = ""
    anchor_before: float = 0.0
    anchor_after: float = 0.0
    tasks_before: int = 0
    tasks_after: int = 0
    change: Change | None = None
    alone: Change | None = None
    better: Gain | None = None
    confirmed: bool = False
    rolled_back_to: str = ""


class Look(BaseModel):
    """A look that is kept as a claim: the alarm (0), or a test after it (from 1)."""

    model_config = ConfigDict(frozen=True)

    number: int
    drops: frozenset[str]
    """Those that were there."""
    tasks: frozenset[str]
    """The tasks that were there, by id, as far as they were answered."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """The tasks that arrived since the promotion, what was scored on them, and all batches that are there by now."""

    tasks: Sequence[Task]
    pairs: "Sequence[Pair]"
    drops: frozenset[str]

    def look(self, number: int) -> Look:
        """What is there, as a look keeps it."""
        return Look(number=number, drops=self.drops, tasks=frozenset(pair.task for pair in self.pairs))

    def since(self, alarm: Look) -> "list[Pair]":
        """The scores on tasks that the alarm could not know."""
        later = {task.id for task in self.tasks if task.source.removeprefix(UPLOADED) not in alarm.drops}
        return [pair for pair in self.pairs if pair.task in later - alarm.tasks]


@dataclass(frozen=True, slots=True)
class Promotion:
    """How a champion came to be one: when its round was fixed, what came of it, and what was measured in it."""

    started: float
    round: RoundReport
    scores: Sequence[TaskScore]

    @property
    def metric(self) -> str:
        return self.round.metric

    @property
    def anchor(self) -> str:
        """The digest of the champion that it replaced."""
        return self.round.champion.digest

    def values(self, digest: str) -> dict[str, float]:
        """What the model scored on each uploaded task of the report set, by the task's id."""
        wanted = (digest, self.metric, "report")
        found = (score for score in self.scores if (score.model, score.metric, score.split) == wanted)
        return _judged(score for score in found if score.source.startswith(UPLOADED))


@dataclass(frozen=True, slots=True)
class Pair:
    """What champion and anchor scored on one task."""

    task: str
    champion: float
    anchor: float


def pairs(champion: Mapping[str, float], anchor: Mapping[str, float]) -> list[Pair]:
    """The tasks that both have answered, in the champion's order."""
    return [Pair(task, value, anchor[task]) for task, value in champion.items() if task in anchor]


def watch(platform: Platform, recipe: Recipe, line: str, campaign: str, guard: Guard) -> Watched:
    """Compare the champion of `line` with its predecessor, now and at its promotion, and act on a fall.

    Raises BadInput when there is no such line, the recipe's tasks do not come from an inbox or it measures another
    metric than the one that decided, and what measuring raises.
    """
    source, champion = inbox(recipe), find(platform.tracker, line, "champion")
    found = Watched(line, champion.version, champion.digest, "no promotion", "")
    promotion = _promotion(platform, champion)
    before = pairs(*map(promotion.values, (champion.digest, promotion.anchor))) if promotion else []
    if promotion is None or len(before) < FEWEST_PAIRS:
        return replace(found, reason="it was not promoted on inbox tasks, so there is nothing to compare with")
    anchor = next((each for each in platform.tracker.versions(line) if each.digest == promotion.anchor), None)
    if anchor is None or anchor.removed:
        return replace(found, reason="the files of its predecessor are gone, so there is nothing to compare with")
    tasks = source.held_out(past(platform, line, campaign, until=promotion.started))
    if len(tasks) < FEWEST_PAIRS:
        return replace(found, outcome="nothing new", reason=f"{TOO_FEW} since its promotion")
    stage = _deciding(recipe, promotion.metric)
    if platform.settings.one_engine and in_use(platform, line):
        return replace(found, outcome="busy", reason="an unfinished round has the only engine, so nothing was measured")
    with _undisturbed(platform, line):  # the champion last, which is up then where one engine fits
        theirs, ours = (_measured(platform, recipe, stage, each, tasks) for each in (anchor, champion))
    after = pairs(ours, theirs)
    if len(after) < FEWEST_PAIRS:
        return replace(found, outcome="nothing new", reason=f"{TOO_FEW} since its promotion")
    found = compared(replace(found, metric=promotion.metric, anchor=anchor.version), before, after, guard)
    fresh = Fresh(tasks, after, frozenset(names(source.path)))
    found = _followed_up(platform, found, (champion, anchor), fresh, guard)
    _track(platform, champion, found)
    return found


def _undisturbed(platform: Platform, line: str) -> AbstractContextManager[object]:
    """Hold the line where one engine fits: `reconcile` would stop the predecessor's to bring the champion's back."""
    return platform.serving().lease(line) if platform.settings.one_engine else nullcontext()


def default_margin(recipe: Recipe) -> float:
    """The loss that the recipe's gate guards against, or 0.15."""
    return float(getattr(recipe.stages[-1].gate, "guard_margin", 0.15))


def _promotion(platform: Platform, champion: Version) -> Promotion | None:
    """The promotion of `champion`; None where it was adopted, or its round did not end."""
    campaign = platform.tracker.version_tags(champion).get("selftaught.campaign", "")
    rounds = platform.tracker.rounds(champion.line, campaign) if campaign else []
    made = next((each for each in rounds if each.run == champion.run), None)
    if made is None:
        return None
    record, plan = recorded(platform, made.key), platform.ledger.read(PlanEntry(made.key), Plan)
    return Promotion(plan.started, record.round, detail(platform, made.key).scores) if record and plan else None


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


def _measured(
    platform: Platform, recipe: Recipe, stage: Stage, version: Version, tasks: Sequence[Task]
) -> dict[str, float]:
    """What the model scored on each of `tasks`, in their order, which is that of their arrival."""
    found = _judged(scores(platform, recipe, stage, version.line, version.digest, tasks))
    return {task.id: found[task.id] for task in tasks if task.id in found}


def _judged(found: Iterable[TaskScore]) -> dict[str, float]:
    """Values by task; without the tasks of which an answer could not be judged, as the gate leaves them out."""
    return {score.task: score.value for score in found if not score.errors}


# The alarm ------------------------------------------------------------------------------------------------------------


def compared(found: Watched, before: Sequence[Pair], after: Sequence[Pair], guard: Guard) -> Watched:
    """Whether the champion fell: on all tasks of `after`, or on the newest half of them, or quarter, and so on."""
    windows = [after[-count:] for count in _windows(len(after))]
    changes = [_change(before, window, guard.alpha / len(windows)) for window in windows]
    changes = [replace(each, p_value=min(1.0, each.p_value * len(windows))) for each in changes]
    falls = [i for i, each in enumerate(changes) if each.change <= -guard.margin and each.p_value <= guard.alpha]
    seen = min(falls, key=lambda i: changes[i].p_value, default=0)
    return _outcome(found, before, windows[seen], changes[seen], guard, fell=bool(falls))


def _windows(tasks: int) -> list[int]:
    """How many of the newest tasks are checked: all, half of them, and so on, `FEWEST` at least."""
    halves = [tasks // 2**times for times in range(1, tasks.bit_length())]
    return [tasks, *(count for count in halves if count >= FEWEST)]


def _change(before: Sequence[Pair], after: Sequence[Pair], alpha: float) -> Change:
    ours, theirs = ([pair.champion - pair.anchor for pair in pairs] for pairs in (before, after))
    return change_of_gains(ours, theirs, 1 - 2 * alpha)


def _outcome(
    found: Watched, before: Sequence[Pair], after: Sequence[Pair], change: Change, guard: Guard, *, fell: bool
) -> Watched:
    ours, theirs = ([pair.champion for pair in pairs] for pairs in (before, after))
    alone = independent_change(ours, theirs, 1 - 2 * guard.alpha)
    result = replace(
        found,
        outcome="fell" if fell else "held",
        before=_mean([pair.champion for pair in before]),
        after=_mean([pair.champion for pair in after]),
        anchor_before=_mean([pair.anchor for pair in before]),
        anchor_after=_mean([pair.anchor for pair in after]),
        tasks_before=len(before),
        tasks_after=len(after),
        change=change,
        alone=alone,
    )
    reason = (
        f"{result.metric} {result.before:.3f} on {len(before)} tasks at its promotion, {result.after:.3f} on the "
        f"newest {len(after)} that arrived since; version {result.anchor}, its predecessor, "
        f"{result.anchor_before:.3f} and {result.anchor_after:.3f} on the same ones. Beside that it changed by "
        f"{change.change:+.3f} [{change.low:+.3f}, {change.high:+.3f}], one-sided {change.test} "
        f"p = {change.p_value:.2g} (by itself by {alone.change:+.3f} [{alone.low:+.3f}, {alone.high:+.3f}]); a fall of "
        f"{guard.margin:g} or more with p of at most {guard.alpha:g} is an alarm"
    )
    return replace(result, reason=reason)


# After the alarm ------------------------------------------------------------------------------------------------------


def _followed_up(
    platform: Platform, found: Watched, versions: tuple[Version, Version], fresh: Fresh, guard: Guard
) -> Watched:
    """Keep an alarm; after one, test on the tasks that it could not know whether the predecessor is the better one."""
    champion, anchor = versions
    looks = _looks(platform, champion)
    if not looks and found.outcome == "fell":
        _keep(platform, champion, fresh.look(0))
        return _saying(found, f"the tasks that arrive from now on will tell whether version {anchor.version} is better")
    later = fresh.since(looks[0]) if looks else []
    if len(later) < FEWEST_PAIRS or fresh.drops <= looks[-1].drops:
        return _saying(found, "nothing has arrived since the last look that could be tested") if looks else found
    found = tested(found, later, LEVEL / 2 ** looks[-1].number)
    if found.confirmed:
        found = (
            _rolled_back(platform, found, champion, anchor)
            if guard.rolls_back
            else _saying(found, "not asked to roll back")
        )
    _keep(platform, champion, fresh.look(len(looks)))
    return found


def tested(found: Watched, later: Sequence[Pair], level: float) -> Watched:
    """Whether the anchor is better on what arrived after the alarm, where chance says so with `level` at most."""
    better = paired_gain([pair.champion for pair in later], [pair.anchor for pair in later])
    confirmed = better.p_value <= level
    text = (
        f"on {len(later)} tasks that arrived after the alarm version {found.anchor} gains {better.gain:+.3f} on it, "
        f"{better.test} p = {better.p_value:.2g}, {'which confirms it' if confirmed else 'no proof'} (at {level:.2g})"
    )
    found = replace(found, better=better, confirmed=confirmed, outcome="fell" if confirmed else found.outcome)
    return _saying(found, text)


def _rolled_back(platform: Platform, found: Watched, champion: Version, anchor: Version) -> Watched:
    if platform.tracker.version_tags(anchor).get(TAG) == "fell":
        return _saying(found, f"not rolled back: version {anchor.version} fell as well")
    try:
        rollback(platform.tracker, platform.serving(), champion.line, anchor.version, expected=champion.digest)
    except RoundFailed:
        return _saying(found, "not rolled back: another version is the champion by now")
    return replace(_saying(found, f"rolled back to version {anchor.version}"), rolled_back_to=anchor.version)


def _saying(found: Watched, text: str) -> Watched:
    return replace(found, reason=f"{found.reason}; {text}")


def _looks(platform: Platform, champion: Version) -> list[Look]:
    """The alarm on `champion`, and the tests after it; empty while there was none."""
    claims = ((key, platform.store.claimed(key)) for key in platform.store.claims(_key(champion)))
    looks = (parse_claim(platform.store, key, claim, Look) for key, claim in claims if claim)
    return sorted(looks, key=lambda look: look.number)


def _keep(platform: Platform, champion: Version, look: Look) -> None:
    platform.store.claim(f"{_key(champion)}/{look.number}", look.model_dump_json().encode())


def _key(champion: Version) -> str:
    """The claims of the looks at `champion`, since the round that made it one."""
    return f"watch/{champion.line}/{champion.run}"


def _track(platform: Platform, champion: Version, found: Watched) -> None:
    """Tags on the champion's version, metrics in its run, one step a look."""
    tags = platform.tracker.version_tags(champion)
    looks = int(tags.get(f"{TAG}.looks", "0")) + 1
    watch_tags = {TAG: found.outcome, f"{TAG}.reason": found.reason[:4000], f"{TAG}.looks": str(looks)}
    platform.tracker.tag_version(champion, {**watch_tags, f"{TAG}.at": datetime.now(UTC).isoformat(timespec="seconds")})
    if found.change is not None:
        figures = {key: value for key, value in asdict(found.change).items() if isinstance(value, float)}
        figures |= {found.metric: found.after, "anchor": found.anchor_after, "tasks": float(found.tasks_after)}
        platform.tracker.log(champion.run, {f"watch.{key}": value for key, value in figures.items()}, step=looks)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# Telling --------------------------------------------------------------------------------------------------------------


def post(url: str, found: Watched) -> str:
    """Post the alarm `found` to `url`. Returns what went wrong, or an empty string: an alarm must not die of it."""
    delivery = f"champion.fell/{found.line}/{found.champion}/{datetime.now(UTC).isoformat(timespec='seconds')}"
    return deliver(url, "champion.fell", asdict(found), delivery)
