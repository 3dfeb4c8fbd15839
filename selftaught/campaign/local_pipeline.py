"""Run a compiled pipeline on this machine: kfp.local, one process a task, in the environment that is there.

A program of its own (`python -m selftaught.campaign.local_pipeline`), so that the campaign can watch it, log it and
outlive its failure. It runs what `pipelines/compiled/` holds, the same file that a cluster runs. It owns no engines.
"""

import json
import logging
import os
import shlex
import sys
import tempfile
from pathlib import Path

from selftaught.campaign import step_forks
from selftaught.campaign.step_forks import fork_server
from selftaught.core.processes import die_with_parent


def main() -> None:
    """`python -m selftaught.campaign.local_pipeline PIPELINE ROOT ARGUMENTS`: run PIPELINE with JSON ARGUMENTS, files
    under ROOT.
    """
    die_with_parent()
    pipeline, root, arguments = sys.argv[1:]
    logging.getLogger().setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, fork_server(folder):
        _call_it_python3(Path(folder))
        _run(pipeline, root, arguments)


def _run(pipeline: str, root: str, arguments: str) -> None:
    from kfp import components, local

    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
    try:
        components.load_component_from_file(str(Path(pipeline)))(**json.loads(arguments))
    except RuntimeError as error:
        # The step has reported its own failure; kfp's text only says that there was one.
        raise SystemExit(f"pipeline: {str(error).splitlines()[0]}") from None


def _call_it_python3(folder: Path) -> None:
    """Have `python3` be a fork of the server in `folder`, or this interpreter, and kfp leave that word as it is.

    kfp would write sys.executable instead, unquoted in shell text (a path with a space then ends a step before it
    begins) and in arguments as well (so that a file below `python3-notes/` is not found).
    """
    stand_in = folder / "python3"
    python = shlex.quote(sys.executable)
    program = f"{python} -I -S {shlex.quote(step_forks.__file__)} {shlex.quote(str(folder))} {python}"
    stand_in.write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    sys.executable = "python3"


if __name__ == "__main__":
    main()
