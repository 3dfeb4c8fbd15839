"""Record again what `CASES` do, where it has to change: `python -m tests.training.recorded.record`."""

import json
import tempfile
from pathlib import Path

from tests.training.conftest import byte_tokenizer
from tests.training.recorded.cases import CASES, examples, write_model
from tests.training.recorded.recording import steps


def main() -> None:
    """Write `steps.json` beside this file."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        models = {head: write_model(Path(scratch) / f"{head}", byte_tokenizer(), head) for head in (False, True)}
        for name, objective in CASES.items():
            found[name] = steps(objective, models[name == "value_mse"], examples(), Path(scratch) / name)
            print(name, *(f"{step['loss']:.6f}" for step in found[name]))
    Path(__file__).with_name("steps.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
