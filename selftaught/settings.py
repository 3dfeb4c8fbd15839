"""Where things are on this machine: one frozen object read from the environment, so that components and the command
line agree. It says nothing of the method that is run; that is the recipe's.
"""

import os
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Locations, all under `home` unless the environment says otherwise."""

    model_config = ConfigDict(frozen=True)

    home: Path
    store: str
    """A directory, or `s3://bucket/prefix` (credentials and endpoint from the AWS_* environment variables)."""
    tracking_uri: str
    engines: str
    """Address of the engine owner (a Unix socket's path) that components ask for endpoints; empty outside a run."""
    events: str
    """File that steps append their progress to; empty: progress is not kept."""

    @classmethod
    def load(cls) -> Self:
        """The settings of this process: SELFTAUGHT_HOME, SELFTAUGHT_STORE, MLFLOW_TRACKING_URI and the run's own."""
        home = Path(os.environ.get("SELFTAUGHT_HOME", ".selftaught")).resolve()
        return cls(
            home=home,
            store=os.environ.get("SELFTAUGHT_STORE", str(home / "store")),
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db"),
            engines=os.environ.get("SELFTAUGHT_ENGINES", ""),
            events=os.environ.get("SELFTAUGHT_EVENTS", ""),
        )
