"""The rounds of a line: give one up, or make their pages in MLflow again."""

from typing import Annotated

import typer

from selftaught.cli.options import AsJson
from selftaught.cli.printing import errors_printed, out, print_json

app = typer.Typer(no_args_is_help=True, help="The rounds of a line: abandon, restore.")


@app.command("abandon")
def rounds_abandon(
    line: Annotated[str, typer.Argument(help="the model line")],
    campaign: Annotated[str, typer.Argument(help="the campaign whose round is not finished")],
    as_json: AsJson = False,
) -> None:
    """Give up a campaign's round that is not finished: the next one is redrawn, and `gc` takes what it made."""
    with errors_printed():
        from selftaught.campaign.runs import abandon
        from selftaught.lines.versions import known
        from selftaught.platform import Platform

        platform = Platform.open()
        gone = abandon(platform, known(platform.tracker, line), campaign)
        if as_json:
            print_json({"line": line, "campaign": campaign, "round": gone.key.number, "attempt": gone.key.attempt})
            return
        out.print(f"{line} {campaign} round {gone.key.number}, attempt {gone.key.attempt}: abandoned", highlight=False)


@app.command("restore")
def rounds_restore(
    line: Annotated[str, typer.Argument(help="the model line")],
    as_json: AsJson = False,
) -> None:
    """Make a line's runs, versions and pages in MLflow again from the store, after the tracking database was lost."""
    with errors_printed():
        from selftaught.platform import Platform
        from selftaught.round.projection import restore

        for each in restore(Platform.open(), line):
            if as_json:
                print_json({"round": each.key.name, "run": each.run, "outcome": each.outcome})
            else:
                out.print(f"{each.key.name}: {each.outcome or 'not finished'} ({each.run})", highlight=False)
