"""Started by torchrun: do each of the works in the files that are named, one after another, as one of its processes."""

import os
import sys
from pathlib import Path

from selftaught.round.distributed.request import OfflineRequest

for path in sys.argv[1:]:
    OfflineRequest.model_validate_json(Path(path).read_text()).run_as_rank(first=os.environ["RANK"] == "0")
