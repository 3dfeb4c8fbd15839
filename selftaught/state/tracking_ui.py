"""The MLflow UI of one machine: `python -m selftaught.state.tracking_ui PORT`, over the registry of the settings.

MLflow's own server in one process, without the workers that run jobs (evaluation by judges, traces) and that nobody
asks for here: `mlflow ui` takes 14 processes and 3.3 GB, this 0.3 GB. It answers who has the key
(`selftaught.core.loopback`). A tracking server for several people is MLflow's own, or the chart's.
"""

import os
import sys

from selftaught.core.loopback import KEY, Keyed, new_key
from selftaught.settings import Settings

HOST = "127.0.0.1"


def address(port: int, key: str) -> str:
    """What a browser opens once; it keeps the key."""
    return f"http://{HOST}:{port}/?key={key}"


def main(port: int) -> None:
    """Serve until stopped. Without a key in the environment it makes one, and prints the address that has it."""
    if KEY not in os.environ:
        os.environ[KEY] = new_key()
        print(f"MLflow  {address(port, os.environ[KEY])}", flush=True)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    import uvicorn
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR

    os.environ[BACKEND_STORE_URI_ENV_VAR] = Settings.load().tracking_uri
    from mlflow.server.fastapi_app import app  # reads the variable

    uvicorn.run(Keyed(app), host=HOST, port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
