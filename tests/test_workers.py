"""How tests are shared among workers: `-n auto`'s number, and what stays together."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rounds import REPOSITORY
from tests.workers import GB, affordable

PLAIN = """
import os, pathlib, pytest

@pytest.mark.parametrize("value", ["x", "y::z", "@"])
def test_plain(value):
    pathlib.Path(__file__).with_suffix(f".{len(value)}{value[0]}").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""
WITH_A_MODEL = PLAIN.replace('["x",', '[pytest.param("x", marks=pytest.mark.model),')


@pytest.mark.parametrize(
    ("cores", "available", "workers"),
    [(2, 24 * GB, 4), (2, 15 * GB, 3), (16, 128 * GB, 18), (16, 20 * GB, 5), (1, 3 * GB, 1)],
)
def test_workers_are_two_more_than_cores_and_never_more_than_memory_has_room_for(
    cores: int, available: int, workers: int
):
    assert affordable(cores, available) == workers


def test_auto_means_that_number():
    """And not xdist's own, one a core."""
    code = (
        "import tests.workers; tests.workers.affordable = lambda cores, available: 7\n"
        "from _pytest.config import _prepareconfig\n"
        "config = _prepareconfig(['-p', 'tests.workers', '-n', '1'])\n"
        "print(config.hook.pytest_xdist_auto_num_workers(config=config))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout == "7\n"


def run_by_two(folder: Path) -> "subprocess.CompletedProcess[str]":
    """The tests in `folder`, by two workers."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = model\nasyncio_default_fixture_loop_scope = function\n")
    options = ["-q", "-p", "tests.workers", "-n", "2", "--no-loadscope-reorder", "--rootdir", folder, folder]
    words = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(words, cwd=REPOSITORY, check=False, timeout=300, capture_output=True, text=True)


def test_a_files_tests_share_a_worker_and_so_do_those_with_the_model(tmp_path: Path):
    plain, heavy = [f"test_{letter}" for letter in "abc"], [f"test_{letter}" for letter in "def"]
    for name in [*plain, *heavy]:
        (tmp_path / f"{name}.py").write_text(WITH_A_MODEL if name in heavy else PLAIN)
    done = run_by_two(tmp_path)
    assert done.returncode == 0, done.stdout

    def workers(*names: str) -> set[str]:
        files = [path for name in names for path in tmp_path.glob(f"{name}.[0-9]*")]
        assert len(files) == 3 * len(names)
        return {path.read_text() for path in files}

    assert len(workers(*heavy)) == 1
    assert all(len(workers(name)) == 1 for name in plain)
    assert len(workers(*heavy, *plain)) == 2


def test_no_test_runs_where_a_file_cannot_be_read(tmp_path: Path):
    (tmp_path / "test_plain.py").write_text(PLAIN)
    for name in ("first", "second"):
        (tmp_path / f"test_{name}.py").write_text(f"from tests.workers import {name}_that_moved")
    done = run_by_two(tmp_path)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "first_that_moved" in done.stdout and "second_that_moved" in done.stdout
    assert not list(tmp_path.glob("test_plain.[0-9]*"))
