"""MLflow's database in a file: created and migrated atomically.

MLflow makes its tables where they are, in some fifty steps that no transaction holds together: a kill, a full disk or
a second process in between leaves a file that no later start can use. Here a new database is made next to its path
and renamed; one that an earlier MLflow made is copied, brought up to date and renamed. One process at a time does so,
under the lock of the folder. It does not read what the tables hold, and leaves servers to themselves.
"""

import sqlite3
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from urllib.parse import quote

from selftaught.core.errors import BadInput
from selftaught.core.files import flush
from selftaught.settings import database_url
from selftaught.state.store import locked

_FIRST = frozenset({"alembic_version", "experiments", "workspaces"})
"""The tables that MLflow itself puts a row into: the version, and the default experiment and workspace."""


def database_file(url: str) -> Path | None:
    """The file of a SQLite database, or None where `url` is of anything else."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    in_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    return Path(str(parsed.database)) if in_file and not parsed.query else None


def create_or_upgrade(file: Path) -> None:
    """Make the database in `file`, or bring it up to date; nothing happens when it is.

    Raises BadInput where this MLflow cannot do so from its path, sqlite3.Error, SQLAlchemyError, MlflowException or
    alembic's CommandError when it cannot be done, and OSError when the folder cannot be written. What was there before
    is then as it was.
    """
    if _up_to_date(file):
        return
    with locked(file.parent):
        if not _up_to_date(file):
            scratch = file.with_name(f".{file.name}.part")
            _remove(scratch)
            try:
                _copy_up_to_date(file, scratch) if _holds(file) else _make(file, scratch)
                flush(scratch)
                scratch.replace(file)
                flush(file.parent)
            finally:
                _remove(scratch)


def _up_to_date(file: Path) -> bool:
    """Whether the tables are those of this MLflow: it notes the version after the last step."""
    latest = _latest()
    if not file.exists():
        return False
    with closing(_connect(file)) as database:
        return _rows(database, "alembic_version", "version_num") == [latest]


@cache
def _latest() -> str:
    """The version of this MLflow's tables, for which alembic loads some fifty scripts."""
    from mlflow.store.db.utils import _get_latest_schema_revision  # pyright: ignore[reportPrivateUsage]

    try:
        return str(_get_latest_schema_revision())
    except ValueError:  # alembic reads the path of its scripts with placeholders
        raise BadInput(
            f"{sys.prefix}: MLflow does not work from a folder with '%' in its path. Make the environment elsewhere: "
            "make setup VENV=/another/folder"
        ) from None


def _holds(file: Path) -> bool:
    """Whether there is anything in `file` but what MLflow itself puts into a new one, which may be half made."""
    if not file.exists():
        return False
    with closing(_connect(file)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        filled = {name for name in tables if _rows(database, name, "1", "LIMIT 1")}
        named = _rows(database, "experiments", "name")
    return not filled <= _FIRST or named not in ([], ["Default"]) or bool(tables and "experiments" not in tables)


def _make(file: Path, scratch: Path) -> None:
    from mlflow.tracking import MlflowClient

    _remove(file)  # what is there was never a complete database; a journal of it would be rolled back into the new one
    url = database_url(scratch)
    MlflowClient(url, url).search_experiments(max_results=1)  # pyright: ignore[reportUnknownMemberType]


def _copy_up_to_date(file: Path, scratch: Path) -> None:
    from mlflow.store.db.utils import (  # pyright: ignore[reportUnknownVariableType]
        _initialize_tables,  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
    )
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with closing(_connect(file)) as old, closing(sqlite3.connect(scratch)) as new:
        old.backup(new)
    _initialize_tables(create_engine(database_url(scratch), poolclass=NullPool))


def _connect(file: Path) -> sqlite3.Connection:
    """A connection that makes no file; an interrupted transaction is rolled back on the way."""
    return sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=20)


def _rows(database: sqlite3.Connection, table: str, column: str, rest: str = "") -> list[str]:
    """The values of a column; none where there is no such table."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchall():
        return []
    return [value for (value,) in database.execute(f'SELECT {column} FROM "{table}" {rest}')]  # noqa: S608


def _remove(file: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
