"""Rounds on Kubeflow Pipelines: bring models there, submit, schedule, stop, and compile the pipeline."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from selftaught.cli.options import (
    COMPILED,
    AbandonAfter,
    AsJson,
    CampaignName,
    CampaignYaml,
    Line,
    LineName,
    OptionalRecipe,
    Overrides,
    Pipelines,
    Profile,
    Shards,
)
from selftaught.cli.outcomes import EARLY, UNDER_WAY
from selftaught.cli.printing import errors_printed, open_platform, out, print_json
from selftaught.core.errors import BadInput, EarlyStop, NothingNew, UnderWay

app = typer.Typer()


@app.command()
def adopt(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
) -> None:
    """Bring a recipe's models into a line's store and registry; a line that has a champion keeps it. Needs torch."""
    with errors_printed():
        from selftaught.cli.orders import OrderOptions
        from selftaught.round.adopt import adopt as adopted
        from selftaught.round.adopt import adopt_roles

        order = OrderOptions(recipe, file, overrides, profile, line).order(shards=1)
        platform = open_platform()
        champion = adopted(platform, order.recipe, order.line)
        adopt_roles(platform, order.recipe, order.line)
        out.print(f"{champion.line}: champion is version {champion.version} ({champion.digest[:8]})")


@app.command()
def submit(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: CampaignName = "",
    shards: Shards = None,
    pipelines: Pipelines = COMPILED,
    abandon_after: AbandonAfter = 0,
    as_json: AsJson = False,
) -> None:
    """Submit the round that is due to Kubeflow Pipelines (SELFTAUGHT_KFP), and return."""
    with errors_printed():
        from selftaught.campaign.kfp.runner import KfpRunner
        from selftaught.campaign.runs import submit as submitted
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        order = replace(asked.order(shards=1), pipelines=pipelines)
        try:
            platform = Platform.open()
            made = submitted(platform, KfpRunner(platform), order, abandon_after * 3600)
        except NothingNew as nothing:  # a normal outcome: a schedule takes any other exit code for a failure
            print_json({"outcome": "nothing new", "reason": str(nothing)}) if as_json else out.print(str(nothing))
            return
        except EarlyStop as stop:  # as normal
            print_json({"outcome": EARLY, "reason": str(stop)}) if as_json else out.print(str(stop))
            return
        except UnderWay as running:  # as normal
            print_json({"outcome": UNDER_WAY, "reason": str(running)}) if as_json else out.print(f"skipped: {running}")
            return
        if as_json:
            print_json({**asdict(made.run), "abandoned": made.abandoned})
            return
        for name in made.abandoned:
            out.print(f"{name}: abandoned", highlight=False)
        run = made.run
        out.print(f"{run.name}: run {run.id} of {run.version} in {run.experiment}", highlight=False, soft_wrap=True)


@app.command()
def schedule(
    recipe: OptionalRecipe = None,
    file: CampaignYaml = None,
    cron: Annotated[str, typer.Option(help="when: minute hour day month weekday, such as '0 3 * * 1'")] = "",
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: CampaignName = "",
    shards: Shards = None,
    time_zone: Annotated[str, typer.Option(help="of the cron, such as Europe/Berlin (Etc/UTC unless given)")] = "",
    abandon_after: AbandonAfter = 168,
    as_json: AsJson = False,
) -> None:
    """Run rounds on a schedule: a CronJob that submits, instead of the line's schedule before."""
    with errors_printed():
        from selftaught.campaign.kfp.schedules import schedule as scheduled
        from selftaught.cli.orders import OrderOptions
        from selftaught.platform import Platform

        asked = OrderOptions(recipe, file, overrides, profile, line, campaign, shards)
        clock = asked.clock(cron.strip(), time_zone, abandon_after)
        made = scheduled(Platform.open(), asked.order(shards=1), clock)
        if as_json:
            print_json(asdict(made))
            return
        for name in made.replaced:
            out.print(f"{name}: recurring run removed", highlight=False)
        out.print(f"{made.namespace}/{made.name}: {made.cron}", highlight=False)


@app.command()
def stop(line: Line, as_json: AsJson = False) -> None:
    """Stop a line's runs, here and on Kubeflow Pipelines. A round stays due: the next run or submit resumes it."""
    with errors_printed():
        from selftaught.campaign.runs import stop as stopped
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        gone = stopped(platform, known(platform.tracker, line))
        if as_json:
            print_json([asdict(run) for run in gone])
            return
        for run in gone:
            out.print(f"{run.name}: run {run.id} is stopped", highlight=False, soft_wrap=True)
        if not gone:
            out.print(f"{line}: nothing is running", highlight=False)


@app.command("compile")
def compile_pipeline(
    places: Annotated[str, typer.Option(help="where tasks run: a file in pipelines/placements, without .yaml")] = "cpu",
    into: Annotated[Path, typer.Option(help="folder to write them to")] = Path("pipelines/compiled"),
) -> None:
    """Compile pipelines/round.py (in a checkout)."""
    import runpy

    with errors_printed():
        source = Path("pipelines/round.py")
        if not source.exists():
            raise BadInput(f"{source}: not here. Run this in a checkout of the project.")
        runpy.run_path(str(source))["main"](into, places)
        out.print(str(into), soft_wrap=True)
