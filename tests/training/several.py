"""Started by torchrun: do each of the works in the files that are named, one after another, as one of its processes."""

import os
import sys
from pathlib import Path

from selftaught.round.distributed.request import Work

for path in sys.argv[1:]:
    Work.model_validate_json(Path(path).read_text()).as_a_process(first=os.environ["RANK"] == "0")
