"""Before every start of the MLflow server: its tables, its auth configuration, its accounts as the Secrets have them.

    accounts.py ACCOUNTS CONFIG

ACCOUNTS has a folder an account, named for its part (`admin`, `steps`, `promoter`; a team's are `steps.TEAM` and
`promoter.TEAM`) with the files `username` and `password`. Passwords follow the Secrets; accounts that are no longer
there are left alone. The database's URL is in MLFLOW_AUTH_DATABASE_URI and MLFLOW_BACKEND_STORE_URI; its tables are
made here, or moved on to this MLflow's: of replicas that start at once, by one after the other. STORES says (JSON)
where the files of each part's models are. With MLFLOW_ENABLE_WORKSPACES, each team has a workspace of its name: its
accounts see nothing of any other. The release's own is MLflow's `default`.
"""

import configparser
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.entities.workspace import Workspace
from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
from mlflow.exceptions import MlflowException
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import _safe_initialize_tables, _upgrade_db, create_sqlalchemy_engine_with_retry
from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore as Workspaces
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
from sqlalchemy import Engine, make_url, text

LOCK = 0x5E1F7A06
"""The number of the lock in a PostgreSQL database that one replica at a time holds."""


def main(accounts: Path, config: Path) -> None:
    """Write CONFIG and make the tables and the accounts."""
    given = {part.name: read(part) for part in sorted(accounts.iterdir()) if part.name[0] != "."}
    write(config, given)
    refuse_without_driver(os.environ["MLFLOW_BACKEND_STORE_URI"])
    engine = create_sqlalchemy_engine_with_retry(os.environ["MLFLOW_BACKEND_STORE_URI"])
    with alone(engine):
        # As `mlflow db upgrade` does, which takes a database that has nothing but accounts for one that was made.
        _safe_initialize_tables(engine)
        _upgrade_db(engine)
        fill(given)


def fill(given: dict[str, tuple[str, str]]) -> None:
    """Have the accounts, and what they may see."""
    store = SqlAlchemyStore()
    store.init_db(os.environ["MLFLOW_AUTH_DATABASE_URI"])
    for part, (username, password) in given.items():
        state = settle(store, username, password, is_admin=part == "admin")
        print(f"{part}: {username} {state}", flush=True)
    if MLFLOW_ENABLE_WORKSPACES.get():
        separate(store, {part: username for part, (username, _) in given.items() if part.startswith("steps")})


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
def alone(engine: Engine) -> Iterator[None]:
    """Hold the database against other replicas: MLflow's own lock is a file, which no two Pods share.

    Only PostgreSQL has several replicas. The lock goes with its transaction, so a killed replica leaves none.
    """
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield


def read(part: Path) -> tuple[str, str]:
    """The username and the password of an account."""
    return (part / "username").read_text(), (part / "password").read_text()


def write(config: Path, given: dict[str, tuple[str, str]]) -> None:
    """Write the server's configuration, which has the database's password in it."""
    promoters = {
        username: given[part.replace("promoter", "steps", 1)][0]
        for part, (username, _) in given.items()
        if part.startswith("promoter")
    }
    stores = json.loads(os.environ["STORES"])
    values = {
        "default_permission": os.environ["MLFLOW_AUTH_DEFAULT_PERMISSION"],
        "database_uri": os.environ["MLFLOW_AUTH_DATABASE_URI"],
        "admin_username": given["admin"][0],
        "authorization_function": "selftaught_mlflow:authorize",
        # A request checks its password several times, each as slow as a password hash has to be.
        "auth_cache_ttl_seconds": "60",
    }
    parser = configparser.ConfigParser()
    parser["mlflow"] = {key: value.replace("%", "%%") for key, value in values.items()}
    parser["selftaught"] = {
        "promoters": json.dumps(promoters).replace("%", "%%"),
        "stores": json.dumps({given[part][0]: store for part, store in stores.items()}).replace("%", "%%"),
    }
    with config.open("w") as file:
        parser.write(file)


def settle(store: SqlAlchemyStore, username: str, password: str, *, is_admin: bool) -> str:
    """Have the account with this password; returns what was done."""
    if store.authenticate_user(username, password):
        return "unchanged"
    if unless_there(lambda: store.create_user(username, password, is_admin=is_admin)):
        return "made"
    store.update_user(username, password=password)
    return "has its new password"


def unless_there(make: Callable[[], object]) -> bool:
    """Make what has a name; false where it has been made before, perhaps by another replica a moment ago."""
    try:
        make()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def separate(store: SqlAlchemyStore, steps: dict[str, str]) -> None:
    """Have a workspace for each team and let its steps account, as which its promoter goes on, work in that one."""
    workspaces = Workspaces(os.environ["MLFLOW_BACKEND_STORE_URI"])
    for part, username in steps.items():
        name = part.partition(".")[2] or DEFAULT_WORKSPACE_NAME
        unless_there(lambda name=name: workspaces.create_workspace(Workspace(name=name)))
        store.set_workspace_permission(name, username, "USE")
        print(f"{part}: works in the workspace {name}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
