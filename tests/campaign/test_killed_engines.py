"""Engines that die while a step asks them, in every manner in which engines die: the round ends by itself, and what it
makes is what it would have made.

Engines are real processes (recorded ones), started by their owner as in a run. In every step that asks one, one after
the other dies in each manner: the policy's, and the judge's in `verify`.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import Away
from selftaught.inference.endpoint import RetryPolicy
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import TaskScore, dataset
from selftaught.round import patience
from selftaught.round.adopt import adopt, adopt_roles
from selftaught.serving.engines import engine
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.sessions import PidFile, pid_files
from tests.rounds import Round, database, model, owned_engines, recipe, recorded_blocks, requests, tiny_model
from tests.waiting import end, until

__all__ = ["database", "model", "recorded_blocks", "requests"]

MANNERS = ("kill", "stream", "cut", "session", "error")
"""See `stand_ins/engine`."""
DIGEST = "abcd1234" * 8


# A round --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is always right."""
    return tiny_model(tmp_path_factory.mktemp("judge") / "judge", skill=1.0)


@pytest.fixture
def death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: Path) -> Path:
    """The file that says what engines die of; the client and the step are soon tired of a dead one."""
    monkeypatch.setattr(patience, "PAUSES", (0.1,))
    monkeypatch.setattr("selftaught.round.models.RetryPolicy", partial(RetryPolicy, patience=0.2))
    monkeypatch.setenv("SELFTAUGHT_PATIENCE", "600")
    monkeypatch.setenv("RECORDED_DEATH", str(tmp_path / "death"))
    return tmp_path / "death"


def a_round(
    folder: Path, database: Path, asked: dict[str, Any], death: Path, deaths: str = ""
) -> tuple[list[str], Any]:
    """A round whose engines die of `deaths` in each step; the steps that lost all of these, and what it made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", str(folder / "home"))
        shutil.copytree(database, folder / "home")
        platform = Platform.open()
        for adopted in (adopt, adopt_roles):
            adopted(platform, Recipe.model_validate(asked), "line")
        made, lost = Round(folder / "artifacts", asked, shards=1), list[str]()
        with owned_engines(platform.settings.home):
            for name, step in made.steps.items():
                death.write_text(deaths)
                step()
                lost += [name] if deaths and not death.read_text() else []
        assert platform.tracker.resolve("line", "champion") == platform.tracker.versions("line")[1]
    return lost, (*(made.made[name].metadata["digest"] for name in ("tasks", "verified", "examples")), scores(made))


def scores(made: Round) -> list[Any]:
    """What was measured; the challenger's digest is redrawn in each round."""
    rows = [
        row for which in ("gate", "report") for row in dataset.read(Path(made.made[f"{which}-scores"].path), TaskScore)
    ]
    return sorted(
        (row.model == made.challenger, row.split, row.task, row.metric, row.value, row.texts, row.passed)
        for row in rows
    )


@pytest.mark.usefixtures("recorded_blocks")
def test_a_round_survives_the_loss_of_engines_in_every_step(
    model: Path, judge: Path, database: Path, tmp_path: Path, death: Path
):
    asked = recipe(model, tasks={"train": 24}, verify={"type": "judged"}) | {
        "models": {"policy": str(model), "judge": str(judge)}
    }
    _, usual = a_round(tmp_path / "usual", database, asked, death)
    lost, made = a_round(tmp_path / "killed", database, asked, death, "\n".join(MANNERS))
    assert lost == ["sample", "verify", "evaluate gate", "evaluate report"]  # no other step asks an engine on a machine
    assert made == usual


# Engines --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(model: Path, tmp_path: Path, requests: Path) -> Iterator[LocalEngines]:
    with LocalEngines(tmp_path) as engines:
        yield engines


def noted(engines: LocalEngines) -> PidFile:
    ((_, noted),) = pid_files(engines.folder)
    return noted


def test_an_engine_that_was_up_and_answers_no_more_is_away_and_the_next_call_starts_another(
    engines: LocalEngines, model: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is given up by how long it is silent, not by how long ago it was started."""
    engines.deploy("line", DIGEST, model)
    launcher = noted(engines).engine
    (server,) = [pid for pid in launcher.session() if pid != launcher.pid]
    os.kill(server, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "SILENT", 0.0)
        with pytest.raises(Away, match=r"line-abcd1234: its engine was up, and answers no more. See .*\.log"):
            engines.deploy("line", DIGEST, model)
    assert not launcher.alive
    engines.deploy("line", DIGEST, model)
    assert noted(engines).engine.alive


def test_an_engine_that_is_killed_while_it_starts_is_away(engines: LocalEngines, model: Path):
    """Without a word, as by the kernel for its memory; what its log gives a cause for is the model's fault."""
    with ThreadPoolExecutor(1) as starter:
        starting = starter.submit(engines.deploy, "line", DIGEST, model)
        assert until(lambda: any(engines.folder.glob("*.json")))
        for pid in noted(engines).engine.session():
            end(pid)
        with pytest.raises(Away, match="killed while starting"):
            starting.result()
