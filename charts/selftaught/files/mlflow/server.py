"""The MLflow server, and beside it, in a thread of the process that starts it, what brings its accounts after a folder.

    server.py server …      (the arguments are those of the command `mlflow`)

The server's own processes look at the folder and write nothing (selftaught_mlflow.py): they are many, and MLflow looks
for the workspace that a request names before it asks who wants to work there.
"""

import os
import threading
import time
from functools import cache
from pathlib import Path

import accounts
from accounts import Accounts
from mlflow.cli import cli
from mlflow.exceptions import MlflowException
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

SECONDS = 2.0
"""Between two looks at the folder."""


def follow() -> None:
    """Bring MLflow's accounts after the folder whenever that has changed; what fails is tried again."""
    folder, seen = accounts.noted(Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]))
    known = accounts.read(folder)
    if known.read != seen:  # it has changed since the accounts were made
        known = accounts.NONE
    while True:
        try:
            if accounts.changed(folder) != known.read:
                known = brought(known, accounts.read(folder))
        except (MlflowException, SQLAlchemyError, OSError, ValueError) as error:
            print(f"accounts: {error}", flush=True)
        time.sleep(SECONDS)


def brought(known: Accounts, now: Accounts) -> Accounts:
    """Do what makes `now` of `known`, and return it."""
    changed = {part: account for part, account in now.by_part.items() if known.by_part.get(part) != account}
    accounts.bring(store(), changed)
    accounts.close(store(), known.names - now.names)
    return now


@cache
def store() -> SqlAlchemyStore:
    """MLflow's accounts."""
    made = SqlAlchemyStore()
    made.init_db(os.environ["MLFLOW_AUTH_DATABASE_URI"])
    return made


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    cli()
