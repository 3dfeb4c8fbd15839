"""A complete round in a checkout and a home whose paths have characters that shells, URLs and kfp read as their own."""

import json
import subprocess
from pathlib import Path

from selftaught.round.history import ENDED
from tests.rounds import REPOSITORY, command, environment, model, recipe, written

__all__ = ["model"]

KEPT = {"campaigns", "engines", "mlartifacts", "mlflow.db", "scratch", "store"}


def checked_out(folder: Path) -> Path:
    """A checkout in `folder`, with an environment there; returns its interpreter."""
    folder.mkdir(parents=True)
    for name in (".venv", "pipelines"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder / ".venv" / "bin" / "python"


def test_a_round_runs_in_any_folder_and_leaves_no_temporary_files(tmp_path: Path, model: Path) -> None:
    checkout, home, temporary = tmp_path / "my project/é ?x=1 #2 python3 'n' $HOME", tmp_path / "a%2Fb?", tmp_path / "t"
    python = checked_out(checkout)
    temporary.mkdir()
    _, *arguments = command(written(checkout / "recipe.yaml", recipe(model)), "--rounds", "1")
    env = environment(home, TMPDIR=str(temporary))
    done = subprocess.run([python, *arguments], cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    data = json.loads(done.stdout.splitlines()[-1])
    assert (data["outcome"] in ENDED, Path(data["report"]).is_file()) == (True, True)
    assert list(temporary.iterdir()) == list((home / "scratch").rglob("tmp*/*")) == []
    assert {path.name for path in home.iterdir()} == KEPT
    assert [path for path in home.rglob("*") if path.suffix in (".sock", ".part")] == []
    assert {path.name for path in tmp_path.iterdir()} == {"my project", "a%2Fb?", "t"}


def test_an_environment_below_a_percent_sign_is_told(tmp_path: Path) -> None:
    """alembic, on which MLflow builds, reads its own path with placeholders."""
    python = checked_out(tmp_path / "feature%2Fx")
    (tmp_path / "home").mkdir()  # where there is none, no MLflow is asked
    listing = [str(python), "-m", "selftaught", "models", "list"]
    done = subprocess.run(
        listing, cwd=tmp_path, env=environment(tmp_path / "home"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "MLflow does not work from a folder with '%' in its path." in done.stderr
