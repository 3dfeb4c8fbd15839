"""The processes that share a training: `python -m selftaught.round.torchrun PROCESSES WORK`.

It is torchrun itself, which starts this module once for each process. They die with it, and it with who started it.
"""

import os
import sys
from pathlib import Path
from typing import Any, cast

from selftaught.processes import die_with_parent
from selftaught.round.work import Work


def main() -> None:
    """Start PROCESSES processes that do the work in the file WORK; or, started by torchrun, be one of them."""
    die_with_parent()
    *processes, work = sys.argv[1:]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        Work.model_validate_json(Path(work).read_text()).as_a_process(first=os.environ["RANK"] == "0")
        return
    from torch.distributed import run

    cast(Any, run).main(["--standalone", f"--nproc-per-node={processes[0]}", "-m", "selftaught.round.torchrun", work])


if __name__ == "__main__":
    main()
