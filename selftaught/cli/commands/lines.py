"""What became of a line: its state, its report, and the address that leads to its champion."""

from pathlib import Path
from typing import Annotated

import typer

from selftaught.cli.options import AsJson, Line, LineOrAll
from selftaught.cli.outcomes import ERROR
from selftaught.cli.printing import err, errors_printed, out, print_json

app = typer.Typer()


@app.command()
def status(line: Line, as_json: AsJson = False) -> None:
    """How a line is: its champion, what is served, the last rounds, the runs; 1 if some is not known."""
    with errors_printed():
        from selftaught.lines.status import status_of
        from selftaught.platform import Platform

        found = status_of(Platform.open(), line)
        if as_json:
            print_json(found.as_dict())
        else:
            out.print(found.text(), highlight=False, soft_wrap=True)
        if found.unknown:
            raise typer.Exit(ERROR)


@app.command()
def report(
    line: Line,
    to: Annotated[Path, typer.Option("--to", help="where to write the page")] = Path("report.html"),
    campaign: Annotated[str, typer.Option(help="the campaign; the line's only one unless given")] = "",
) -> None:
    """Write the report of the line's last finished round again; a later one that failed is mentioned."""
    with errors_printed():
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.report.page import write
        from selftaught.round.history import failed_last, newest_of, page_of

        platform = Platform.open()
        last = newest_of(platform, known(platform.tracker, line), campaign)
        write(page_of(platform, last), to)
        out.print(str(to), soft_wrap=True)
        if failed := failed_last(platform, line, last.campaign):
            err.print(f"not in it: {failed}", style="yellow", highlight=False, soft_wrap=True)


@app.command()
def reconcile(
    line: LineOrAll = "",
    when_free: Annotated[
        bool, typer.Option("--when-free", help="wait until no other process is using the line")
    ] = False,
) -> None:
    """Have the stable address lead to the champion, and stop serving what was replaced and is out of its grace."""
    with errors_printed():
        from selftaught.lines.drift import settled
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.round.in_use import reconcile_line, reconcile_lines, tidy_when_free

        platform = Platform.open()
        one = tidy_when_free if when_free else reconcile_line
        if line:
            done = reconcile_lines(platform, [known(platform.tracker, line)], one)
        elif (lines := settled(platform)) is not None:
            done = (f"{each}: as it has to be" for each in lines)
        else:
            done = reconcile_lines(platform, platform.tracker.lines(), one)
        for said in done:
            out.print(said)
