"""Write constraints.txt: every version that the project is installed with, resolved anew from pyproject.toml.

`python scripts/lock.py` keeps the pins that still fit; `python scripts/lock.py --upgrade` takes the newest. Resolved
against the package index alone, where torch is the CUDA build: what that needs is a superset of what the CPU build
needs. Names and versions only, no hosts, so that it holds for whichever index or mirror a machine uses.
"""

import os
import subprocess
import sys
from pathlib import Path

from environment import ROOT, pip_configuration, uv_environment

HEADER = "# Every version the project is tested with. Written by `make lock`; do not edit.\n"


def main() -> None:
    """Resolve and write, passing the command line's options on to uv."""
    python = Path(sys.executable)
    pip = {option: value for option, value in pip_configuration(python).items() if option != "find-links"}
    environment = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
    constraints = ROOT / "constraints.txt"
    subprocess.run(
        [
            *(python.parent / "uv", "pip", "compile", "--quiet", "--python", python, "--all-extras", "--group", "dev"),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", constraints, *sys.argv[1:], "pyproject.toml"),
        ],
        cwd=ROOT,
        env={**environment, **uv_environment(pip)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    constraints.write_text(HEADER + constraints.read_text())


if __name__ == "__main__":
    main()
