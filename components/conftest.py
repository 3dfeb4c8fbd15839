"""What components' tests may ask for: a home, an adopted line, simulated engines, and a round to take steps in."""

from pathlib import Path

import pytest

from selftaught.platform import Platform
from tests.conftest import home
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "home", "model", "platform", "recorded_blocks", "requests"]


@pytest.fixture
def round(platform: Platform, engines: Path, model: Path, tmp_path: Path) -> Round:
    """A round on the adopted line, nothing done yet."""
    return Round(tmp_path / "round", recipe(model))
