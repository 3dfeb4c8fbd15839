"""What MLflow shows of a round that has ended, made of its record: a projection, which can be made again."""

from collections.abc import Iterator

from selftaught.platform import Platform
from selftaught.records import Group
from selftaught.report.data import ReportData, RoundReport
from selftaught.report.downloads import ROLLOUTS, SCORES, rollout_lines, scores_csv
from selftaught.state.tracking import Version


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
