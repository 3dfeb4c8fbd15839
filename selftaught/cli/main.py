"""The command line: `selftaught run` and all other commands.

Thin: parses, calls the library, prints. Exit codes: 0 promoted (or the command did what was asked), 3 refused by the
gate, 4 the champion fell (`watch`), 1 an error that its message explains, 2 wrong usage. A run that finds no new tasks
has done what was asked and ends with 0, for schedules take anything else for a failure; its JSON says
`"outcome": "nothing new"`. `--json` prints one JSON object a line on standard output for machines; everything else a
person reads goes to standard error. What libraries print goes there too: standard output holds this program's answers.
"""

import logging
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from selftaught import __version__
from selftaught.cli.commands import (
    campaign,
    cluster,
    gc,
    init,
    lines,
    machine,
    measure,
    models,
    recipes,
    rollouts,
    rounds,
    run,
    serve,
    steps,
    tasks,
)
from selftaught.cli.printing import out

app = typer.Typer(
    name="selftaught",
    help="Language models that teach themselves. Exit codes: 0 promoted, trained, done or nothing new, 3 refused, "
    "4 fell, 1 error, 2 usage.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for commands in (run, measure, lines, cluster, serve, machine, gc):
    app.add_typer(commands.app)
app.add_typer(init.app, name="init")
app.add_typer(recipes.app, name="recipes")
app.add_typer(campaign.app, name="campaign")
app.add_typer(models.app, name="models")
app.add_typer(tasks.app, name="tasks")
app.add_typer(rounds.app, name="rounds")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(steps.app, name="steps")


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Selftaught."""
    out.file = sys.stdout  # whatever becomes of it while others may print: see `errors_printed`
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or a pipe that cannot show a letter gets its number
            stream.reconfigure(errors="backslashreplace")
    for quiet in ("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_NO_ADVISORY_WARNINGS"):
        os.environ.setdefault(quiet, "1")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # it warns of every try as well
    logging.getLogger("stamina").setLevel(logging.ERROR)  # it logs every retry, and their outcome is reported anyway
    if version:
        out.print(__version__)
        raise typer.Exit
