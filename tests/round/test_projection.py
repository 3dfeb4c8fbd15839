"""MLflow as a projection: what it shows of a line's rounds is recreated from the store once its database was lost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import BadInput
from selftaught.platform import Platform
from selftaught.round.history import due, next_round
from selftaught.round.projection import restore
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]  # fixtures


@dataclass(frozen=True)
class Shown:
    """What MLflow shows of a line."""

    rounds: list[tuple[RoundKey, str, str]]
    metrics: list[dict[str, float]]
    losses: list[list[tuple[int, float]]]
    inputs: list[set[str]]
    artifacts: list[set[str]]
    aliases: dict[str, str]
    versions: list[tuple[str, str, dict[str, str]]]


ANYWAY = ("seconds", "tokens_per_second", "steps", "tokens")
"""Figures that only the step itself shows, of how it went; they are on the page."""


def shown(platform: Platform, line: str = "line") -> Shown:
    tracker, client = platform.tracker, platform.tracker.client
    rounds = tracker.rounds(line, "campaign")
    runs = [client.get_run(each.run) for each in rounds]
    return Shown(
        rounds=[(each.key, each.stage, each.outcome) for each in rounds],
        metrics=[
            {name: value for name, value in run.data.metrics.items() if name.startswith(("gate.", "report.", "guard."))}
            for run in runs
        ],
        losses=[
            [(point.step, point.value) for point in client.get_metric_history(each.run, "train.loss")]
            for each in rounds
        ],
        inputs=[{each.dataset.digest for each in run.inputs.dataset_inputs} for run in runs],
        artifacts=[
            {each.path for each in client.list_artifacts(run.run)} - {"rollouts.json", "recipe.yaml"} for run in rounds
        ],
        aliases={alias: version.version for alias, version in tracker.aliases(line).items()},
        versions=[(v.version, v.digest, _evaluated(tags)) for v, tags in tracker.tagged_versions(line)],
    )


def _evaluated(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name.startswith(("selftaught.outcome", "selftaught.gate"))}


@pytest.fixture
def rounds(platform: Platform, engines: Path, model: Path, tmp_path: Path) -> list[Round]:
    """A refused round, a promoted one, and one that was killed after its tasks were drawn."""
    seen: list[dict[str, Any]] = [
        recipe(model, train={"type": "nudge", "gain": 0.01}),
        recipe(model, train={"type": "nudge", "gain": 0.9}),
        recipe(model),
    ]
    made = [Round(tmp_path / f"round-{number}", each, number=number) for number, each in enumerate(seen, 1)]
    assert [made[0].run(), made[1].run()] == ["refused", "promoted"]
    made[2].prepare()
    return made


def test_a_lost_database_loses_no_round(rounds: list[Round], platform: Platform, monkeypatch: pytest.MonkeyPatch):
    before = shown(platform)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{platform.settings.home}/new.db")
    platform = Platform.open()
    assert platform.tracker.rounds("line", "campaign") == []
    restored = list(restore(platform, "line"))
    assert [(each.key.number, each.outcome) for each in restored] == [(1, "refused"), (2, "promoted"), (3, "")]
    after = shown(platform)
    assert after.rounds[:2] == before.rounds[:2]
    assert after.metrics[:2] == before.metrics[:2]
    assert after.losses[:2] == before.losses[:2]
    assert after.inputs[:2] == before.inputs[:2]
    assert after.artifacts[:2] == before.artifacts[:2]
    assert (after.aliases, after.versions) == (before.aliases, before.versions)
    _once_more_nothing_changes(platform, after)
    _the_round_that_was_killed_is_gone_on_with(rounds[2], platform)


def _once_more_nothing_changes(platform: Platform, after: Shown) -> None:
    list(restore(platform, "line"))
    assert shown(platform) == after


def _the_round_that_was_killed_is_gone_on_with(killed: Round, platform: Platform) -> None:
    """In the run that stands for it now."""
    assert (
        due(platform, "line", "campaign")
        == killed.job.key
        == next_round(platform, killed.job.recipe, "line", "campaign")
    )
    tasks = killed.job.tasks
    killed.prepare()
    assert killed.job.tasks == tasks
    assert platform.tracker.rounds("line", "campaign")[-1].run == killed.job.run
    assert killed.run() in ("promoted", "refused")
    assert due(platform, "line", "campaign") == RoundKey("line", "campaign", 4)


def test_a_line_that_the_store_does_not_know_is_named(platform: Platform):
    with pytest.raises(BadInput, match="lime: no round of it is in"):
        list(restore(platform, "lime"))
