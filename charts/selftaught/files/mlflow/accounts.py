"""MLflow's accounts as a folder has them: before every start of the server, and while it runs.

    accounts.py ACCOUNTS CONFIG

makes the server's tables, its auth configuration and its accounts. ACCOUNTS has two files an account, named for its
part: `PART.username` and `PART.password`, where PART is `admin`, `steps`, `promoter`, or a team's `steps.TEAM` or
`promoter.TEAM`; and `stores.json`, which says where the files of each part's models are. The kubelet changes the folder
in place and the server follows (server.py), so nothing starts again when a team comes, changes or goes.

Passwords follow the folder. An account that has gone from it is closed: nobody knows its password, and what it made
stays, so that a team that comes back has its lines again. Accounts that were made otherwise are left alone. The
database's URL is in MLFLOW_AUTH_DATABASE_URI and MLFLOW_BACKEND_STORE_URI; its tables are made here, or moved on to
this MLflow's: of replicas that start at once, by one after the other. With MLFLOW_ENABLE_WORKSPACES, each team has a
workspace of its name: its accounts see nothing of any other. The release's own is MLflow's `default`.
"""

import configparser
import json
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities.workspace import Workspace
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import _safe_initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore as Workspaces
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, delete, insert, make_url, select, text

LOCK = 0x5E1F7A06
"""The number of the lock in a PostgreSQL database that one replica at a time holds."""
OPEN = Table("selftaught_accounts", MetaData(), Column("username", String(255), primary_key=True))
"""The accounts that were made here and not closed since: MLflow knows of no account who made it."""


@dataclass(frozen=True)
class Account:
    """A name and a password, which is not shown."""

    username: str
    password: str

    def __repr__(self) -> str:
        return self.username


@dataclass(frozen=True)
class Accounts:
    """The folder as it was when it was read: each part's account, and the store of each part."""

    read: int
    by_part: dict[str, Account]
    by_store: dict[str, str]

    @property
    def names(self) -> set[str]:
        return {account.username for account in self.by_part.values()}

    @property
    def promoters(self) -> dict[str, str]:
        """Each promoter with the steps account whose grants it takes."""
        pairs = ((part, part.replace("promoter", "steps", 1)) for part in self.by_part if part.startswith("promoter"))
        return {
            self.by_part[one].username: self.by_part[other].username for one, other in pairs if other in self.by_part
        }

    @property
    def stores(self) -> dict[str, str]:
        """Each account with the store of its team, below which the files of its versions are."""
        return {self.by_part[part].username: store for part, store in self.by_store.items() if part in self.by_part}


NONE = Accounts(0, {}, {})


def main(folder: Path, config: Path) -> None:
    """Write CONFIG and make the tables and the accounts."""
    given = read(folder)
    write(config, folder, given)
    refuse_without_driver(os.environ["MLFLOW_BACKEND_STORE_URI"])
    engine = create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"])
    store = SqlAlchemyStore()
    with alone(engine):
        # As `mlflow db upgrade` does, which takes a database that has nothing but accounts for one that was made.
        _safe_initialize_tables(engine)
        _upgrade_db(engine)
        store.init_db(os.environ["MLFLOW_AUTH_DATABASE_URI"])
        OPEN.metadata.create_all(store.engine)
    bring(store, given.by_part)
    with store.engine.connect() as connection:
        left = set(connection.scalars(select(OPEN.c.username))) - given.names
    close(store, left)


def changed(folder: Path) -> int:
    """When the folder last changed (ns): the kubelet changes all its files at once, by a new link in it."""
    return folder.stat().st_mtime_ns


def read(folder: Path) -> Accounts:
    """The accounts of the folder; one whose files have not both come yet is left out."""
    when = changed(folder)
    by_part: dict[str, Account] = {}
    for username in sorted(folder.glob("*.username")):
        password = username.with_suffix(".password")
        if password.exists():
            by_part[username.stem] = Account(username.read_text(), password.read_text())
    return Accounts(when, by_part, json.loads((folder / "stores.json").read_text()))


