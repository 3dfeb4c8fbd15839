"""A round of an online stage: it learns from what it samples, and leaves what an offline round leaves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Peers
from selftaught.core.errors import BadInput, BadRecipe
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Example, Group, Task, dataset
from selftaught.round.experience import Gathering, Gatherings, chosen
from selftaught.round.job import ModelRef
from selftaught.round.steps import train_online
from selftaught.round.steps.train import held_to, reference
from selftaught.round.steps.train_online import OnlineTraining
from tests.rounds import Round, database, engines, model, platform, recipe, recorded_blocks, requests

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

STAGE: Mapping[str, Any] = {
    "online": {"steps": 4, "tasks": 4},
    "sample": {"type": "iid", "k": 4, "max_tokens": 6},
    "verify": {"type": "rules", "pattern": "[a-m]", "finished": False},  # a random model's letters pass now and then
    "curate": {"type": "advantages"},
    "train": {"type": "policy_gradient", "learning_rate": 0.01, "precision": "fp32", "checkpoint_every": 2},
}
STARTED = 12
"""Training tasks: with four steps of four, some are had twice."""


def round_of(model: Path, folder: Path, campaign: str = "campaign", **stage: Any) -> Round:
    return Round(folder, recipe(model, **{**STAGE, **stage}), campaign=campaign, shards=1)


def training(one: Round) -> OnlineTraining:
    return OnlineTraining.model_validate_json(Path(one.made["model"].path).read_text())


def test_a_round_leaves_what_an_offline_round_leaves(platform: Platform, engines: Path, model: Path, tmp_path: Path):
    one = round_of(model, tmp_path / "round")
    assert one.run() in ("promoted", "refused")
    tasks = {t.id for t in dataset.read(Path(one.made["tasks"].path), Task) if t.split == "train"}
    groups = dataset.read(Path(one.made["verified"].path), Group)
    examples = dataset.read(Path(one.made["examples"].path), Example)
    assert len({group.id for group in groups}) == len(groups) == len(tasks) == STARTED
    assert sum(len(group.rollouts) for group in groups) == 4 * 4 * 4
    assert all(len({rollout.index for rollout in group.rollouts}) == len(group.rollouts) for group in groups)
    assert {example.task for example in examples} <= tasks
    assert {rollout.id for group in groups for rollout in group.rollouts} >= {example.rollout for example in examples}
    made = training(one)
    assert made.digest != made.parent == one.job.trainee.digest
    assert (made.steps, made.examples) == (4, dataset.manifest(Path(one.made["examples"].path)).digest)
    version = platform.tracker.resolve("line", "head")
    assert version is not None
    assert version.digest == made.digest


def test_a_training_that_is_killed_comes_to_the_same(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed while it samples, at each step: it goes on from its checkpoint, with what it had sampled."""
    complete = round_of(model, tmp_path / "round")
    complete.prepare()
    killing, gathered = set(range(4)), Gathering._gathered

    async def dying(self: Gathering, step: int, peers: Peers) -> list[Group]:
        if step in killing:
            killing.remove(step)
            raise KeyboardInterrupt
        return await gathered(self, step, peers)

    monkeypatch.setattr(Gathering, "_gathered", dying)
    while killing:
        with pytest.raises(KeyboardInterrupt):
            complete.train_online()
    complete.train_online()
    found = training(complete)
    claims = platform.settings.home / "store" / "claims" / "steps" / "train"
    for claim in claims.iterdir():
        claim.unlink()
    complete.train_online()
    again = training(complete)
    assert found.losses == again.losses
    assert (found.digest, found.examples, found.verified) == (again.digest, again.examples, again.verified)


