"""A plug-in that is broken is named, and takes nothing with it that reads no recipe."""

import subprocess
import sys
from pathlib import Path

import pytest

from selftaught.blocks.packages import package_that_brought, packages
from selftaught.recipe import blocks
from tests.rounds import REPOSITORY, environment, recorded_blocks

__all__ = ["recorded_blocks"]

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
    package(tmp_path / "plugins", "my_pack", "import nonexistent_mod\n")
    found = environment(tmp_path / "home")
    return found | {"PYTHONPATH": f"{tmp_path / 'plugins'}:{REPOSITORY}"}


def package(folder: Path, name: str, blocks: str) -> None:
    """An installed package whose module `blocks` is this."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[selftaught.blocks]\nmine = {name}.blocks\n")
    (folder / name).mkdir()
    (folder / name / "blocks.py").write_text(blocks)


def test_what_reads_no_recipe_goes_on_without_it(broken: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], env=broken, capture_output=True, text=True, check=False)
    no_line = "1 SystemExit(1) error: unknown model line 'maths'."
    assert [line.strip() for line in done.stdout.splitlines()] == [
        f"models list 0  no models yet in sqlite:///{broken['SELFTAUGHT_HOME']}/mlflow.db",
        *(f"{command} {no_line}" for command in ("models rollback maths", "chat maths hi", "up maths")),
        "down 0",
        "clean 0",
    ], done.stderr


def selftaught(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "selftaught", *words]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def test_a_recipe_that_needs_none_of_its_blocks_is_read_with_one_warning(broken: dict[str, str]) -> None:
    done = selftaught(broken, "recipes", "validate", "recipes/rft.yaml", "recipes/star.yaml")
    assert done.returncode == 0
    assert done.stderr.count("package my-pack: its blocks cannot be loaded (mine = my_pack.blocks: Module") == 1
    assert "pip uninstall my-pack" in done.stderr


def test_a_recipe_with_an_unknown_block_names_the_package_that_failed_and_why(broken: dict[str, str]) -> None:
    done = selftaught(broken, "recipes", "show", "recipes/rft.yaml", "--set", "stages.main.verify={type: brief}")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "unknown verifier 'brief'" in done.stderr
    assert "or it is of a package that failed to load" in done.stderr and "nonexistent_mod" in done.stderr


# What is registered ---------------------------------------------------------------------------------------------------

TAKEN = """
from selftaught.blocks import Verifier

class Other(Verifier, type="harmless"):
    async def verify(self, group, context): return []

class Mine(Verifier, type="{type}"{more}):
    async def verify(self, group, context): return []
"""
ASKED = """
from selftaught.recipe import blocks
print(*(f"{kind}={each.__module__}" for kind, each in blocks("verify").items()))
"""


@pytest.mark.parametrize(
    ("type", "more"), [("answer_match", ""), ("mine", ', formerly="answer_match"')], ids=["its type", "a former type"]
)
def test_a_built_in_block_is_not_replaced(broken: dict[str, str], tmp_path: Path, type: str, more: str) -> None:
    """Nor is any other block of that package registered: which of them a recipe means would depend on an order."""
    (tmp_path / "plugins" / "my_pack" / "blocks.py").write_text(TAKEN.format(type=type, more=more))
    done = subprocess.run([sys.executable, "-c", ASKED], env=broken, capture_output=True, text=True, check=True)
    assert "answer_match=selftaught.verification.answer_match" in done.stdout.split()
    assert "my_pack" not in done.stdout
    assert "package my-pack: its blocks cannot be loaded" in done.stderr
    assert "my_pack.blocks.Mine: 'answer_match' is a built-in block of verify, which is not replaced" in done.stderr


def test_a_block_without_a_method_of_its_axis_is_left_out_by_name(broken: dict[str, str], tmp_path: Path) -> None:
    lacking = 'from selftaught.blocks import RolloutVerifier\n\nclass Mine(RolloutVerifier, type="mine"): ...\n'
    (tmp_path / "plugins" / "my_pack" / "blocks.py").write_text(lacking)
    done = subprocess.run([sys.executable, "-c", ASKED], env=broken, capture_output=True, text=True, check=True)
    assert "mine=" not in done.stdout
    assert "my_pack.blocks.Mine: has no verdict, which is what verify asks a block for" in done.stderr


def test_a_block_of_another_package_is_not_replaced(broken: dict[str, str], tmp_path: Path) -> None:
    package(tmp_path / "plugins", "her_pack", TAKEN.format(type="mine", more=""))
    (tmp_path / "plugins" / "my_pack" / "blocks.py").write_text(TAKEN.format(type="mine", more=""))
    done = subprocess.run([sys.executable, "-c", ASKED], env=broken, capture_output=True, text=True, check=True)
    assert "mine=her_pack.blocks" in done.stdout.split()
    assert "package my-pack: its blocks cannot be loaded" in done.stderr
    assert "'harmless' is a block of verify in her_pack.blocks already" in done.stderr


@pytest.mark.usefixtures("recorded_blocks")
def test_the_version_of_a_package_is_that_of_the_blocks_it_brought() -> None:
    judged, own = blocks("verify")["judged"](), blocks("verify")["answer_match"]()
    assert packages([judged], {"axis": (judged,)}) == {"recorded-blocks": "0.1"}
    assert packages(own) == {}


def test_an_edit_is_another_version_of_a_package_that_is_edited_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "edited_pack", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def version() -> tuple[str, str] | None:
        package_that_brought.cache_clear()
        return package_that_brought("edited_pack.blocks")

    assert version() == ("edited-pack", "1.0")
    about = tmp_path / "edited_pack-1.0.dist-info" / "direct_url.json"
    about.write_text('{"url": "file:///somewhere", "dir_info": {"editable": true}}')
    before = version()
    assert before and before[1].startswith("1.0+")
    assert version() == before
    (tmp_path / "edited_pack" / "more.py").write_text("y = 1\n")
    assert version() not in (before, None)
    about.write_text('{"url": "file:///somewhere"}')
    assert version() == ("edited-pack", "1.0")
