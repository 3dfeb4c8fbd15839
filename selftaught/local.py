"""Run a compiled pipeline on this machine: kfp.local, one subprocess a task, in the environment that is there.

A program of its own (`python -m selftaught.local`), so that the campaign can watch it, log it and outlive its failure.
It runs what `pipelines/compiled/` holds, the same file that a cluster runs. It owns no engines.
"""

import json
import logging
import sys
from pathlib import Path

from selftaught.processes import die_with_parent


def main() -> None:
    """`python -m selftaught.local PIPELINE ROOT ARGUMENTS`: run PIPELINE with JSON ARGUMENTS, files under ROOT."""
    die_with_parent()
    pipeline, root, arguments = sys.argv[1:]
    from kfp import components, local

    logging.getLogger().setLevel(logging.WARNING)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
    try:
        components.load_component_from_file(str(Path(pipeline)))(**json.loads(arguments))
    except RuntimeError as error:
        # The step has told its own failure; kfp's text only says that there was one.
        raise SystemExit(f"pipeline: {str(error).splitlines()[0]}") from None


if __name__ == "__main__":
    main()
