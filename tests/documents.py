"""YAML of many documents, by the parser in C: compiled pipelines and manifests take the other one seconds."""

from pathlib import Path
from typing import Any

import yaml


def documents(path: Path) -> list[Any]:
    """The documents of a file."""
    return list(yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
