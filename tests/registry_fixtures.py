"""A registry with one line of two versions, made once a session and copied: MLflow takes ten seconds to make a database.

A test module asks for it with `pytest_plugins = ["registry_fixtures"]`. The models are folders that pass every check
that does not load them; no engine can serve them.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selftaught.store import open_store
from selftaught.tracking import Tracker, Version
from selftaught.weights import model_digest

LINE = "maths"


@dataclass(frozen=True)
class Registry:
    """The line `maths`: version 1 is base and previous, version 2 champion and head."""

    home: Path
    first: Version
    second: Version

    @property
    def tracker(self) -> Tracker:
        return Tracker(f"sqlite:///{self.home}/mlflow.db")


def tiny_model(folder: Path, numbers: int = 8, seed: int = 0) -> Path:
    """A folder with everything that a model has to have, and `numbers` weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.full(numbers, seed, dtype=np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def registry_made_once(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    home = tmp_path_factory.mktemp("registry") / "home"
    tracker, store = Tracker(f"sqlite:///{home}/mlflow.db"), open_store(str(home / "store"))
    versions: list[Version] = []
    for number in (1, 2):
        folder = tiny_model(home.parent / f"model-{number}", seed=number)
        digest = model_digest(folder)
        uri = store.put("models", digest, folder)
        tags = {"selftaught.recipe": "none" if number == 1 else "rft", "selftaught.round": str(number - 1)}
        versions.append(tracker.register(LINE, digest, uri, "", tags))
    first, second = versions
    for alias in ("base", "previous"):
        tracker.point(alias, first)
    for alias in ("head", "champion"):
        tracker.point(alias, second)
    return Registry(home, first, second)


@pytest.fixture
def registry(registry_made_once: Registry, home: Path) -> Registry:
    """A copy of the registry as this test's home."""
    shutil.copytree(registry_made_once.home, home)
    return Registry(home, registry_made_once.first, registry_made_once.second)


