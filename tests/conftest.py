"""What every test may ask for: the real starter model, and a home of its own."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import event
from sqlalchemy.engine import Engine

from selftaught.state.starter import pull

REPOSITORY = Path(__file__).parent.parent

# What is away in a test stays away, but where the test brings it back.
os.environ.setdefault("SELFTAUGHT_PATIENCE", "0")

# How long an example takes is the machine's affair: a property is not refuted by a slow one.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


@event.listens_for(Engine, "connect")
def _cut_no_power(connection: Any, _: object) -> None:
    """Tests kill processes and cut no power: MLflow's databases need not wait for the disk at every commit."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """A folder with SmolLM2-135M-Instruct: SELFTAUGHT_TEST_MODEL, or the checkout's own (pulled once)."""
    given = os.environ.get("SELFTAUGHT_TEST_MODEL")
    return Path(given) if given else pull("smollm2-135m-instruct", REPOSITORY / ".selftaught" / "models")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SELFTAUGHT_HOME in a folder of the test's own, so that no test touches a developer's models and runs."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SELFTAUGHT_HOME", str(folder))
    for name in ("SELFTAUGHT_STORE", "SELFTAUGHT_ENGINES", "SELFTAUGHT_EVENTS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return folder