def test_several_processes_bring_a_share_each(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As many rollouts as one process brings, each once, and all of them are learnt from by all."""
    one = round_of(model, tmp_path / "round")
    one.prepare()
    monkeypatch.setenv("SELFTAUGHT_TRAIN_PROCESSES", "2")
    monkeypatch.setenv("SELFTAUGHT_LIVE_ENGINE", "transformers")  # what they know as vLLM is a stand-in
    one.train_online()
    groups = dataset.read(Path(one.made["verified"].path), Group)
    examples = dataset.read(Path(one.made["examples"].path), Example)
    assert sum(len(group.rollouts) for group in groups) == 4 * 4 * 4
    assert all(len({rollout.index for rollout in group.rollouts}) == len(group.rollouts) for group in groups)
    made = training(one)
    assert made.digest != made.parent
    assert made.steps == 4
    assert {example.rollout for example in examples} <= {each.id for group in groups for each in group.rollouts}


def test_weights_that_are_no_numbers_any_more_are_not_pushed(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A learning rate of 1e38: the loss of the step that does it is that before it."""
    one = round_of(model, tmp_path / "round", train={**STAGE["train"], "learning_rate": 1e38})
    one.prepare()
    with pytest.raises(SystemExit):
        one.train_online()
    assert "do not compute numbers any more after step 1. Lower learning_rate" in capsys.readouterr().err


def test_several_nodes_are_refused(
    platform: Platform, engines: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = round_of(model, tmp_path / "round")
    one.prepare()
    monkeypatch.setenv("SELFTAUGHT_TRAIN_NODES", "2")
    paths = [one.artifact(name).path for name in ("tasks", "verified", "examples", "model")]
    with pytest.raises(BadInput, match="one node so far"):
        train_online.run(one.made["job"].path, *paths)


def test_tasks_that_were_written_in_a_step_stay_with_their_rollouts(tmp_path: Path):
    """Two steps on one task, each of which wrote another task and attempted it."""
    drawn, *written = [
        Task.model_validate({"messages": [{"role": "user", "content": f"{i}?"}], "source": "t"}) for i in range(3)
    ]
    stage = {**STAGE, "online": {"steps": 2, "tasks": 1}}
    online = Recipe.parse(json.dumps(recipe(Path("m"), **stage))).stages[0].online
    assert online is not None
    for step, task in enumerate(written):
        rollout = {"task": task.id, "index": step, "model": "m", "turns": [{"content": "1"}], "temperature": 1}
        group = Group.model_validate({"task": drawn, "rollouts": [rollout], "minted": [task]})
        dataset.write(tmp_path / f"step-{step:06}", [group], "groups")
    kept = Gatherings(None, None, online, tmp_path)  # pyright: ignore[reportArgumentType]
    (group,) = kept.groups()
    assert [group.task_of(rollout) for rollout in group.rollouts] == written


def test_a_penalty_on_leaving_the_base_is_on_the_model_that_the_line_began_with(
    platform: Platform, engines: Path, model: Path, tmp_path: Path
):
    """Also when training starts from another one; and another base is another training."""
    held = {"train": {**STAGE["train"], "kl": {"to": "base"}}}
    one, free = round_of(model, tmp_path / "round", **held), round_of(model, tmp_path / "free", "free")
    one.prepare()
    free.prepare()
    (objective,), later = one.job.blocks.train, ModelRef(digest="another")
    assert one.job.anchor is not None
    assert reference(platform, one.job, objective, later) == platform.model(one.job.anchor.digest)
    assert reference(platform, one.job, objective, one.job.anchor) is None
    assert reference(platform, free.job, free.job.blocks.train[0], later) is None
    assert (held_to(one.job), held_to(free.job)) == ({"reference": one.job.anchor.digest}, {})


def test_a_role_is_not_held_to_the_policy_that_the_line_began_with():
    curate = [{"type": "accepted"}, {"type": "advantages"}]
    train = [{"type": "policy_gradient", "role": "critic", "kl": {"to": "base"}}, {"type": "sft"}]
    with pytest.raises(BadRecipe, match=r"holds the role critic to `base`.* Hold it to `start`"):
        Recipe.parse(json.dumps(recipe(Path("m"), curate=curate, train=train)))


def test_all_tasks_are_had_before_one_is_had_again():
    online = Recipe.parse(json.dumps(recipe(Path("m"), **STAGE))).stages[0].online
    assert online is not None
    tasks = [
        Task.model_validate({"messages": [{"role": "user", "content": f"{i}?"}], "source": "t"}) for i in range(12)
    ]
    steps = [chosen(tasks, online, 5, step) for step in range(4)]
    assert len({task.id for step in steps[:3] for task in step}) == 12
    assert steps == [chosen(tasks, online, 5, step) for step in range(4)]
    assert steps != [chosen(tasks, online, 6, step) for step in range(4)]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"train": {"type": "value_mse"}, "evaluate": [], "gate": None}, "one objective, of the policy"),
        ({"train": [STAGE["train"], {"type": "sft"}]}, "one objective, of the policy"),
        ({"train": {**STAGE["train"], "epochs": 3}}, "train.epochs: 3"),
        ({"train": {**STAGE["train"], "gradient_accumulation": 2}}, "train.gradient_accumulation: 2"),
        ({"sample_from": "base"}, "sample_from: base and train_from: champion"),
        ({"replay": 10}, "Set replay: 0"),
    ],
)
def test_what_has_no_effect_online_is_refused(stage: Mapping[str, Any], words: str):
    with pytest.raises(BadRecipe, match=words):
        Recipe.parse(json.dumps(recipe(Path("m"), **{**STAGE, **stage})))


def test_a_recipe_that_is_not_online_has_the_digest_that_it_had():
    offline = recipe(Path("m"), train={"type": "sft"})
    assert "online" not in Recipe.parse(json.dumps(offline)).stages[0].model_dump()


def test_a_judge_is_asked_while_training(platform: Platform, engines: Path, model: Path, tmp_path: Path):
    """Verifiers that ask a role get its model; a role without one is played by the policy as it is then."""
    one = round_of(
        model,
        tmp_path / "round",
        verify=[STAGE["verify"], {"type": "judged"}],
        curate={"type": "advantages", "rewards": {"rules": 1}},
    )
    one.prepare()
    one.train_online()
    groups = dataset.read(Path(one.made["verified"].path), Group)
    assert {v.verifier for group in groups for on_one in group.verdicts for v in on_one} == {"rules", "judged"}
