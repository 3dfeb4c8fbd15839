"""MLflow and the pages as projections: what they show of rounds that have ended, made of the ledger.

Every step shows what it does in MLflow while it does it, because people look there. None of that is the truth: what a
round was and what became of it is in the ledger (`selftaught.state.ledger`), and `restore` makes a line's runs,
versions and pages again from there, once the tracking database was lost or for another one. All of it is idempotent.

What only MLflow had does not come back: who moved the champion by hand, how long steps waited, tags of other tools.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.records import Group
from selftaught.report.data import ModelVersion, ReportData, RoundRecord, RoundReport
from selftaught.report.downloads import ROLLOUTS, SCORES, rollout_lines, scores_csv
from selftaught.report.page import render
from selftaught.round.history import page_of, planned, recorded
from selftaught.round.job import Plan, role_line
from selftaught.state.ledger import EndEntry, PlanEntry, RoundEnd
from selftaught.state.round_key import RoundKey
from selftaught.state.starter import repository
from selftaught.state.tracking import STOPPED, Alias, Version


def show(platform: Platform, run: str, page: ReportData, html: str, groups: Iterator[Group] | None) -> Version | None:
    """Show a round that has ended in its run: all figures, the page and what it lets readers take along.

    `groups` are the verified ones; None where they were removed. Returns the version that the round made, which gets
    the evaluation; None where it made none. Whoever calls ends the run.
    """
    tracker, this = platform.tracker, page.last
    tracker.log_text(run, html, "report.html")
    tracker.log_text(run, scores_csv(page), SCORES)
    if groups is not None:
        tracker.log_lines(run, rollout_lines(groups), ROLLOUTS)
    tracker.log(run, dict(_figures(this)), step=this.round)
    made = next((version for version in tracker.versions(page.line) if _made(this, version)), None)
    if made is not None:
        tracker.tag_version(made, {"selftaught.outcome": this.outcome, **_evaluation_tags(this)})
    return made


def _made(this: RoundReport, version: Version) -> bool:
    return bool(this.challenger) and version.digest == this.challenger.digest != this.champion.digest


def _figures(this: RoundReport) -> Iterator[tuple[str, float]]:
    """Every paired gain on the gate set, every step's seconds; the means are there since they were measured."""
    for gain in this.gains:
        yield f"{gain.split}.{gain.metric}.gain", gain.gain
    for step in this.steps:
        yield f"seconds.{step.name.replace(' ', '_')}", step.seconds


def _evaluation_tags(this: RoundReport) -> dict[str, str]:
    """Every mean, and the gain on the report set: no decision saw it, so it is not too high for having decided."""
    means = {
        f"selftaught.{s.split}.{s.metric.replace('@', '_at_')}": f"{s.mean:.4f} [{s.low:.4f}, {s.high:.4f}] n={s.n}"
        for s in this.summaries
        if this.challenger and s.model == this.challenger.digest
    }
    gain = this.gain(this.metric, "report")
    return means | ({"selftaught.gain": f"{gain.gain:+.4f} [{gain.low:.4f}, {gain.high:.4f}]"} if gain else {})


# Anew from the ledger -------------------------------------------------------------------------------------------------


CONTEXTS = {"tasks": "tasks", "verified": "verified", "examples": "training", "trees": "reused trees"}
"""What the data sets that a round's run has as inputs are to it, by kind; of scores the run has the means."""


@dataclass(frozen=True, slots=True)
class Restored:
    """One round that MLflow shows again: its key, its run, and what became of it (empty: it is not finished)."""

    key: RoundKey
    run: str
    outcome: str


def restore(platform: Platform, line: str) -> Iterator[Restored]:
    """Make the runs, versions, tags and pages of `line` in MLflow again from the ledger, oldest round first.

    Where the line has no champion, it becomes who the last promotion made it; a version that was rolled back to since
    is not known. Raises BadInput where the store has no round of the line.
    """
    plans = planned(platform, line)
    if not plans:
        raise BadInput(f"{line}: no round of it is in {platform.store.root}. Is SELFTAUGHT_STORE right?")
    champion = platform.tracker.resolve(line, "champion")
    _adopted(platform, line, next(iter(plans.values())))
    rounds = list[RoundReport]()
    for key, plan in plans.items():
        if (record := recorded(platform, key)) is not None:
            rounds.append(record.round)
        yield _restored(platform, plan, record, replaced=key.retry() in plans)
    if champion is None:
        _point(platform, line, rounds)


def _adopted(platform: Platform, line: str, first: Plan) -> None:
    """Where the line began, as `selftaught.round.adopt` registers it."""
    began = (first.anchor or first.champion).digest
    source = _fixed(platform, first.key).get("recipe", {}).get("models", {}).get("policy", "unknown")
    tags = {"selftaught.recipe": "none", "selftaught.source": source, "selftaught.repository": repository(source)}
    run = platform.tracker.adoption_run(line, began, source)
    version = _registered(platform, line, began, run, tags)
    if platform.tracker.resolve(line, "champion") is None:
        platform.tracker.point("base", version)


def _fixed(platform: Platform, key: RoundKey) -> Mapping[str, Any]:
    """What `prepare` fixed, as plain data: its recipe may have blocks that are not installed here."""
    return json.loads(platform.ledger.value(PlanEntry(key)) or b"{}")


