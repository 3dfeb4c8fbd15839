"""Install into an image's environment, inside a build:
`python install.py [--lock FILE] [--torch cpu|index|REQUIREMENT] [--extra NAME]… [PACKAGE]…`.

uv installs at the versions of constraints.txt, or of FILE, from the indexes that pip is configured with, files whose
SHA-256 is there and no others, and compiles to bytecode, because the file system may be read-only later. Nothing is
built: what comes as source alone is a wheel already (wheels.py). Extras are the project's dependencies without the
project itself, so that a change of its code costs one small layer.

torch is PyTorch's build for CPUs where that can be had, here or from TORCH_INDEX, and says so where it cannot; with
`index`, what the index has under the plain version, which is CUDA's; or the REQUIREMENT, which no hash is asked of.
"""

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from environment import (
    ROOT,
    install_locked,
    install_unhashed,
    installed_builds,
    locked,
    pinned,
    pip_configuration,
    torch_for_cpus,
    uv_environment,
)

PYTHON = Path("/opt/selftaught/bin/python")
UV = Path(sys.executable).parent / "uv"
COMPILED = Path("/build/compiled")
"""Wheels of what comes as source alone."""

NO_CPU_BUILD = """\
WARNING: no index here has torch's build for CPUs, so this image has CUDA's libraries, 3 GB that no CPU can use.
Point the build to an index that has that wheel: --build-arg TORCH_INDEX=URL (PyTorch's own, or a mirror of it), or
pip's find-links. For GPUs: --build-arg TORCH=index.
"""


def main(lock: str, torch: str | None, wanted: list[str]) -> None:
    """Install `wanted`, in uv's words, at the versions of `lock`, with `torch` as it says, if anything."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    settings, instead = image_settings(), compiled()
    if torch == "cpu":
        settings, cpu = torch_from(settings)
        instead |= cpu
        wanted = ["torch", *wanted]
    elif torch == "index":
        wanted = [pinned(["torch"], text)[0].replace("==", "==="), *wanted]  # not 2.13.0+cpu, which == would take
    elif torch:
        install_unhashed(UV, [torch], settings)
    instead |= installed_builds(UV, text, settings)
    held = locked(text, instead)
    install_locked(UV, held, pinned(wanted, held), settings)
    if torch:
        listed = subprocess.run([UV, "pip", "freeze"], env=settings, capture_output=True, text=True, check=True)
        print("image:", next(line for line in listed.stdout.splitlines() if line.startswith("torch")), flush=True)


def image_settings() -> dict[str, str]:
    """Environment variables for uv: pip's configuration, the environment of the image, no cache, no build."""
    settings = uv_environment(pip_configuration(Path(sys.executable)))
    folders = [*filter(None, [settings.get("UV_FIND_LINKS")]), str(COMPILED)]
    image = {"UV_PYTHON": str(PYTHON), "UV_NO_CACHE": "1", "UV_NO_BUILD": "1", "UV_COMPILE_BYTECODE": "1"}
    return {**os.environ, **settings, **image, "UV_FIND_LINKS": ",".join(folders)}


def compiled() -> dict[str, str]:
    """Lines with the hashes of the wheels that were made here, of sources whose hashes the lock has."""
    lines: dict[str, str] = {}
    for wheel in COMPILED.glob("*.whl"):
        project, version, *_ = wheel.name.split("-")
        name = project.replace("_", "-").lower()
        lines[name] = f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"
    return lines


def torch_from(settings: Mapping[str, str]) -> tuple[Mapping[str, str], dict[str, str]]:
    """Where torch's build for CPUs is found: the settings as they are or with TORCH_INDEX, and its line."""
    more = " ".join(filter(None, [settings.get("UV_INDEX"), os.environ.get("TORCH_INDEX")]))
    for indexes in (settings, {**settings, "UV_INDEX": more}):
        if line := torch_for_cpus(UV, indexes):
            return indexes, line
    print(NO_CPU_BUILD, flush=True)
    return settings, {}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", default="constraints.txt")
    parser.add_argument("--torch")
    args, rest = parser.parse_known_args()
    main(args.lock, args.torch, rest)
