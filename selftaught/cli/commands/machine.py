"""The machine and its home: what is missing, and what can be made again."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from selftaught.cli.options import AsJson
from selftaught.cli.outcomes import ERROR
from selftaught.cli.printing import err, errors_printed, out, print_json

app = typer.Typer()


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what is missing on this machine, and on the cluster of the settings, and how to get it."""
    with errors_printed():
        from selftaught.doctor import cluster
        from selftaught.doctor.machine import checks
        from selftaught.settings import Settings

        findings = [*checks(), *cluster.checks(Settings.load())]
        if as_json:
            print_json([asdict(finding) for finding in findings])
        else:
            for finding in findings:
                mark = {True: Text("✓", "green"), False: Text("✗", "red"), None: Text("?", "yellow")}[finding.ok]
                err.print(mark, str(finding), highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR if any(finding.ok is False for finding in findings) else 0)


@app.command()
def clean(
    everything: Annotated[bool, typer.Option("--all", help="also models, data sets, registry and reports")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Stop engines that were left behind and free what can be made again; `--all` removes the entire home."""
    with errors_printed():
        from selftaught.lines.home import clean_home
        from selftaught.settings import Settings

        home = Settings.load().home
        if everything and not yes:
            typer.confirm(f"Remove {home} with every model and report in it?", abort=True)
        freed = clean_home(home, everything)
        out.print(f"{home}: {freed / 1e6:.0f} MB freed", soft_wrap=True)
