"""Make the virtual environment: `python3.11 scripts/environment.py [.venv]`. Standard library only.

uv installs, because it takes half a minute where pip takes many; it does not read pip's configuration, so what that
says (indexes, wheel folders, certificates, proxy) is handed on. A stamp, written last and keyed on everything that
decides what is installed, makes a second run instant; an environment without a stamp was never finished, and is made
again.

Which files are installed is the locks' business, wherever they come from: one whose SHA-256 no lock has is refused, of
what only builds others too. Not held to that are the project itself and, because an index may serve other builds than
PyPI, the packages that SELFTAUGHT_UNHASHED names (in the environment, with spaces between).
"""

import ast
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "constraints.txt"
BUILD_TOOLS = "scripts/build-tools.txt"
TORCH_CPU = "scripts/torch-cpu.txt"
INPUTS = ("pyproject.toml", LOCK, BUILD_TOOLS, TORCH_CPU, "scripts/environment.py")
STAMP = "selftaught-setup"

PIN = re.compile(r"^([\w.-]+)==(\S+).*(?:\n[ \t].*)*\n", re.MULTILINE)
"""A requirement of a lock: its name, its version, and below it the hashes of the files that it may be."""

PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}
"""An option of pip's configuration, and the variable that says the same to uv (or to everybody)."""

SEPARATOR = {"find-links": ","}
"""Lists are separated by white space in pip's configuration and in uv's variables, but for these."""

REPAIR = """\
Fix what it reports, then run `make setup` again. Where it is a hash, and your index has builds of its own of a package:
export SELFTAUGHT_UNHASHED=PACKAGE"""


def main(folder: Path) -> None:
    """Bring the environment in `folder` up to date with the checkout; one process at a time does, the others wait."""
    stamp, key = folder / STAMP, key_of(folder)
    if not is_made(stamp, key):
        with locked_checkout():
            if not is_made(stamp, key):
                make(folder, stamp, key)


def is_made(stamp: Path, key: str) -> bool:
    """Whether an environment was finished under `key`."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == key


@contextmanager
def locked_checkout() -> Generator[None]:
    """Hold the checkout's lock; the system frees it when the process dies."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def make(folder: Path, stamp: Path, key: str) -> None:
    """Make the environment, or bring it up to date where it was finished once."""
    began = time.monotonic()
    if stamp.is_file():
        stamp.unlink()
    else:
        print(f"set-up: a new environment in {folder}", flush=True)
        run(sys.executable, "-m", "venv", "--clear", folder)
    install(folder / "bin" / "python")
    stamp.write_text(key, encoding="utf-8")
    print(f"set-up: done in {time.monotonic() - began:.0f} s", flush=True)


def key_of(folder: Path) -> str:
    """The digest of everything that decides what is installed, and of where."""
    contents = [(ROOT / name).read_bytes() for name in INPUTS]
    identity = [str(ROOT), str(folder), sys.version]
    return hashlib.sha256(b"\0".join([*contents, *(word.encode() for word in identity)])).hexdigest()


def install(python: Path) -> None:
    """Install what installs and builds with pip, then with uv all extras, the development tools and the project."""
    settings = {**os.environ, **uv_environment(pip_configuration(python)), "UV_PYTHON": str(python)}
    uv, lock = python.parent / "uv", (ROOT / LOCK).read_text(encoding="utf-8")
    run(python, "-m", "pip", "install", "-qq", "--require-hashes", "-r", ROOT / BUILD_TOOLS)
    install_unhashed(uv, pinned(os.environ.get("SELFTAUGHT_UNHASHED", "").split(), lock), settings)
    instead = {**torch_for_cpus(uv, settings), **installed_builds(uv, lock, settings)}
    install_locked(uv, locked(lock, instead), ["-r", "pyproject.toml", "--extra", "all", "--group", "dev"], settings)
    run(uv, "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".", env=settings)


def install_locked(uv: Path, lock: str, wanted: Iterable[str], settings: Mapping[str, str]) -> None:
    """Install `wanted`, in uv's words, at the versions of `lock`, a lock's text, and only files whose hash it has."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(lock)
        file.flush()
        held = ("--require-hashes", "--no-build-isolation", "--constraint", file.name)
        run(uv, "pip", "install", "--quiet", *held, *wanted, env=settings)


def install_unhashed(uv: Path, wanted: list[str], settings: Mapping[str, str]) -> None:
    """Install `wanted`, whatever file of those versions an index or a folder has, and nothing that they need."""
    if wanted:
        run(uv, "pip", "install", "--quiet", "--no-config", "--no-deps", *wanted, env=settings)


def pinned(words: Iterable[str], lock: str) -> list[str]:
    """The words, those that name a package of `lock` with its version.

    >>> pinned(["--extra", "train", "httpx"], "httpx==0.28.1 --hash=sha256:0a\\n")
    ['--extra', 'train', 'httpx==0.28.1']
    """
    pins = {pin[1]: pin[2] for pin in PIN.finditer(lock)}
    return [f"{word}=={pins[word]}" if word in pins else word for word in words]


def locked(lock: str, instead: Mapping[str, str]) -> str:
    """The text of `lock` with other lines for the packages that `instead` names."""
    return PIN.sub(lambda pin: instead.get(pin[1], pin[0]), lock)


def installed_builds(uv: Path, lock: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Lines for what is there already as another build of its version, such as 2.13.0+cpu: it stays.

    Their hash is none that a file has, so what would have to be fetched is refused.
    """
    command = [uv, "pip", "list", "--quiet", "--format", "json"]
    listed = subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True, text=True).stdout
    pins = {pin[1]: pin[2] for pin in PIN.finditer(lock)}
    builds = {
        name: version
        for name, version in ((each["name"], each["version"]) for each in json.loads(listed))
        if "+" in version and version.partition("+")[0] == pins.get(name)
    }
    return {name: f"{name}=={version} --hash=sha256:{'0' * 64}\n" for name, version in builds.items()}


def torch_for_cpus(uv: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The line for torch without CUDA's libraries, if an index or a folder here has that build, else nothing.

    Its hashes are those of the files for Python 3.11 (`TORCH_CPU`).
    """
    if sys.version_info[:2] != (3, 11):
        return {}
    command = [uv, "pip", "compile", "--quiet", "--no-config", "--no-deps", ROOT / TORCH_CPU]
    found = subprocess.run(command, cwd=ROOT, env=settings, check=False, capture_output=True).returncode == 0
    return {"torch": (ROOT / TORCH_CPU).read_text(encoding="utf-8")} if found else {}


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run `command` in the checkout. Exits with its status when it fails: it has said why itself."""
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if status != 0:
        sys.exit(f"set-up: failed at: {' '.join(map(str, command))}\n{REPAIR}")


def pip_configuration(python: Path) -> dict[str, str]:
    """Pip's options as its configuration files and PIP_ variables set them; the environment wins, then [install]."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    lines = [line.partition("=") for line in listed.splitlines()]
    found = {key.strip(): str(ast.literal_eval(value)) for key, _, value in lines}
    options: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        prefix = f"{section}."
        options |= {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    return options


def uv_environment(pip: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell uv what pip's options `pip` say.

    >>> uv_environment({"find-links": "/wheels /more", "retries": "3"})["UV_FIND_LINKS"]
    '/wheels,/more'
    """
    variables = {
        variable: SEPARATOR.get(option, " ").join(pip[option].split())
        for option, variable in PIP_TO_UV.items()
        if pip.get(option)
    }
    # pip takes the best version of all indexes; uv by default that of the first index which has the package at all.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **variables}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute())
