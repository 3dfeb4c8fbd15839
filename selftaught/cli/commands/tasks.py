"""Tasks that arrive over time: upload them to an inbox, and list what is there."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from selftaught.cli.options import AsJson, LineName, Overrides, Profile, RecipePath
from selftaught.cli.printing import err, errors_printed, new_table, out, print_json
from selftaught.core.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Inbox tasks: upload, list.")


@app.command("upload")
@app.command("drop", hidden=True)  # its name in earlier versions
def tasks_upload(
    files: Annotated[list[Path], typer.Argument(help="files of tasks or of feedback (*.jsonl, *.parquet)")],
    to: Annotated[str, typer.Option("--to", help="a folder or s3://bucket/prefix; the recipe's unless given")] = "",
    recipe: Annotated[Path | None, typer.Option(help="recipe with the path and the column names")] = None,
    profile: Profile = "",
    date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="date of the batch (default: today)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check files row by row and upload them as one batch, which a round finds complete or not at all."""
    with errors_printed():
        from selftaught.campaign.estimate import worked
        from selftaught.recipe import Recipe
        from selftaught.round.intake import inbox
        from selftaught.tasks.inbox.source import Inbox

        if not to and recipe is None:
            raise BadInput("no destination. Pass --to WHERE, or --recipe RECIPE whose tasks come from an inbox.")
        parsed = Recipe.load(recipe, profile=profile) if recipe else None
        source = inbox(parsed) if parsed else Inbox(path=to)
        if warning := worked(source.read(files), parsed):
            err.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
        made = source.model_copy(update={"path": to or source.path}).upload(files, (date or datetime.now(UTC)).date())
        if as_json:
            print_json({"drop": made.name, "tasks": len(made.rows), "feedback": len(made.said)})
        else:
            counted = f"{len(made.rows)} tasks, {len(made.said)} rows of feedback"
            out.print(f"{made.name}: {counted}", highlight=False, soft_wrap=True)


@app.command("list")
def tasks_list(
    recipe: RecipePath,
    overrides: Overrides = [],  # noqa: B006
    profile: Profile = "",
    line: LineName = "",
    campaign: Annotated[str, typer.Option(help="name of the campaign; the recipe's name unless given")] = "",
    as_json: AsJson = False,
) -> None:
    """Every batch of a recipe, used or waiting, and whether a round would find enough (`nothing_new` is then empty)."""
    with errors_printed():
        from selftaught.platform import Platform
        from selftaught.recipe import Recipe
        from selftaught.round.intake import listed

        parsed, platform = Recipe.load(recipe, overrides, profile), Platform.open()
        found, lacking = listed(platform, parsed, line or parsed.name, campaign or parsed.name)
        if as_json:
            print_json({"drops": [asdict(each) for each in found], "nothing_new": lacking or ""})
            return
        table = new_table("batch", "state", "tasks", "what is wrong")
        for each in found:
            table.add_row(each.drop, each.state, "" if each.tasks is None else str(each.tasks), each.problem)
        out.print(table)
        err.print(lacking or "enough for a round", highlight=False, soft_wrap=True)
