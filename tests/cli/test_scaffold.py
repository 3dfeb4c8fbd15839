"""What `selftaught init` writes is right as it is: recipes validate, tests pass, blocks are found."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from selftaught.cli.main import app
from selftaught.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ran(*command: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["init", *command])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def in_python(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    found = os.environ | {"PYTHONPATH": f"{folder}:{REPOSITORY}", "SELFTAUGHT_HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=found, capture_output=True, text=True, check=False
    )


def test_a_recipe_validates_under_its_name_and_is_the_method_of_rft(tmp_path: Path):
    assert ran("recipe", "my-recipe").stdout == "my-recipe.yaml\n"
    made, rft = Recipe.load(Path("my-recipe.yaml")), Recipe.load(REPOSITORY / "recipes" / "rft.yaml")
    assert made.name == "my-recipe"
    assert made.about is not None and made.about.family == "rejection-sampling"
    for field in ("sample", "curate", "train", "gate", "train_from", "replay"):
        assert getattr(made.stages[0], field) == getattr(rft.stages[0], field)


def test_a_blocks_test_passes_and_can_fail(tmp_path: Path):
    assert ran("block", "short_answer").stdout == "short_answer.py\ntest_short_answer.py\n"
    assert 'class ShortAnswer(RolloutVerifier, type="short_answer"):' in Path("short_answer.py").read_text()
    done = in_python(tmp_path, "pytest", "-q", "test_short_answer.py")
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout
    broken = Path("short_answer.py").read_text().replace("count <= self.words", "count < self.words")
    Path("short_answer.py").write_text(broken)
    assert in_python(tmp_path, "pytest", "-q", "test_short_answer.py").returncode == 1


@pytest.mark.parametrize(("axis", "base"), [("control", "Control"), ("train", "SFT")])
def test_a_plug_ins_control_or_objective_passes_its_test(axis: str, base: str, tmp_path: Path):
    ran("plugin", "my-own", "--axis", axis)
    folder = tmp_path / "my-own"
    assert f'class MyOwn({base}, type="my_own"):' in (folder / "my_own" / "blocks.py").read_text()
    assert f"selftaught recipes blocks {axis}" in (folder / "README.md").read_text()
    done = in_python(folder, "pytest", "-q")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("axis", "name", "noun"), [("control", "until", "a control"), ("train", "sft", "an objective")]
)
def test_a_name_is_taken_on_its_own_axis_alone(axis: str, name: str, noun: str):
    assert f"{name}: is {noun} already" in ran("block", name, "--axis", axis, code=1).stderr
    ran("block", name)


def test_a_plug_ins_test_passes_and_its_entry_point_makes_the_block_known(tmp_path: Path):
    ran("plugin", "my-blocks")
    folder = tmp_path / "my-blocks"
    done = in_python(folder, "pytest", "-q")
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    about = folder / "my_blocks-0.1.0.dist-info"  # as an installer writes it
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1.0\n")
    named = project["project"]["entry-points"]["selftaught.blocks"]
    lines = "".join(f"{name} = {module}\n" for name, module in named.items())
    (about / "entry_points.txt").write_text(f"[selftaught.blocks]\n{lines}")
    listed = in_python(folder, "selftaught", "recipes", "blocks", "verify", "--json")
    assert '"type": "my_blocks"' in listed.stdout, listed.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("recipe", "My Recipe"), "cannot be called that. Take lower case, digits and dashes, such as my-recipe."),
        (("recipe", "../mine"), "cannot be called that."),
        (("block", "short-answer"), "Take lower case, digits and underscores, such as short_answer."),
        (("block", "answer_match"), "answer_match: is a verifier already"),
        (("plugin", "answer-match"), "answer_match: is a verifier already"),
        (("plugin", "2nd"), "cannot be called that."),
        (("block", "class"), "class: Python has a module or keyword by that name. Take another."),
        (("block", "json"), "json: Python has a module"),
        (("plugin", "selftaught"), "selftaught: Python has a module"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_written(command: tuple[str, str], message: str, tmp_path: Path):
    assert message in ran(*command, code=1).stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "name", "there"),
    [("recipe", "mine", "mine.yaml"), ("block", "mine", "test_mine.py"), ("plugin", "mine", "mine/README.md")],
)
def test_what_is_there_stays_and_nothing_is_written_beside_it(kind: str, name: str, there: str, tmp_path: Path):
    path = tmp_path / there
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert f"{there}: is there already" in ran(kind, name, code=1).stderr
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [path]
    assert path.read_text() == "mine"
