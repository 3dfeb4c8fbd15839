"""Before every start of the MLflow server: its auth configuration, and its accounts as the Secrets have them.

    accounts.py ACCOUNTS CONFIG

ACCOUNTS has a folder an account, named for its part (`admin`, `steps`, `promoter`; a team's are `steps.TEAM` and
`promoter.TEAM`) with the files `username` and `password`. Passwords follow the Secrets; accounts that are no longer
there are left alone. The database's URL is in MLFLOW_AUTH_DATABASE_URI.
"""

import configparser
import json
import os
import sys
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore


def main(accounts: Path, config: Path) -> None:
    """Write CONFIG and make the accounts."""
    given = {part.name: read(part) for part in sorted(accounts.iterdir()) if part.name[0] != "."}
    write(config, given)
    store = SqlAlchemyStore()
    store.init_db(os.environ["MLFLOW_AUTH_DATABASE_URI"])
    for part, (username, password) in given.items():
        state = settle(store, username, password, is_admin=part == "admin")
        print(f"{part}: {username} {state}", flush=True)


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
    parser["selftaught"] = {"promoters": json.dumps(promoters)}
    with config.open("w") as file:
        parser.write(file)


def settle(store: SqlAlchemyStore, username: str, password: str, *, is_admin: bool) -> str:
    """Have the account with this password; returns what was done."""
    if store.authenticate_user(username, password):
        return "unchanged"
    try:
        store.create_user(username, password, is_admin=is_admin)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        store.update_user(username, password=password)
        return "has its new password"
    return "made"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