def _registered(platform: Platform, line: str, digest: str, run: str, tags: Mapping[str, str]) -> Version:
    """The version with this digest, marked where retention has removed its files."""
    version = platform.tracker.register(line, digest, platform.store.uri("models", digest), run, tags)
    if not version.removed and not platform.store.has("models", digest):
        return platform.tracker.mark_removed(version, datetime.now(UTC).date().isoformat())
    return version


def _restored(platform: Platform, plan: Plan, record: RoundRecord | None, *, replaced: bool) -> Restored:
    tracker, key, fixed = platform.tracker, plan.key, _fixed(platform, plan.key)
    run = tracker.round_run(key, str(fixed.get("stage", "")))
    tracker.tag(run, {"selftaught.champion": plan.champion.digest})
    if record is not None:
        _show_record(platform, plan, record, run)
        return Restored(key, run, record.round.outcome)
    end = platform.ledger.read(EndEntry(key), RoundEnd)
    outcome = end.outcome if end else "failed" if replaced else tracker.outcome(run)
    if end and end.reason:
        name = "selftaught.failure" if end.outcome == "failed" else "selftaught.abandoned"
        tracker.tag(run, {name: end.reason[:4000]})
    tracker.finish(run, outcome or STOPPED)
    return Restored(key, run, outcome)


def _show_record(platform: Platform, plan: Plan, record: RoundRecord, run: str) -> None:
    """What the steps of the round have shown, and what its report has."""
    tracker, this = platform.tracker, record.round
    tracker.log_text(run, record.recipe_yaml, "recipe.yaml")
    tracker.log(run, dict(_means(plan, this)), step=this.round, params=_parameters(platform, plan, this))
    for each in this.datasets:
        if context := CONTEXTS.get(each.kind.partition(" ")[0]):
            tracker.log_dataset(run, each.kind, each.digest, each.uri, each.rows, context)
    if this.training is not None:
        tracker.log_curve(run, "train.loss", this.training.losses)
    if this.search is not None:
        tracker.log(run, this.search.figures)
    _versions(platform, plan, record, run)
    page = page_of(platform, plan.key)
    show(platform, run, page, render(page), _verified(platform, this))
    tracker.finish(run, this.outcome)


def _parameters(platform: Platform, plan: Plan, this: RoundReport) -> dict[str, str]:
    fixed = _fixed(platform, plan.key)
    named = {"recipe": fixed.get("recipe", {}).get("name", ""), "stage": fixed.get("stage", "")}
    return {**named, "seed": str(plan.key.seed), **this.settings}


def _means(plan: Plan, this: RoundReport) -> Iterator[tuple[str, float]]:
    """Every mean by split, metric and who was measured, and what became of what was sampled."""
    names = {plan.champion.digest: "champion"}
    names |= {this.challenger.digest: "challenger"} if this.challenger else {}
    for summary in this.summaries:
        yield f"{summary.split}.{summary.metric}.{names.get(summary.model, 'base')}", summary.mean
    for name, count in (this.funnel.model_dump() if this.funnel else {}).items():
        yield f"funnel.{name}", float(count)


def _versions(platform: Platform, plan: Plan, record: RoundRecord, run: str) -> None:
    """The models that the round made, with their lineage."""
    this = record.round
    examples = next((each.digest for each in this.datasets if each.kind == "examples"), "")
    made = [(role_line(plan.line, other.role), other.trained, other.parent) for other in this.others]
    if this.challenger is not None:
        made.append((plan.line, this.challenger.digest, this.trained_from or plan.trainee.digest))
    for line, digest, parent in made:
        _registered(platform, line, digest, run, plan.lineage(record.recipe, parent, examples))


def _verified(platform: Platform, this: RoundReport) -> Iterator[Group] | None:
    digest = next((each.digest for each in this.datasets if each.kind == "verified"), "")
    return platform.rows(digest, Group) if digest and platform.store.has("datasets", digest) else None


def _point(platform: Platform, line: str, rounds: Sequence[RoundReport]) -> None:
    """Point the aliases where the last rounds have: the champion is whom the last promotion made it, or the first."""
    tracker, promoted = platform.tracker, [each for each in rounds if each.outcome == "promoted"]
    made = [each.challenger for each in rounds if each.challenger]
    base = tracker.resolve(line, "base")
    first = ModelVersion(digest=base.digest if base else "")
    pointers: dict[Alias, ModelVersion | None] = {
        "champion": promoted[-1].challenger if promoted else first,
        "previous": promoted[-1].champion if promoted else None,
        "head": made[-1] if made else first,
        "challenger": made[-1] if made else None,
    }
    versions = {version.digest: version for version in tracker.versions(line)}
    for alias, model in pointers.items():
        if model is not None and model.digest in versions:
            tracker.point(alias, versions[model.digest])
    for other in (other for each in rounds for other in each.others):
        _point_role(platform, role_line(line, other.role), other.trained)


def _point_role(platform: Platform, line: str, digest: str) -> None:
    for version in platform.tracker.versions(line):
        if version.digest == digest:
            platform.tracker.point("head", version)
