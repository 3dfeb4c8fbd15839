"""Make wheels of what comes as source alone, inside a build: `python wheels.py PACKAGE…`.

The sources are held to the hashes of constraints.txt, and what builds them is what scripts/build-tools.txt installed:
install.py builds nothing, so that no package enters an image by way of a build.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from environment import LOCK, PIN, ROOT
from install import COMPILED


def main(wanted: list[str]) -> None:
    """Make a wheel of each of `wanted`, at its locked version."""
    lines = {pin[1]: pin[0] for pin in PIN.finditer((ROOT / LOCK).read_text(encoding="utf-8"))}
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("".join(lines[name] for name in wanted))
        file.flush()
        held = ("--require-hashes", "--no-deps", "--no-build-isolation", "--use-pep517", "--no-cache-dir")
        pip = (sys.executable, "-m", "pip", "wheel", "-q", *held, "-w", COMPILED, "-r", file.name)
        subprocess.run(pip, check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
