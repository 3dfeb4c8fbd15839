"""Install into an image's environment, inside a build: `python install.py [--lock FILE] [--extra NAME]… [PACKAGE]…`.

uv installs at the versions of constraints.txt, or of FILE, from the indexes that pip is configured with, and compiles
to bytecode, because the file system may be read-only later. Extras are the project's dependencies without the project
itself, so that a change of its code costs one small layer.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from environment import ROOT, pip_configuration, uv_environment

PYTHON = Path("/opt/selftaught/bin/python")
COMPILED = Path("/build/compiled")
"""Wheels of what comes as source alone."""


def main(lock: str, wanted: list[str]) -> None:
    """Install `wanted`, in uv's words, at the versions of `lock`."""
    settings = uv_environment(pip_configuration(Path(sys.executable)))
    wheels = [*filter(None, [settings.get("UV_FIND_LINKS")]), str(COMPILED)]
    subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON, "--compile-bytecode"),
            *("--no-cache", "--constraint", ROOT / lock, *wanted),
        ],
        cwd=ROOT,
        env={**os.environ, **settings, "UV_FIND_LINKS": ",".join(wheels)},
        check=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", default="constraints.txt")
    told, rest = parser.parse_known_args()
    main(told.lock, rest)
