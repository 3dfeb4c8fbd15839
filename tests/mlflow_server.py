"""MLflow's own server in one process: `mlflow server` loads MLflow in a second one that watches it, and in eight or
more that run jobs nobody asks for here.
"""

import os
import sys
from pathlib import Path

from mlflow.server import constants


def command(port: int) -> list[str]:
    """The server on a loopback port."""
    return [sys.executable, "-m", "uvicorn", "mlflow.server.fastapi_app:app", "--host=127.0.0.1", f"--port={port}"]


def environment(database: Path, artifacts: Path) -> dict[str, str]:
    """This process's environment, with what `mlflow server` passes on to its server."""
    return os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        constants.BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{database}",
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(artifacts),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
    }
