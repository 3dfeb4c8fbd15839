"""The store and MLflow as a cluster needs them.

That they answer, and that the store refuses a second writer, a round on this machine needs too:
`selftaught.doctor.machine`.
"""

import os

from selftaught.core.errors import SelftaughtError, without_credentials
from selftaught.doctor.cluster.api import unknown
from selftaught.doctor.machine import Finding
from selftaught.settings import Settings
from selftaught.state.database import database_file
from selftaught.state.tracking import Tracker

USER, WORKSPACE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_WORKSPACE"


def bucket(settings: Settings) -> Finding:
    """Whether Pods reach the store, which a folder of this machine's is not."""
    shared = settings.store.startswith(("s3://", "minio://"))
    said = settings.store if shared else f"{settings.store} is a folder of this machine, which no Pod sees"
    return Finding("bucket", shared, said, "set SELFTAUGHT_STORE to s3://bucket/prefix")


def account(settings: Settings) -> Finding:
    """Whether MLflow takes the account and knows the workspace, where one is set."""
    name, uri = "mlflow account", settings.tracking_uri
    if database_file(uri) is not None:
        fix = "set MLFLOW_TRACKING_URI to the URL of the MLflow server"
        return Finding(name, False, f"{uri} is a database of this machine, which no Pod sees", fix)
    who, where = os.environ.get(USER, "no account"), os.environ.get(WORKSPACE)
    said = f"{who}, workspace {where}" if where else who
    if not uri.startswith("http"):
        return Finding(name, True, f"{without_credentials(uri)} is a database, which has no accounts")
    try:
        _ = Tracker(uri).client
    except SelftaughtError as error:
        return _refused(name, said, str(error))
    return Finding(name, True, f"{said} is accepted")


def _refused(name: str, said: str, words: str) -> Finding:
    """Told by what MLflow's client says of its server's answer: its status, or the workspace."""
    if "error code 401" in words or "error code 403" in words:
        fix = f"set {USER} and MLFLOW_TRACKING_PASSWORD to an account that may read the workspace"
        return Finding(name, False, f"{said} is refused", fix)
    if "orkspace" in words:
        fix = f"set {WORKSPACE} to one that is there (the chart makes one for each of `teams`), or unset it"
        return Finding(name, False, f"{said}: {words}", fix)
    return unknown(name, words, "see the finding `tracking`")