def bring(store: SqlAlchemyStore, given: dict[str, Account]) -> None:
    """Have the accounts, and what they may see. One that MLflow refuses is reported, and does not block the others."""
    for part, account in given.items():
        try:
            state = settle(store, part, account)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            state = f"is refused: {error.message}"
        print(f"{part}: {account.username} {state}", flush=True)


def settle(store: SqlAlchemyStore, part: str, account: Account) -> str:
    """Have the account with this password, and a team's work in its workspace; returns what was done."""
    username, password = account.username, account.password
    state = "unchanged"
    if not store.authenticate_user(username, password):
        state = "made"
        if not unless_there(lambda: store.create_user(username, password, is_admin=part == "admin")):
            store.update_user(username, password=password)
            state = "has its new password"
    remember(store, username)
    if part.startswith("steps") and MLFLOW_ENABLE_WORKSPACES.get():
        name = part.partition(".")[2] or DEFAULT_WORKSPACE_NAME
        separate(store, name, username)
        state += f", works in the workspace {name}"
    return state


def separate(store: SqlAlchemyStore, name: str, username: str) -> None:
    """Have a workspace and let the steps account, as which its promoter acts, work in it."""
    workspaces = Workspaces(os.environ["MLFLOW_BACKEND_STORE_URI"])
    unless_there(lambda: workspaces.create_workspace(Workspace(name=name)))
    store.set_workspace_permission(name, username, "USE")


def remember(store: SqlAlchemyStore, username: str) -> None:
    """Note that the account was made here."""
    with alone(store.engine) as connection:
        connection.execute(delete(OPEN).where(OPEN.c.username == username))
        connection.execute(insert(OPEN).values(username=username))


def close(store: SqlAlchemyStore, usernames: Iterable[str]) -> None:
    """Give the accounts passwords that nobody knows."""
    for username in sorted(usernames):
        if store.has_user(username):
            store.update_user(username, password=secrets.token_urlsafe(32))
        with store.engine.begin() as connection:
            connection.execute(delete(OPEN).where(OPEN.c.username == username))
        print(f"{username} closed", flush=True)


def refuse_without_driver(url: str) -> None:
    """End with the fix where the image has not what speaks to the database: SQLAlchemy would, with a traceback."""
    try:
        make_url(url).get_dialect().import_dbapi()
    except ImportError as error:
        begins = url.partition("://")[0]
        sys.exit(
            f"mlflow.database: the URL begins with {begins}://, for which this image lacks {error.name}. "
            "It has psycopg2: let a PostgreSQL's begin with postgresql+psycopg2://"
        )


@contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """Hold the database against other replicas: MLflow's own lock is a file, which no two Pods share.

    Only PostgreSQL has several replicas. The lock goes with its transaction, so a killed replica leaves none.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def write(config: Path, folder: Path, given: Accounts) -> None:
    """Write the server's configuration, which has the database's password in it."""
    values = {
        "default_permission": os.environ["MLFLOW_AUTH_DEFAULT_PERMISSION"],
        "database_uri": os.environ["MLFLOW_AUTH_DATABASE_URI"],
        "admin_username": given.by_part["admin"].username,
        "authorization_function": "selftaught_mlflow:authorize",
        # A request checks its password several times, each as slow as a password hash has to be.
        "auth_cache_ttl_seconds": "60",
    }
    parser = configparser.ConfigParser()
    parser["mlflow"] = {key: value.replace("%", "%%") for key, value in values.items()}
    parser["selftaught"] = {"accounts": str(folder).replace("%", "%%"), "read": str(given.read)}
    with config.open("w") as file:
        parser.write(file)


def noted(config: Path) -> tuple[Path, int]:
    """The folder that `write` noted, and when it had changed last."""
    parser = configparser.ConfigParser()
    parser.read(config)
    return Path(parser["selftaught"]["accounts"]), parser.getint("selftaught", "read")


def unless_there(make: Callable[[], object]) -> bool:
    """Make what has a name; false where it has been made before, perhaps by another replica a moment ago."""
    try:
        make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
