"""What the package brings along: a wheel, installed with no checkout in sight, plans a round of a shipped recipe."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from selftaught.core import shipped
from selftaught.core.errors import BadRecipe
from selftaught.recipe import Recipe

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, found before the checkout when it is on PYTHONPATH."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--offline", "--target", folder]
    subprocess.run([*command, wheel], check=True, capture_output=True)
    return folder


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


def output_of(installed: Path, user: Path, *words: str) -> str:
    """What the installed `selftaught` prints in an empty folder, for somebody whose home is `user`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SELFTAUGHT_")}
    work = user.parent / "work"
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "selftaught", *words],
        cwd=work,
        env=kept | {"PYTHONPATH": str(installed), "HOME": str(user)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_the_checkouts_recipes_and_pipelines_to_the_byte(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        for folder, inside in ((shipped.recipes(), "recipes"), (shipped.pipelines(), "pipelines")):
            there = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.yaml")}
            held = {path: archive.read(f"selftaught/shipped/{inside}/{path}") for path in there}
            assert held == there
            assert len(held) >= 2


def test_the_installed_package_plans_a_round_of_a_shipped_recipe_anywhere(installed: Path, user: Path):
    planned = json.loads(output_of(installed, user, "run", "rft", "--dry-run", "--json"))
    assert planned["plan"]["digest"] == Recipe.load(REPOSITORY / "recipes" / "rft.yaml").digest
    assert list(user.iterdir()) == []


def test_the_installed_package_lists_its_recipes(installed: Path, user: Path):
    listed = json.loads(output_of(installed, user, "recipes", "list", "--json"))
    assert {Path(each["path"]).parent for each in listed} == {installed / "selftaught" / "shipped" / "recipes"}
    assert {each["name"] for each in listed} == {path.stem for path in (REPOSITORY / "recipes").glob("*.yaml")}


def test_the_installed_package_finds_a_pipeline_for_every_shipped_recipe(installed: Path, user: Path):
    code = (
        "from selftaught.campaign.order import CampaignOrder; from selftaught.core import shipped\n"
        "from selftaught.recipe import Recipe\n"
        "for path in shipped.recipes().glob('*.yaml'):\n"
        "    order = CampaignOrder(Recipe.load(path), 'line', 'campaign')\n"
        "    assert order.pipeline(1).is_relative_to(shipped.pipelines()) and order.pipeline(1).is_file(), path\n"
        "print(shipped.__file__)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=user, env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == installed / "selftaught" / "core" / "shipped.py"


def test_a_file_comes_before_a_shipped_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "star").mkdir()
    assert Recipe.load(Path("star")).name == "star"
    Path("rft").write_text(shipped.recipe(Path("rft")).read_text().replace("name: rft", "name: mine"))
    assert Recipe.load(Path("rft")).name == "mine"


@pytest.mark.parametrize("path", ["rtf", "recipes/rft.yaml", "other/rft"])
def test_a_recipe_that_is_not_here_is_told_what_is_shipped(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRecipe, match=r"no such recipe. Did you mean 'rft'\?"):
        Recipe.load(Path(path))
