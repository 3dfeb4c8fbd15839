"""Make the virtual environment: `python3.11 scripts/environment.py [.venv]`. Standard library only.

uv installs, because it takes half a minute where pip takes many; it does not read pip's configuration, so what that
says (indexes, wheel folders, certificates, proxy) is handed on. A stamp, written last and keyed on everything that
decides what is installed, makes a second run instant; an environment without a stamp was never finished, and is made
anew. Which versions are installed is `constraints.txt`'s business, and `scripts/lock.py` writes that.
"""

import ast
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INPUTS = ("pyproject.toml", "constraints.txt", "scripts/environment.py")
STAMP = "selftaught-setup"

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


def main(folder: Path) -> None:
    """Bring the environment in `folder` up to date with the checkout."""
    stamp, key = folder / STAMP, key_of(folder)
    if stamp.is_file() and stamp.read_text() == key:
        return
    began = time.monotonic()
    if stamp.is_file():
        stamp.unlink()
    else:
        print(f"set-up: a new environment in {folder}", flush=True)
        run(sys.executable, "-m", "venv", "--clear", folder)
    install(folder / "bin" / "python")
    stamp.write_text(key)
    print(f"set-up: done in {time.monotonic() - began:.0f} s", flush=True)


def key_of(folder: Path) -> str:
    """The digest of everything that decides what is installed, and of where."""
    contents = [(ROOT / name).read_bytes() for name in INPUTS]
    place = [str(ROOT), str(folder), sys.version]
    return hashlib.sha256(b"\0".join([*contents, *(word.encode() for word in place)])).hexdigest()


def install(python: Path) -> None:
    """Install uv with pip, and then, with uv, the project (editable) with all extras and the development tools."""
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "-qq", "--constraint", constraints, "uv")
    run(
        *(python.parent / "uv", "pip", "install", "--quiet", "--python", python, "--constraint", constraints),
        *("--group", "dev", "--editable", ".[all]"),
        env={**os.environ, **uv_environment(pip_configuration(python))},
    )


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run `command` in the checkout. Exits with its status when it fails: it has said why itself."""
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if status != 0:
        sys.exit(f"set-up: failed at: {' '.join(map(str, command))}\nMend what it says, then run `make setup` again.")


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
    told = {
        variable: SEPARATOR.get(option, " ").join(pip[option].split())
        for option, variable in PIP_TO_UV.items()
        if pip.get(option)
    }
    # pip takes the best version of all indexes; uv by default that of the first index which has the package at all.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv").absolute())
