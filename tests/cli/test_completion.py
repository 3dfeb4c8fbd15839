"""What the shell is offered: lines, recipes and axes, without MLflow, and nothing where nothing is known."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selftaught.cli.completion import complete_axis, complete_family, complete_line, complete_recipe
from tests.registry_made import LINE, Registry

pytest_plugins = ["tests.registry_fixtures"]


@pytest.mark.parametrize("typed", ["", LINE[0], LINE])
def test_lines_are_those_of_the_registry(typed: str, registry: Registry) -> None:
    assert complete_line(typed) == [LINE]
    assert complete_line(f"{typed}!") == []


def test_where_no_registry_can_be_read_nothing_is_offered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete_line("") == []
    assert not home.exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert complete_line("") == []
    monkeypatch.setenv("SELFTAUGHT_SERVING", "nowhere")
    assert complete_line("") == []


def test_recipes_are_shipped_ones_by_name_and_files_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rough.yaml", "rough.txt", "mine/star.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert complete_recipe("ro") == ["rough.yaml"]
    assert complete_recipe("rf") == ["rft"]
    assert complete_recipe("min") == ["mine/"]
    assert complete_recipe("mine/s") == ["mine/star.yaml"]
    assert complete_recipe(f"{tmp_path}/ro") == [f"{tmp_path}/rough.yaml"]
    assert complete_recipe("nowhere/") == []


def test_axes() -> None:
    assert complete_axis("ve") == ["verify"]
    assert complete_family("sea") == ["search"]


def test_profiles_are_those_of_the_recipe_that_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: rft\nname: mine\nprofiles: {small: {}, short: {}, deep: {}}\n")
    code = "from selftaught.cli.main import app; app(prog_name='selftaught')"
    for named, found in ((recipe, ["small", "short"]), (tmp_path / "none.yaml", [])):
        words = f"selftaught run {named} --profile s"
        asked = {"_SELFTAUGHT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "4"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
        assert (done.stdout.split(), done.stderr) == (found, "")


def test_a_shell_is_told_without_mlflow(registry: Registry) -> None:
    code = (
        "import sys, atexit; atexit.register(lambda: print(*{'mlflow', 'torch'} & set(sys.modules), file=sys.stderr))\n"
        "from selftaught.cli.main import app; app(prog_name='selftaught')"
    )
    asked = {"_SELFTAUGHT_COMPLETE": "complete_bash", "COMP_WORDS": "selftaught models show ", "COMP_CWORD": "3"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr.strip()) == ([LINE], "")
