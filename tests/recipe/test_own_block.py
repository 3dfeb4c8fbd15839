"""What docs/blocks.md says of a block of one's own works as it stands there: written, tested, installed, used."""

import os
import re
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "blocks.md").read_text()


def shown(language: str, holding: str) -> str:
    """The page's one piece of code in `language` with `holding` in it."""
    (found,) = (code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in code)
    return textwrap.dedent(found)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package, its test beside it."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "brief.py").write_text(shown("python", "class Brief"))
    (folder / "test_brief.py").write_text(shown("python", "test_twenty_words"))
    hatch = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    about = '[project]\nname = "my_package"\nversion = "1.0"\nrequires-python = ">=3.11"\n'
    (folder / "pyproject.toml").write_text(hatch + about + shown("toml", "selftaught.blocks"))
    return folder


@pytest.fixture(scope="module")
def wheel(project: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(project / "dist")]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    return next((project / "dist").glob("*.whl"))


def test_the_pages_block_passes_the_pages_test(project: Path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_brief.py"]
    passed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert passed.returncode == 0, passed.stdout


def test_installed_as_in_the_image_the_block_is_found_by_its_entry_point(wheel: Path, tmp_path: Path):
    """The images' environment has no pip of its own; the page has another environment's pip install into it."""
    venv.create(tmp_path / "image", with_pip=False)
    line = next(line for line in shown("dockerfile", "FROM").splitlines() if "pip --python" in line)
    words = line.replace("/opt/selftaught", str(tmp_path / "image")).replace(
        "/dist/my_package", f"{wheel.parent}/my_package"
    )
    assert wheel.name in words
    subprocess.run([sys.executable, "-m", *words.split(), "--no-index"], check=True, capture_output=True)
    (installed,) = (tmp_path / "image").glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "selftaught", "recipes", "blocks", "verify"]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{installed}", "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "brief: Pass a rollout of at most `words` words." in done.stdout
