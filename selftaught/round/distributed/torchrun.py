"""The processes that share a training: `python -m selftaught.round.distributed.torchrun WORK [OPTIONS of torchrun]`.

It is torchrun itself, which starts this module once for each process. They die with it, and it with who started it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from selftaught.core.processes import die_with_parent
from selftaught.round.distributed.request import OfflineRequest, TrainRequest


def main() -> None:
    """Start the processes that do the work in the file WORK; or, started by torchrun, be one of them."""
    die_with_parent()
    work, *options = sys.argv[1:]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        read(Path(work)).run_as_rank(first=os.environ["RANK"] == "0")
        return
    from torch.distributed import run

    arguments = cast(Any, run).parse_args([*options, "-m", "selftaught.round.distributed.torchrun", work])
    if arguments.nproc_per_node.isdecimal():  # torchrun's own default is one thread a process
        cores = len(os.sched_getaffinity(0))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(arguments.nproc_per_node))))
    cast(Any, run).run(arguments)


def read(work: Path) -> TrainRequest:
    """The request in the file `work`."""
    text = work.read_text(encoding="utf-8")
    if json.loads(text)["kind"] == "offline":
        return OfflineRequest.model_validate_json(text)
    from selftaught.round.distributed.online import OnlineRequest  # brings samplers, verifiers and engines

    return OnlineRequest.model_validate_json(text)


if __name__ == "__main__":
    main()
