"""A round whose models a cluster serves, while its API server is away in every step that asks it.

The API server and the pods are processes (`tests.small_cluster`); models are asked through the API server's proxy, so
engines are away with it. What a round makes is what it makes on engines of this machine.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from selftaught.inference.endpoint import RetryPolicy
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.round import patience
from selftaught.round.adopt import adopt, adopt_roles
from tests.kubernetes_api import kubeconfig
from tests.round.test_outages import away
from tests.rounds import (
    ENGINE,
    REPOSITORY,
    Round,
    database,
    model,
    owned_engines,
    recipe,
    recorded_blocks,
    requests,
    tiny_model,
)
from tests.small_cluster import SPACE, SmallCluster, small_cluster
from tests.waiting import outage

__all__ = ["database", "model", "recorded_blocks", "requests"]

ASKS = ["sample", "verify", "evaluate gate", "promote", "evaluate report"]
"""The steps that ask a cluster."""


@pytest.fixture
def cluster(
    tmp_path: Path, requests: Path, monkeypatch: pytest.MonkeyPatch, recorded_blocks: None
) -> Iterator[SmallCluster]:
    """A cluster which the steps' settings name, and steps that are soon tired of what is away."""
    monkeypatch.setattr(patience, "PAUSES", (0.2,))
    monkeypatch.setattr("selftaught.round.models.RetryPolicy", partial(RetryPolicy, patience=0.2))
    with small_cluster(tmp_path / "cluster") as cluster:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", cluster.api.url)))
        fields = {"SERVING": "kserve", "REACH": cluster.api.url, "NAMESPACE": SPACE, "PATIENCE": "600"}
        for name, value in fields.items():
            monkeypatch.setenv(f"SELFTAUGHT_{name}", value)
        yield cluster


Ran = Callable[[str, Callable[[], object]], object]
"""Runs the step of this name."""


def a_round(folder: Path, database: Path, asked: dict[str, Any], run: Ran) -> list[str]:
    """The digests of a complete round's data sets, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFTAUGHT_HOME", str(folder / "home"))
        # MLflow's client leaves the server that it was given to the entire process, and the first round is a module's.
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("SELFTAUGHT_STORE", raising=False)
        shutil.copytree(database, folder / "home")
        platform = Platform.open()
        for adopted in (adopt, adopt_roles):
            adopted(platform, Recipe.model_validate(asked), "line")
        made = Round(folder / "artifacts", asked, shards=1)
        for name, step in made.steps.items():
            run(name, step)
        champion = platform.tracker.resolve("line", "champion")
        assert champion is not None and champion.digest == made.challenger
    return [made.made[name].metadata["digest"] for name in ("tasks", "verified", "examples")]


@pytest.fixture(scope="module")
def asked(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe with a judge."""
    judge = tiny_model(tmp_path_factory.mktemp("judge") / "judge", skill=1.0)
    found = recipe(model, tasks={"train": 24}, verify={"type": "judged"})
    return found | {"models": {"policy": str(model), "judge": str(judge)}}


@pytest.fixture(scope="module")
def usual(
    asked: dict[str, Any], database: Path, recorded_blocks: None, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """What a round that nobody disturbs makes, on engines of this machine."""
    folder = tmp_path_factory.mktemp("usual")
    with pytest.MonkeyPatch.context() as patch, owned_engines(folder / "engines"):
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ENGINE, REPOSITORY))))
        patch.setattr("selftaught.serving.engines.engine.server_module", lambda: "vllm.entrypoints.openai.api_server")
        return a_round(folder, database, asked, lambda _, step: step())


def test_the_api_server_is_away_in_every_step_that_asks_it(
    asked: dict[str, Any],
    usual: list[str],
    database: Path,
    cluster: SmallCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """For longer than `patience`: that is reported, and the same step continues. For less: it continues by itself."""
    failed, waited = list[str](), list[str]()

    def run(name: str, step: Callable[[], object]) -> None:
        if name in ASKS:
            cluster.api.stop()
            monkeypatch.setenv("SELFTAUGHT_PATIENCE", "0.1")
            with pytest.raises(SystemExit):
                step()
            monkeypatch.setenv("SELFTAUGHT_PATIENCE", "600")
            cluster.api.start()
            failed.append(capsys.readouterr().err)
        with away(cluster.api, outage(0.5)):
            step()
        if "waits for up to" in capsys.readouterr().err:
            waited.append(name)

    assert a_round(tmp_path / "away", database, asked, run) == usual
    assert waited == ASKS
    assert all("the Kubernetes API does not answer" in each and "Is the cluster up?" in each for each in failed)
