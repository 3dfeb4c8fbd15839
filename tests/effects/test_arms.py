"""The arms of an effect, run in full on simulated engines: equal tasks, results that last, and nothing done twice."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core.errors import RoundFailed
from selftaught.effects.arms import first_round, run_arms
from selftaught.effects.comparison import comparisons
from selftaught.effects.effect import Effect
from selftaught.effects.results import Results, Run
from selftaught.platform import Platform
from selftaught.round.adopt import adopt
from selftaught.round.job import begun
from tests.rounds import (
    Round,
    Rounds,
    database,
    model,
    owned_engines,
    platform,
    recipe,
    recorded_blocks,
    requests,
    written,
)

__all__ = ["database", "model", "platform", "recorded_blocks", "requests"]

STRONG, WEAK = {"name": "strong"}, {"name": "weak", "set": ["stages.0.train.gain=0.01"]}


@dataclass
class Desk:
    """Writes effects of the tiny model, and runs them."""

    platform: Platform
    model: Path
    folder: Path
    requests: Path
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def effect(self, changes: Mapping[str, Any] = {}, **stage: Any) -> Effect:
        """Training that raises the model's skill to 1 against training that hardly does."""
        file = written(self.folder / "recipe.yaml", recipe(self.model, **{"gate": None, **stage}))
        effect = {
            "system": "nudged",
            "claim": "more skill is more right answers",
            "recipe": str(file),
            "arms": [STRONG, WEAK],
            "control": "weak",
            "metric": "accuracy",
            "smallest": 0.05,
        }
        return Effect.load(written(self.folder / "effects" / "nudged.yaml", {**effect, **changes}))

    @property
    def file(self) -> Path:
        return self.folder / "effects" / "results" / "nudged.json"

    def run(self, effect: Effect, seeds: int = 1) -> list[Run]:
        return list(run_arms(self.platform, effect, seeds, self.file, self.events.append))

    def asked(self) -> int:
        """How many requests the engines have had."""
        return len(self.requests.read_text().splitlines())


