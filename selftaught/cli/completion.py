"""Shell completion: model lines, recipes, profiles and axes. It does not import MLflow and completes nothing if unsure.

The lines are read from the registry's tables where that is a file of this machine; a tracking server is not asked.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from typer import Context

from selftaught.core import shipped
from selftaught.core.errors import SelftaughtError


def complete_line(incomplete: str) -> list[str]:
    """The model lines that begin so."""
    with suppress(SelftaughtError, OSError, sqlite3.Error):
        return [name for name in _registered() if name.startswith(incomplete)]
    return []


def _registered() -> list[str]:
    from selftaught.settings import Settings
    from selftaught.state.database import database_file

    file = database_file(Settings.load().tracking_uri)
    if file is None:
        return []
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
        return sorted(name for (name,) in database.execute("SELECT name FROM registered_models"))


def complete_recipe(incomplete: str) -> list[str]:
    """The shipped recipes that begin so, and the recipe files and folders here that do."""
    names = sorted(path.stem for path in shipped.recipes().glob("*.yaml"))
    return [*(name for name in names if name.startswith(incomplete)), *_files(incomplete)]


def _files(incomplete: str) -> Iterator[str]:
    head, slash, tail = incomplete.rpartition("/")
    with suppress(OSError):
        for path in sorted(Path(head + slash or ".").iterdir()):
            if path.name.startswith(tail) and (path.is_dir() or path.suffix == ".yaml"):
                yield f"{head}{slash}{path.name}{'/' if path.is_dir() else ''}"


def complete_profile(context: Context, incomplete: str) -> list[str]:
    """The profiles that begin so, of the recipes among the words that stand before."""
    return [name for word in context.args for name in _profiles(word) if name.startswith(incomplete)]


def _profiles(word: str) -> list[str]:
    from selftaught.recipe import Recipe

    with suppress(SelftaughtError, OSError):
        return list(Recipe.load(Path(word)).profiles)
    return []


def complete_axis(incomplete: str) -> list[str]:
    """The axes of a recipe that begin so."""
    from selftaught.recipe import AXES

    return [axis for axis in AXES if axis.startswith(incomplete)]


def complete_family(incomplete: str) -> list[str]:
    """The families of recipes that begin so."""
    from selftaught.recipe.about import FAMILIES

    return [family for family in FAMILIES if family.startswith(incomplete)]
