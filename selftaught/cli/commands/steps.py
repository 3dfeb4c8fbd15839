"""Steps with labels, for process reward models: written in others' formats, and read from them."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from selftaught.cli.options import AsJson, Line
from selftaught.cli.printing import err, errors_printed, out, print_json

app = typer.Typer(no_args_is_help=True, help="Steps with labels, for process reward models: export, import.")


StepFormat = Annotated[
    Literal["trl", "math-shepherd", "prm800k"], typer.Option("--format", help="as whose data set the rows are")
]


@app.command("export")
def steps_export(
    line: Line,
    to: Annotated[Path, typer.Option("--to", help="the file, JSON Lines")],
    kind: StepFormat = "trl",
    labels: Annotated[
        Literal["inferred", "estimates"], typer.Option(help="what steps are worth: as the step_values curator has it")
    ] = "inferred",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="worth from which on a step is right; unless given, a right answer below it"),
    ] = None,
    campaign: Annotated[str, typer.Option(help="the campaign; the line's only one unless given")] = "",
    as_json: AsJson = False,
) -> None:
    """Write the trees of the line's last finished round as steps with labels, a row a path."""
    with errors_printed():
        from selftaught.lines.versions import known
        from selftaught.platform import Platform
        from selftaught.stepwise.transfer import export

        platform = Platform.open()
        made = export(platform, known(platform.tracker, line), campaign, to, kind, labels, threshold)
        _print_account(made, f"{to}: {made.solutions} solutions of {made.rows} tasks", as_json)


@app.command("import")
def steps_import(
    file: Annotated[Path, typer.Argument(help="*.jsonl or *.parquet")],
    to: Annotated[Path, typer.Option("--to", help="folder for the data set of value examples; a new one")],
    kind: StepFormat = "trl",
    kept: Annotated[
        Literal["soft", "hard"],
        typer.Option("--labels", help="step values where they are known, or only 1 and 0"),
    ] = "soft",
    neutral: Annotated[Literal["right", "wrong"], typer.Option(help="what a step is that prm800k rates 0")] = "right",
    separator: Annotated[str, typer.Option(help="separator between steps", show_default="a line break")] = "\n",
    as_json: AsJson = False,
) -> None:
    """Make value examples of others' steps with labels; a row that cannot be used is skipped and reported."""
    with errors_printed():
        from selftaught.stepwise.transfer import imported

        made = imported(file, kind, to, kept, neutral, separator)
        summary = f"{to}: {made.examples} value examples of {made.solutions} solutions in {made.rows} rows"
        _print_account(made, summary, as_json)


SHOWN = 10
"""Rows set aside that are named; `--json` names all."""


def _print_account(made: Any, words: str, as_json: bool) -> None:
    print_json(asdict(made)) if as_json else out.print(words, highlight=False, soft_wrap=True)
    for where, why in made.aside[:SHOWN]:
        err.print(f"set aside: {where}: {why}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(made.aside) > SHOWN:
        err.print(f"set aside: {len(made.aside) - SHOWN} more. --json names all.", style="yellow", highlight=False)
