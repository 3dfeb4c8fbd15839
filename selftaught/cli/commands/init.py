"""The beginning of a recipe, a block or a plug-in, written as files that run as they are."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from selftaught.cli.printing import err, errors_printed, out

app = typer.Typer(no_args_is_help=True, help="The beginning of a recipe, a block, a plug-in.")


Into = Annotated[Path, typer.Option("--into", file_okay=False, help="the folder to write to")]


NewName = Annotated[str, typer.Argument(metavar="NAME", help="what it is called")]


NewAxis = Annotated[
    Literal["verify", "control", "train"],
    typer.Option("--axis", help="whether it is a verifier, a control or an objective"),
]


@app.command("recipe")
def init_recipe(name: NewName, into: Into = Path()) -> None:
    """Write NAME.yaml: a recipe that runs as it is, with a word on every axis."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.recipe(name, into), f"selftaught run {into / name}.yaml --dry-run")


@app.command("block")
def init_block(name: NewName, into: Into = Path(), axis: NewAxis = "verify") -> None:
    """Write NAME.py, a block, and its test; `init plugin` makes a package that recipes know."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.block(name, into, axis), f"python -m pytest {into / f'test_{name}.py'}")


@app.command("plugin")
def init_plugin(name: NewName, into: Into = Path(), axis: NewAxis = "verify") -> None:
    """Write the folder NAME: a package with a block and its test, whose entry point makes the block known."""
    with errors_printed():
        from selftaught.cli import scaffold

        _print_written(scaffold.plugin(name, into, axis), f"cd {into / name} && python -m pytest")


def _print_written(paths: list[Path], then: str) -> None:
    for path in paths:
        out.print(str(path), highlight=False, soft_wrap=True)
    err.print(f"next: {then}", highlight=False, soft_wrap=True)