@pytest.fixture
def desk(platform: Platform, requests: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr("selftaught.round.step.die_with_parent", lambda: None)
    monkeypatch.setattr("selftaught.effects.arms.Campaign", Rounds)  # in this process
    for name in ("SELFTAUGHT_STORE", "SELFTAUGHT_EVENTS", "SELFTAUGHT_ERRORS", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # so that what a round sets is undone
        monkeypatch.delenv(name)
    return Desk(platform, model, tmp_path, requests)


def test_arms_have_equal_tasks_and_seeds_others_and_no_run_is_repeated(desk: Desk):
    effect = desk.effect()
    runs = desk.run(effect, seeds=2)
    assert [(run.arm, run.seed) for run in runs] == [("strong", 1), ("weak", 1), ("strong", 2), ("weak", 2)]
    drawn = {(arm.name, s): begun(desk.platform, first_round(effect, arm, s)) for arm in effect.arms for s in (1, 2)}
    tasks = {at: job.tasks for at, job in drawn.items() if job}
    assert tasks["strong", 1] == tasks["weak", 1] != tasks["strong", 2] == tasks["weak", 2]
    assert runs[0].scores.keys() == runs[1].scores.keys() != runs[2].scores.keys() == runs[3].scores.keys()
    assert all(len(run.scores) == 8 for run in runs)
    (found,) = comparisons(Results.read(desk.file))
    assert (found.seeds, found.tasks, found.arm, found.control) == (2, 16, runs[2], runs[3])
    assert found.mean == 1.0 > found.control_mean
    before = desk.asked(), desk.file.read_bytes()
    assert desk.run(effect, seeds=2) == []
    assert (desk.asked(), desk.file.read_bytes()) == before


def test_what_two_arms_do_alike_is_done_once(desk: Desk):
    desk.run(desk.effect())
    sampled, base, challengers = 12, 8, 2 * 8
    assert desk.asked() == sampled + base + challengers


def test_an_arm_whose_rounds_have_ended_is_read_and_not_run(desk: Desk):
    effect = desk.effect()
    runs, asked = desk.run(effect), desk.asked()
    desk.file.unlink()
    assert desk.run(effect) == runs
    assert desk.asked() == asked


def test_an_arm_that_was_killed_resumes_within_its_round(desk: Desk):
    effect = desk.effect()
    key, strong = first_round(effect, effect.arms[0], 1), effect.recipes["strong"]
    killed = Round(desk.folder / "killed", strong.model_dump(mode="json"), key.line, key.campaign, shards=1)
    adopt(desk.platform, strong, key.line)
    with owned_engines(desk.platform.settings.home):
        killed.until_trained()
    asked = desk.asked()
    run, _ = desk.run(effect)
    assert run.model == killed.challenger
    assert desk.asked() == asked + 3 * 8


def test_an_arm_of_a_changed_recipe_is_run_again_and_the_others_are_not(desk: Desk):
    first = desk.run(desk.effect())
    again = desk.run(desk.effect({"arms": [{"name": "strong", "set": ["stages.0.train.gain=0.5"]}, WEAK]}))
    assert [run.arm for run in again] == ["strong"]
    assert again[0].recipe != first[0].recipe
    kept = {(run.arm, run.recipe) for run in Results.read(desk.file).runs}
    assert kept == {("strong", again[0].recipe), ("weak", first[1].recipe)}


def test_a_challenger_that_its_gate_refused_is_what_is_measured(desk: Desk):
    gate = {"type": "paired_gain", "metric": "accuracy", "min_gain": 0.05}
    effect = desk.effect(gate=gate)
    strong, weak = desk.run(effect)
    assert (strong.outcome, weak.outcome) == ("promoted", "refused")
    champion = desk.platform.tracker.resolve(first_round(effect, effect.arms[1], 1).line, "champion")
    assert champion
    assert weak.model != champion.digest


def test_a_model_may_be_held_against_what_it_began_with(desk: Desk):
    effect = desk.effect({"arms": [STRONG], "control": "base"})
    after, before = desk.run(effect)
    assert (after.arm, before.arm, before.outcome) == ("strong", "base", "measured")
    assert after.model != before.model
    assert after.scores.keys() == before.scores.keys()
    (found,) = comparisons(Results.read(desk.file))
    assert found.mean == 1.0 > found.control_mean
    assert desk.run(effect) == []


def test_an_arm_that_its_control_ends_early_is_measured_where_it_ended(desk: Desk):
    gate = {"type": "paired_gain", "metric": "accuracy", "min_gain": 0.05}
    flat = {"type": "until", "metric": "accuracy", "rounds": 2, "min_gain": 1.0}
    effect = desk.effect({"arms": [STRONG], "control": "base"}, gate=gate, control=flat, rounds=5)
    strong, _ = desk.run(effect)
    assert strong.round.endswith("/2-0")
    assert desk.run(effect) == []


def test_strategies_of_one_recipe_are_measured_together(desk: Desk):
    metrics = [{"type": "accuracy"}, {"type": "accuracy", "greedy": False, "k": 2}]
    arms = [{"name": "greedy"}, {"name": "sampled", "metric": "mean@2"}]
    effect = desk.effect({"arms": arms, "control": "greedy"}, train=[], curate=[], evaluate=metrics)
    runs = desk.run(effect)
    measured = [("greedy", "accuracy", "measured"), ("sampled", "mean@2", "measured")]
    assert [(run.arm, run.metric, run.outcome) for run in runs] == measured
    assert desk.asked() == 2 * 8
    assert desk.run(effect) == []


def test_an_arm_that_fails_says_why_and_the_others_results_stay(desk: Desk):
    arms = [STRONG, {"name": "weak", "set": ["stages.0.curate.minimum=1000"]}]
    with pytest.raises(RoundFailed, match="1000"):
        desk.run(desk.effect({"arms": arms}))
    assert [run.arm for run in Results.read(desk.file).runs] == ["strong"]


def test_the_command_prints_the_verdict(desk: Desk):
    desk.effect()
    asked = ["compare", str(desk.folder / "effects" / "nudged.yaml"), "--seeds", "1"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "→ strong 1.000" in shown.stdout
    *_, last = CliRunner().invoke(app, [*asked, "--json"]).stdout.splitlines()
    found = json.loads(last)
    assert (found["arm"], found["control"], found["seeds"], found["tasks"]) == ("strong", "weak", 1, 8)


def test_a_dry_run_prints_the_plan_of_each_arm_and_runs_nothing(desk: Desk):
    desk.effect()
    lines = desk.platform.tracker.lines()
    asked = ["compare", str(desk.folder / "effects" / "nudged.yaml"), "--dry-run"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert [line for line in shown.stdout.splitlines() if line.startswith("nudged: ")] == [
        "nudged: strong by accuracy",
        "nudged: weak by accuracy",
    ]
    plans = [json.loads(line) for line in CliRunner().invoke(app, [*asked, "--json"]).stdout.splitlines()]
    assert [(plan["arms"], plan["set"]) for plan in plans] == [
        ({"strong": "accuracy"}, []),
        ({"weak": "accuracy"}, WEAK["set"]),
    ]
    assert desk.platform.tracker.lines() == lines and not desk.file.exists()
