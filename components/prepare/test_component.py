"""prepare: a round is fixed once, and nothing starts on sets that overlap."""

import json
from collections import Counter
from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Task, dataset
from selftaught.round.history import give_up
from tests.plans import end_round
from tests.report.sample_report import sample
from tests.round.test_fixed_gate import problems
from tests.rounds import Round, recipe


def test_the_job_and_its_tasks(round: Round, platform: Platform):
    round.prepare()
    tasks = dataset.read(Path(round.made["tasks"].path), Task)
    assert Counter(task.split for task in tasks) == {"train": 12, "gate": 24, "report": 8, "guard": 4}
    champion = platform.tracker.resolve("line", "champion")
    assert champion is not None
    assert {round.job.champion.digest, round.job.sampler.digest, round.job.trainee.digest} == {champion.digest}
    assert round.made["tasks"].metadata == {"digest": round.job.tasks, "rows": 48}
    assert platform.store.has("datasets", round.job.tasks)


def test_a_round_is_fixed_once(round: Round, platform: Platform, tmp_path: Path):
    """A second `prepare`, even after the aliases have moved, gives the first one's job: champion, tasks, run."""
    round.prepare()
    moved = platform.tracker.register("line", "f" * 64, "file:///m", "", {})
    platform.tracker.point("champion", moved)
    again = Round(tmp_path / "again", round.recipe)
    again.prepare()
    assert again.job == round.job
    assert dataset.manifest(Path(again.made["tasks"].path)) == dataset.manifest(Path(round.made["tasks"].path))
    assert len(platform.tracker.rounds("line", "campaign")) == 1


def test_another_attempt_is_another_draw_with_the_same_report_set(round: Round, tmp_path: Path):
    round.prepare()
    another = Round(tmp_path / "another", round.recipe, attempt=1)
    another.prepare()
    drawn = [dataset.read(Path(r.made["tasks"].path), Task) for r in (round, another)]
    for split, same in [("train", False), ("gate", False), ("report", True)]:
        one, other = ({task.id for task in tasks if task.split == split} for tasks in drawn)
        assert (one == other) == same, split


def test_overlapping_sets_fail_the_round(
    round: Round, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    round.recipe = recipe(model, tasks={"type": "overlapping"})
    monkeypatch.setattr("selftaught.round.step.die_with_parent", lambda: None)
    monkeypatch.setenv("SELFTAUGHT_ERRORS", str(tmp_path / "errors.jsonl"))
    with pytest.raises(SystemExit) as left:
        round.prepare()
    assert left.value.code == 1
    error = json.loads((tmp_path / "errors.jsonl").read_text())
    assert (error["step"], error["kind"]) == ("prepare", "RoundFailed")
    assert "The sets of tasks overlap" in error["message"]
    assert "Traceback" not in capfd.readouterr().err
    assert not Path(round.made["tasks"].path).exists()


def test_gold_answers_that_a_verifier_fails_stop_the_round_before_anything_is_sampled(
    round: Round, platform: Platform, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """Worked solutions instead of answers: on a cluster nobody has seen a plan."""
    file = tmp_path / "problems.jsonl"
    worked = [row | {"answer": f"It takes a step.\n#### {row['answer']}"} for row in problems()]
    file.write_text("".join(json.dumps(row) + "\n" for row in worked))
    tasks = {"type": "jsonl", "path": str(file), "train": 40, "gate": 20, "report": 20, "guard": 0}
    round.recipe = recipe(model, tasks=tasks)
    with pytest.raises(SystemExit):
        round.prepare()
    stderr = capfd.readouterr().err
    assert "verify: 'answer_match' fails 80 of the tasks' own 80 gold answers" in stderr
    assert "tasks.answer_pattern: '#### (.+)'" in stderr
    assert platform.store.claims("plans/line") == []
    round.recipe = recipe(model, tasks=tasks | {"answer_pattern": "#### (.+)"})
    round.prepare()
    assert len(dataset.read(Path(round.made["tasks"].path), Task)) == 80


def test_another_number_of_shards_is_refused(round: Round, capfd: pytest.CaptureFixture[str]):
    """Half of the tasks would be sampled twice, or not at all."""
    round.prepare()
    round.shards = 3
    with pytest.raises(SystemExit):
        round.prepare()
    assert "was started with 2 shards, not 3" in capfd.readouterr().err


def test_a_round_of_no_shard_is_not_begun(round: Round, platform: Platform, capfd: pytest.CaptureFixture[str]):
    """The back end fails on what a loop over nothing is said to have collected, when it has come so far."""
    round.shards = 0
    with pytest.raises(SystemExit):
        round.prepare()
    assert "shards: []: nothing would be sampled" in capfd.readouterr().err
    assert platform.tracker.rounds("line", "campaign") == []


def test_round_0_is_the_one_that_is_due(round: Round, platform: Platform):
    """A schedule does not count rounds: interrupted ones continue, failed ones are redrawn, ended ones are over."""
    due = []
    for outcome in ["", "failed", "refused"]:
        round.number = 0
        round.prepare()
        due.append((round.job.round, round.job.attempt))
        if outcome == "failed":
            give_up(platform, round.job.key, round.job.run, "too few examples")
        if outcome == "refused":
            end_round(platform.store, round.job.key, sample(2))
            platform.tracker.finish(round.job.run, outcome)
    round.prepare()
    assert [*due, (round.job.round, round.job.attempt)] == [(1, 0), (1, 0), (1, 1), (2, 0)]


def test_the_rounds_run_has_its_settings_as_parameters_and_its_recipe_as_a_file(round: Round, platform: Platform):
    """What runs are compared by in MLflow."""
    round.prepare()
    client = platform.tracker.client
    params = client.get_run(round.job.run).data.params
    assert {"sample.type": "iid", "sample.k": "2", "sample.max_tokens": "32"}.items() <= params.items()
    assert {"train.nudge.gain": "0.7", "gate.metric": "accuracy"}.items() <= params.items()
    path = client.download_artifacts(round.job.run, "recipe.yaml")
    assert Recipe.load(Path(path)).digest == round.job.recipe.digest
