"""Run a recipe on this machine: the rounds of a campaign, each told as it ends."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from selftaught.cli.options import (
    COMPILED,
    AsJson,
    CampaignYaml,
    LineName,
    OptionalRecipe,
    Overrides,
    Pipelines,
    Profile,
)
from selftaught.cli.outcomes import EARLY, LIMIT, PROMOTED, REFUSED
from selftaught.cli.printing import err, errors_printed, open_platform, print_json

app = typer.Typer()


@app.command()
def run(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    rounds: Annotated[int, typer.Option(min=0, help="rounds to run (0: as many as the recipe's stages define)")] = 0,
    line: LineName = "",
    campaign: Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print the plan and what it will cost, run nothing")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, help="sampling tasks that run side by side (2 unless given)")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(min=0, help="begin no round once the campaign's have taken so many hours")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=0, help="begin no round once the campaign's have taken so many new tokens")
    ] = None,
    pipelines: Pipelines = COMPILED,
    as_json: AsJson = False,
) -> None:
    """Run a recipe for its rounds. Killed at any moment, the same command resumes where it was."""
    with errors_printed():
        from selftaught.campaign.estimate import plan
        from selftaught.campaign.limits import Limits
        from selftaught.campaign.local import Campaign
        from selftaught.cli.live import watcher
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform
        from selftaught.state.tracking import NOTHING_NEW

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        limits = Limits(max_hours, max_tokens)
        order = replace(asked.order(shards=2), rounds=rounds, pipelines=pipelines, limits=limits)
        platform = Platform.open() if dry_run else open_platform()
        planned = plan(platform, order)
        if as_json:
            print_json(planned.as_dict())
        else:
            err.print(planned.text(), highlight=False, soft_wrap=True)
        if dry_run:
            return
        with watcher(err, print_json if as_json else None) as watch:
            outcome = _followed(Campaign(platform, order, watch).run(), as_json)
        raise typer.Exit(PROMOTED if outcome in ("promoted", "trained", NOTHING_NEW, LIMIT, EARLY) else REFUSED)


def _followed(rounds: Iterator[Any], as_json: bool) -> str:
    """Tell each of `rounds` as it ends. Returns the outcome of the last; a limit is one where it is all there is."""
    from selftaught.campaign.local import LimitReached, Skipped, StoppedEarly
    from selftaught.state.tracking import NOTHING_NEW

    outcome = ""
    for ended in rounds:
        if isinstance(ended, Skipped):
            outcome = NOTHING_NEW
            _print_nothing(ended, as_json)
        elif isinstance(ended, LimitReached):
            outcome = outcome or LIMIT
            _print_spent(ended, as_json)
        elif isinstance(ended, StoppedEarly):
            outcome = outcome or EARLY
            _print_early(ended, as_json)
        else:
            outcome = ended.report.last.outcome
            _print_outcome(ended.report, ended.page, as_json)
    return outcome


def _print_early(stop: Any, as_json: bool) -> None:
    if as_json:
        print_json({"round": stop.key.number, "outcome": EARLY, "reason": stop.reason})
        return
    words = f"Stopped early, before round {stop.key.number}: {stop.reason}. Without the control it goes on."
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_spent(spent: Any, as_json: bool) -> None:
    if as_json:
        print_json({"round": spent.key.number, "outcome": LIMIT, "reason": spent.reason})
        return
    number = spent.key.number
    words = f"Stopped before round {number}: {spent.reason}. The same command with a higher limit, or none, goes on."
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_nothing(quiet: Any, as_json: bool) -> None:
    if as_json:
        print_json({"round": quiet.key.number, "outcome": "nothing new", "reason": quiet.reason})
        return
    words = f"Round {quiet.key.number}: nothing new. {quiet.reason}"
    err.print(words, style="yellow", highlight=False, soft_wrap=True)


def _print_outcome(data: Any, page: Path, as_json: bool) -> None:
    from selftaught.report.outcome import headline, numbers

    last, compared = data.last, headline(data.last)
    if as_json:
        print_json({"round": last.round, "outcome": last.outcome, "report": str(page), **last.model_dump(mode="json")})
        return
    words = f"Round {last.round}: {last.outcome}. {numbers(compared) if compared else ''}"
    err.print(words, style="yellow" if last.outcome == "refused" else "green", highlight=False)
    for check in last.gate.checks if last.gate else ():
        err.print(f"  {'✓' if check.passed else '✗'} {check.reason}", highlight=False)
    err.print(f"  report: {page}", highlight=False, soft_wrap=True)
