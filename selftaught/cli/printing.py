"""What every command prints with: answers on standard output, everything else on standard error, errors as messages."""

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer
from rich.table import Column, Table

from selftaught.cli.outcomes import ERROR
from selftaught.cli.terminal import Terminal
from selftaught.core.errors import SelftaughtError

out, err = Terminal(), Terminal(stderr=True)


@contextmanager
def errors_printed() -> Generator[None]:
    """Print a user's error as its message alone and leave with 1; an interrupt says how to resume.

    What others print meanwhile (MLflow and KFP tell of the pages that they have) is not an answer of ours.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except SelftaughtError as error:
        err.print(f"error: {error}", style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR) from None
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        words = f"error: {named}{error.strerror or error}. Fix it and rerun the same command."
        err.print(words, style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(ERROR) from None
    except KeyboardInterrupt:
        err.print("stopped. Rerun the same command to resume.")
        raise typer.Exit(130) from None


def open_platform() -> Any:
    """The platform of a command that stores something; a home that it is about to create is announced."""
    from selftaught.platform import Platform

    platform = Platform.open()
    if not platform.settings.home.exists():
        message = f"making a new home: {platform.settings.home}  (set SELFTAUGHT_HOME for another)"
        err.print(message, highlight=False, soft_wrap=True)
    return platform


def new_table(*columns: str, title: str | None = None) -> Table:
    """A table whose cells continue in the next line where there is no room for them: what is cut off helps nobody."""
    return Table(*(Column(name, overflow="fold") for name in columns), title=title)


def print_json(value: Any) -> None:
    """One JSON value, a line of standard output."""
    out.file.write(json.dumps(value) + "\n")
    out.file.flush()
