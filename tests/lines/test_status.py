"""How a line is, also where a part of it cannot be asked for."""

import json

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.platform import Platform
from tests.rounds import database, model, platform, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]

NOBODY = "http://127.0.0.1:9"
"""Where nothing answers."""


def test_a_line_is_told_with_its_champion(platform: Platform):
    done = CliRunner().invoke(app, ["status", "line"])
    assert done.exit_code == 0
    champion = platform.tracker.resolve("line", "champion")
    assert champion
    assert f"  champion: version 1 ({champion.digest[:8]})" in done.stdout.splitlines()
    assert "not known" not in done.stdout


def test_what_does_not_answer_hides_nothing_else(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", NOBODY)
    done = CliRunner().invoke(app, ["status", "line"])
    assert done.exit_code == 1
    assert "  champion: version 1" in done.stdout
    assert f"runs\n  not known: {NOBODY}: Kubeflow Pipelines does not answer" in done.stdout


def test_machines_are_told_what_is_not_known(platform: Platform, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SELFTAUGHT_KFP", NOBODY)
    done = CliRunner().invoke(app, ["status", "line", "--json"])
    data = json.loads(done.stdout)
    assert done.exit_code == 1
    assert data["unknown"].keys() == {"runs"}
    assert data["aliases"].keys() == {"base", "champion", "head"}
