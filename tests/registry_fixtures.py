"""A registry made once a session and copied for each test: MLflow takes ten seconds to make a database.

A test module asks for it with `pytest_plugins = ["tests.registry_fixtures"]`.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.registry_made import Registry, make_registry


@pytest.fixture(scope="session")
def registry_made_once(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return make_registry(tmp_path_factory.mktemp("registry") / "home")


@pytest.fixture
def registry(registry_made_once: Registry, home: Path) -> Registry:
    """A copy of the registry as this test's home."""
    shutil.copytree(registry_made_once.home, home)
    return replace(registry_made_once, home=home)
