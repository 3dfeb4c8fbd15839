"""Started by torchrun: do the cases that a file names, as one of its processes; the first writes what steps did.

The file is a list of {case, sharded, folder}: `folder` has the checkpoints, and gets `steps.json`.
"""

import json
import os
import sys
from pathlib import Path

from tests.training.recorded.cases import CASES, examples
from tests.training.recorded.recording import steps


def main(asked: Path, models: Path) -> None:
    """Do them one after another."""
    for job in json.loads(asked.read_text()):
        objective = CASES[job["case"]].model_copy(update={"sharded": job["sharded"], "checkpoint_every": 2})
        found = steps(objective, models / str(job["case"] == "value_mse"), examples(), Path(job["folder"]))
        if os.environ["RANK"] == "0":
            Path(job["folder"], "steps.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
