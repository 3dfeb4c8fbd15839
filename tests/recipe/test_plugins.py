"""A plug-in that is broken is named, and takes nothing with it that reads no recipe."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rounds import REPOSITORY, environment

ALL = "for command in ('models list', 'models rollback maths', 'chat maths hi', 'up maths', 'down', 'clean'):"
RUN = f"""
import shlex
from typer.testing import CliRunner
from selftaught.cli.main import app

{ALL}
    done = CliRunner().invoke(app, shlex.split(command))
    print(command, done.exit_code, repr(done.exception) if done.exit_code else "", done.stderr.partition(chr(10))[0])
"""
"""Several commands in one process: importing them takes seconds."""


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """The environment of a process with a package on the path whose blocks import what is not there."""
    folder = tmp_path / "plugins"
    about = folder / "my_pack-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-pack\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[selftaught.blocks]\nmine = my_pack.blocks\n")
    (folder / "my_pack").mkdir()
    (folder / "my_pack" / "blocks.py").write_text("import nonexistent_mod\n")
    found = environment(tmp_path / "home")
    return found | {"PYTHONPATH": f"{folder}:{REPOSITORY}"}


def test_what_reads_no_recipe_goes_on_without_it(broken: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], env=broken, capture_output=True, text=True, check=False)
    no_line = "1 SystemExit(1) error: unknown model line 'maths'."
    assert [line.strip() for line in done.stdout.splitlines()] == [
        f"models list 0  no models yet in sqlite:///{broken['SELFTAUGHT_HOME']}/mlflow.db",
        *(f"{command} {no_line}" for command in ("models rollback maths", "chat maths hi", "up maths")),
        "down 0",
        "clean 0",
    ], done.stderr


def test_what_reads_a_recipe_names_the_package_and_the_entry_point(broken: dict[str, str]) -> None:
    command = [sys.executable, "-m", "selftaught", "recipes", "validate", "recipes/rft.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, env=broken, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "package my-pack: its blocks cannot be loaded (mine = my_pack.blocks: ModuleNotFoundError" in done.stderr
    assert "pip uninstall my-pack" in done.stderr
