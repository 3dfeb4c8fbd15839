"""A registry of a test's own."""

import shutil
from pathlib import Path

import pytest

from selftaught.state.tracking import Tracker
from tests.rounds import database

__all__ = ["database"]


@pytest.fixture
def tracker(tmp_path: Path, database: Path) -> Tracker:
    """An empty registry: a copy of one, because making one takes seconds."""
    home = shutil.copytree(database, tmp_path / "registry")
    return Tracker(f"sqlite:///{home}/mlflow.db")
