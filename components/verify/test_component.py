"""verify: shards are merged, right answers pass, and equal rollouts give equal digests in whatever shards they come."""

import json
from pathlib import Path

import pytest
from kfp import dsl

from components.verify.one_shard import verify as verify_one
from selftaught.platform import Platform
from selftaught.records import Example, Group, Task, Turn, dataset
from selftaught.round.history import due
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, recipe


def shown(platform: Platform, round: Round) -> list[list[str]]:
    """The rows of the rollouts' table on the round's run."""
    path = platform.tracker.client.download_artifacts(round.job.run, "rollouts.json")
    return json.loads(Path(path).read_text())["data"]


@pytest.fixture
def sampled(round: Round) -> Round:
    round.prepare()
    round.sample()
    return round


def test_right_answers_pass_and_become_examples(sampled: Round):
    sampled.verify()
    groups = dataset.read(Path(sampled.made["verified"].path), Group)
    examples = dataset.read(Path(sampled.made["examples"].path), Example)
    for group in groups:
        for index, rollout in enumerate(group.rollouts):
            assert group.passed(index) == (rollout.text == f"The answer is {group.task.answer}.")
    accepted = {rollout.id for group in groups for rollout in group.accepted()}
    assert {example.rollout for example in examples} <= accepted
    assert {example.task for example in examples} == {group.id for group in groups if any(group.accepted())}
    assert sampled.made["verify-metrics"].metadata["passed"] == len(accepted)
    assert sampled.made["examples"].metadata["rows"] == len(examples)


def test_shards_make_no_difference(sampled: Round, tmp_path: Path):
    sampled.verify()
    other = Round(tmp_path / "other", sampled.recipe)
    other.made = {name: sampled.made[name] for name in ("job", "tasks")}
    groups = [group for shard in (1, 0) for group in dataset.read(Path(sampled.made[f"groups-{shard}"].path), Group)]
    for shard, part in enumerate((groups[:-1], groups[-1:])):
        counts = {"new_tokens": 1.0, "seconds": 3.0 - shard}
        dataset.write(Path(other.artifact(f"groups-{shard}").path), part, "groups", counts=counts)
    other.verify()
    for name in ("verified", "examples"):
        assert other.made[name].metadata["digest"] == sampled.made[name].metadata["digest"]
    manifest_counts = dataset.manifest(Path(other.made["verified"].path)).counts
    assert (manifest_counts["new_tokens"], manifest_counts["sampling_seconds"]) == (
        2.0,
        3.0,
    )  # shards are sampled side by side


def test_one_shard_needs_no_list(sampled: Round, tmp_path: Path):
    """The component of a round of one shard, whose verdicts are those of the same groups in two."""
    sampled.verify()
    alone = Round(tmp_path / "alone", sampled.recipe, campaign="alone", shards=1)
    alone.prepare()
    alone.sample()
    assert len(dataset.read(Path(alone.made["groups-0"].path), Group)) == 12
    outputs = alone.artifact("verified"), alone.artifact("examples"), alone.artifact("metrics", dsl.Metrics)
    verify_one.python_func(alone.made["job"], alone.made["groups-0"], *outputs)
    verified = dataset.read(Path(alone.made["verified"].path), Group)
    assert all(len(group.verdicts) for group in verified) and len(verified) == 12


def test_a_verifier_whose_role_has_no_model_asks_the_policy(model: Path, tmp_path: Path, engines: Path):
    """A rollout passes where the policy says the same again, and nobody but the policy was asked."""
    judged = Round(tmp_path / "judged", recipe(model, verify={"type": "judged"}))
    for step in (judged.prepare, judged.sample, judged.verify):
        step()
    groups = dataset.read(Path(judged.made["verified"].path), Group)
    assert {verdict.error for group in groups for on_one in group.verdicts for verdict in on_one} == {None}
    asked = [json.loads(line) for line in engines.read_text().splitlines()]
    assert {each["model"] for each in asked} == {f"line-{judged.job.sampler.digest[:8]}"}
    assert len([each for each in asked if each["temperature"] == 0]) == len(groups)


def test_a_pipeline_of_another_number_of_shards_verifies_nothing(sampled: Round, capfd: pytest.CaptureFixture[str]):
    """As when the pipeline of one shard is started with two by hand: half of the tasks would be missing."""
    sampled.shards = 1
    with pytest.raises(SystemExit):
        sampled.verify()
    assert "1 of 2 shards" in capfd.readouterr().err


def test_the_inputs_of_the_run_are_in_mlflow(sampled: Round, platform):
    sampled.verify()
    run = platform.tracker.client.get_run(sampled.job.run)
    inputs = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
    assert inputs == {name: sampled.made[name].metadata["digest"][:36] for name in ("tasks", "verified", "examples")}


def test_too_few_examples_fail_the_round(
    round: Round, model: Path, platform: Platform, capfd: pytest.CaptureFixture[str]
):
    round.recipe = recipe(model, curate={"type": "accepted", "minimum": 1000})
    round.prepare()
    round.sample()
    with pytest.raises(SystemExit):
        round.verify()
    assert "verify: " in capfd.readouterr().err
    assert not Path(round.made["examples"].path).exists()
    assert len(shown(platform, round)) == 24
    assert due(platform, "line", "campaign") == RoundKey("line", "campaign").retry()  # redrawn, whoever submits it


def test_a_held_out_task_among_the_examples_fails_the_round_before_training(
    sampled: Round, platform: Platform, capfd: pytest.CaptureFixture[str]
):
    """A shard whose rollouts answer a gate task: they are verified, and no example is made of them."""
    tasks = dataset.read(Path(sampled.made["tasks"].path), Task)
    leaked = next(task for task in tasks if task.split == "gate")
    groups = dataset.read(Path(sampled.made["groups-0"].path), Group)
    right = next(rollout for group in groups for rollout in group.rollouts)
    said = right.model_copy(update={"task": leaked.id, "turns": (Turn(content=f"The answer is {leaked.answer}."),)})
    group = Group(task=leaked, rollouts=(said,))
    dataset.write(
        Path(sampled.made["groups-0"].path), [*groups, group], "groups", counts={"new_tokens": 1, "seconds": 1}
    )
    with pytest.raises(SystemExit):
        sampled.verify()
    stderr = capfd.readouterr().err
    assert "training examples overlap held-out tasks, so nothing measured on them counts" in stderr
    assert leaked.id in stderr
    assert not Path(sampled.made["examples"].path).exists()


def test_rollouts_are_shown_on_the_rounds_run(sampled: Round, platform: Platform):
    for _ in range(2):
        sampled.verify()
    groups = dataset.read(Path(sampled.made["verified"].path), Group)
    said = [
        (g.task.question, r.text, "passed" if g.passed(i) else "failed")
        for g in groups
        for i, r in enumerate(g.rollouts)
    ]
    assert [(row[0], row[2], row[3]) for row in shown(platform, sampled)] == said
