"""Standard output holds the program's answers alone, whatever the libraries that it uses print."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.settings import Settings
from tests.kfp_api import Kfp, serving
from tests.registry_made import LINE, Registry

pytest_plugins = ["tests.registry_fixtures"]

REPOSITORY = Path(__file__).parents[2]
LIBRARYS = "Experiment details: http://localhost/#/experiments/details/1"


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kfp]:
    with serving(Kfp()) as kfp:
        kfp.experiments = [{"experiment_id": "e1", "display_name": f"selftaught/{LINE}"}]
        monkeypatch.setenv("SELFTAUGHT_KFP", kfp.url)
        yield kfp


def test_a_status_is_json_while_the_client_of_pipelines_prints(registry: Registry, kfp: Kfp):
    done = CliRunner().invoke(app, ["status", LINE, "--json"])
    assert json.loads(done.stdout)["unknown"] == {}


@pytest.mark.parametrize(
    "command",
    [
        f"status {LINE} --json",
        f"models list {LINE} --json",
        "recipes list --json",
        "recipes blocks gate --json",
        "recipes schema",
        "tasks list recipes/fresh.yaml --set tasks.path={folder} --json",
        "tasks upload {folder}/tasks.jsonl --to {folder}/drops --json",
        "run recipes/rft.yaml --dry-run --json",
        "steps import {folder}/steps.jsonl --to {folder}/set --json",
        "gc --dry-run --json",
        "doctor --json",
    ],
)
def test_every_line_of_json_parses_while_libraries_print(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    found = Settings.load.__func__  # type: ignore[attr-defined]

    def noisy(cls: type[Settings]) -> Any:
        print(LIBRARYS)
        return found(cls)

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(Settings, "load", classmethod(noisy))
    rows = [json.dumps({"question": f"{n} + {n}?", "answer": f"{2 * n}"}) for n in range(30)]
    (tmp_path / "tasks.jsonl").write_text("\n".join(rows))
    steps = {"prompt": "1 + 1?", "completions": ["1 + 1 = 2.", "So 2."], "labels": [True, True]}
    (tmp_path / "steps.jsonl").write_text(json.dumps(steps))
    done = CliRunner().invoke(app, shlex.split(command.format(folder=tmp_path)))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    full = command == "recipes schema"
    assert [json.loads(each) for each in ([done.stdout] if full else done.stdout.splitlines())]
    assert LIBRARYS not in done.stdout
