"""A registry for tests: one line of two versions, whose models pass every check that does not load them.

No engine can serve them. `registry_fixtures` makes the registry once a session.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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


def make_registry(home: Path) -> Registry:
    """Register two versions in an empty `home`."""
    tracker = Tracker(f"sqlite:///{home}/mlflow.db")
    first, second = (register(tracker, home, number) for number in (1, 2))
    for alias in ("base", "previous"):
        tracker.point(alias, first)
    for alias in ("head", "champion"):
        tracker.point(alias, second)
    return Registry(home, first, second)


def register(tracker: Tracker, home: Path, number: int) -> Version:
    """Store a tiny model and register it as version `number`, the first as adopted, later ones as a round's."""
    folder = tiny_model(home.parent / f"model-{number}", seed=number)
    digest = model_digest(folder)
    uri = open_store(str(home / "store")).put("models", digest, folder)
    tags = {"recipe": "none"} if number == 1 else {"recipe": "rft", "round": str(number - 1), "outcome": "promoted"}
    return tracker.register(LINE, digest, uri, "", {f"selftaught.{key}": value for key, value in tags.items()})
