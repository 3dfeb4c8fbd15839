"""Nothing is installed without a hash in a lock: every lock is complete, and the set-up's installation enforces it."""

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from tests.rounds import REPOSITORY

UV = Path(sys.executable).parent / "uv"
LOCKS = [
    "constraints.txt",
    "components/images/engine-cuda.txt",
    "components/images/sbom.txt",
    "scripts/build-tools.txt",
    "scripts/torch-cpu.txt",
    "tests/cluster/images/seaweedfs/requirements.txt",
]


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


environment = load("scripts/environment.py")


def text(lock: str) -> str:
    return (REPOSITORY / lock).read_text(encoding="utf-8")


def versions(lock: str) -> dict[str, str]:
    return {pin[1]: pin[2] for pin in environment.PIN.finditer(text(lock))}


def test_the_documents_install_what_the_locks_have():
    overrides = tomllib.loads(text("pyproject.toml"))["tool"]["uv"]["override-dependencies"]
    assert "\n".join(overrides) in text("docs/recipes.md")
    assert f"vllm=={versions('components/images/engine-cuda.txt')['vllm']}\n" in text("docs/operations.md")


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_a_version_and_a_hash(lock: str):
    lines = [line.removesuffix("\\").strip() for line in text(lock).splitlines() if not line.startswith("#")]
    hashed = 0
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("--hash="):
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)
            hashed += 1
        else:
            assert re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.+!]+", line), line
            assert after.startswith("--hash="), f"{line} has no hash"
    assert hashed >= len(versions(lock)) > 0


def test_no_lock_is_forgotten():
    """A file of pinned requirements anywhere in the checkout is one of those that the tests above look at."""
    listed = subprocess.run(["git", "ls-files", "*.txt"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    pinned = [path for path in listed.stdout.split() if re.search(r"^[\w.-]+==", text(path), re.MULTILINE)]
    assert sorted(pinned) == sorted(LOCKS)


def test_no_lock_names_a_host():
    for lock in LOCKS:
        assert "://" not in text(lock)
        assert "index-url" not in text(lock)


def test_what_builds_is_of_the_same_version_everywhere():
    project = versions("constraints.txt")
    for lock in set(LOCKS) - {"constraints.txt", "components/images/engine-cuda.txt", "scripts/torch-cpu.txt"}:
        shared = {name: version for name, version in versions(lock).items() if name in project}
        assert shared == {name: project[name] for name in shared}


def test_torch_for_cpus_is_of_the_version_that_is_locked():
    assert versions("scripts/torch-cpu.txt") == {"torch": versions("constraints.txt")["torch"] + "+cpu"}


def test_nothing_is_installed_without_hashes():
    """No pip or uv in the images' and the environment's build but with hashes, or of a file that was made there."""
    for path in ("components/images/Containerfile", "tests/cluster/images/seaweedfs/Containerfile"):
        joined = text(path).replace("\\\n", " ")
        for command in re.findall(r"pip (?:install|wheel) [^&\n]*", joined):
            assert "--require-hashes" in command or "/wheel/*.whl" in command, command


# -- a lock is held to -------------------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, version: str, needs: str = "") -> str:
    """A wheel with nothing in it; returns its hash."""
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def settings(tmp_path: Path) -> Mapping[str, str]:
    """An empty environment, and a folder of wheels as the only index: `outer`, which needs `inner`."""
    wheels, python = tmp_path / "wheels", tmp_path / "venv" / "bin" / "python"
    wheels.mkdir()
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True)
    index = {"UV_PYTHON": str(python), "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
    return {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache"), **index}


def installed(settings: Mapping[str, str]) -> set[str]:
    listed = subprocess.run([UV, "pip", "freeze"], env=settings, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def made(settings: Mapping[str, str]) -> tuple[str, str]:
    wheels = Path(settings["UV_FIND_LINKS"])
    return wheel(wheels, "outer", "1.0", needs="inner"), wheel(wheels, "inner", "2.0")


def test_files_with_the_locks_hashes_are_installed(settings: Mapping[str, str]):
    outer, inner = made(settings)
    lock = f"outer==1.0 \\\n    --hash=sha256:{outer}\ninner==2.0 \\\n    --hash=sha256:{inner}\n"
    environment.install_locked(UV, lock, environment.pinned(["outer"], lock), settings)
    assert installed(settings) == {"outer==1.0", "inner==2.0"}


@pytest.mark.parametrize("which", ["outer", "inner"])
@pytest.mark.parametrize("wrong", [" --hash=sha256:" + "0" * 64, ""], ids=["another hash", "no hash"])
def test_a_file_with_another_hash_is_refused(which: str, wrong: str, settings: Mapping[str, str]):
    outer, inner = made(settings)
    right = {"outer": f" --hash=sha256:{outer}", "inner": f" --hash=sha256:{inner}"}
    fields = {**right, which: wrong}
    lock = f"outer==1.0{fields['outer']}\ninner==2.0{fields['inner']}\n"
    with pytest.raises(SystemExit, match="set-up: failed at"):
        environment.install_locked(UV, lock, environment.pinned(["outer"], lock), settings)
    assert installed(settings) == set()


def test_another_build_is_installed_where_it_is_named(settings: Mapping[str, str]):
    """A package that is named is taken as it is, stays, and what needs it is held to the lock as before."""
    wheels = Path(settings["UV_FIND_LINKS"])
    outer, _ = wheel(wheels, "outer", "1.0", needs="inner"), wheel(wheels, "inner", "2.0+cpu")
    lock = f"outer==1.0 --hash=sha256:{outer}\ninner==2.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(SystemExit):
        environment.install_locked(UV, lock, ["outer==1.0"], settings)
    environment.install_unhashed(UV, environment.pinned(["inner"], lock), settings)
    instead = environment.installed_builds(UV, lock, settings)
    environment.install_locked(UV, environment.locked(lock, instead), ["outer==1.0"], settings)
    assert installed(settings) == {"outer==1.0", "inner==2.0+cpu"}


def test_a_build_of_another_version_does_not_stay(settings: Mapping[str, str]):
    wheel(Path(settings["UV_FIND_LINKS"]), "inner", "2.0+cpu")
    environment.install_unhashed(UV, ["inner==2.0"], settings)
    assert environment.installed_builds(UV, "inner==2.0 --hash=sha256:0\n", settings).keys() == {"inner"}
    assert environment.installed_builds(UV, "inner==2.1 --hash=sha256:0\n", settings) == {}


def test_only_the_named_lines_are_replaced():
    first, others = (
        "a==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:ab\n",
        "b==2 \\\n    --hash=x\nab==1 --hash=y\n",
    )
    instead = "a==1+cpu --hash=sha256:cc\n"
    assert environment.locked(f"# head\n{first}{others}", {"a": instead}) == f"# head\n{instead}{others}"


def test_of_three_first_commands_at_once_one_makes_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`venv --clear` of one takes away what another has just made."""
    folder, ran = tmp_path / "venv", list[str]()

    def run(*command: object) -> None:
        ran.append(str(command[-1]))
        time.sleep(0.2)
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "key_of", lambda folder: "key")
    monkeypatch.setattr(environment, "run", run)
    monkeypatch.setattr(environment, "install", lambda python: None)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(environment.main, [folder] * 3))
    assert ran == [str(folder)]
