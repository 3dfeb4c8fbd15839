"""Online training: an update is the one that it is offline, and a run that was killed comes to what it would have."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from selftaught.blocks import Gathered, LivePolicy, OnlinePlan
from selftaught.core.errors import RoundFailed
from selftaught.records import Example
from selftaught.serving.engines.live import InProcess, OnTransformers, require_pushed
from selftaught.training.dpo import DPO
from selftaught.training.gradient import Gradient, Lora
from selftaught.training.loops.policy_gradient import run as run_offline
from selftaught.training.policy_gradient import KL, PolicyGradient
from selftaught.training.sft import SFT
from selftaught.training.tokens import Loss, TokenBatch
from tests.examples import imitated, preferred
from tests.training.several_online import Work
from tests.training.test_parallel import environment
from tests.training.test_policy_gradient import rollout

TOLD: dict[str, Any] = {"precision": "fp32", "learning_rate": 1e-3, "batch_size": 2, "checkpoint_every": 2}
STEPS = 5


def sampled(step: int) -> list[Example]:
    """What a step brings: right and wrong answers that differ from step to step."""
    return [rollout(f"{step}?", f"{text} {step}", by) for text, by in (("yes", 1.0), ("no", -0.5), ("nay", -0.5))]


def plan(updates: int = 1, steps: int = STEPS, brings: Callable[[int], list[Example]] = sampled) -> OnlinePlan:
    return OnlinePlan(steps, updates, lambda step, policy: Gathered(brings(step), {"reward": step / STEPS}))


def killed_at(step: int, given: OnlinePlan) -> OnlinePlan:
    def experience(number: int, policy: LivePolicy) -> Gathered:
        if number == step:
            raise KeyboardInterrupt
        return given.experience(number, policy)

    return replace(given, experience=experience)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("lora", [None, Lora(rank=2, dropout=0.2)])
def test_a_run_that_is_killed_at_any_step_comes_to_what_it_would_have(
    updates: int, lora: Lora | None, tiny_model, context, tmp_path
):
    config = PolicyGradient(**TOLD, kl=KL(weight=0.1), lora=lora)
    expected = config.train_online(tiny_model, plan(updates), tmp_path / "complete", context("complete"))
    for step in range(STEPS):
        scratch = context(f"killed {step}")
        with pytest.raises(KeyboardInterrupt):
            config.train_online(tiny_model, killed_at(step, plan(updates)), tmp_path / f"{step}", scratch)
        found = config.train_online(tiny_model, plan(updates), tmp_path / f"{step}", scratch)
        assert found.losses == expected.losses
        complete, resumed = weights_in(tmp_path / "complete"), weights_in(tmp_path / f"{step}")
        assert all(torch.equal(complete[name], resumed[name]) for name in complete)


@pytest.mark.parametrize("online", [True, False])
def test_the_penalty_is_on_leaving_the_reference(online: bool, tiny_model, other_model, context, tmp_path):
    """At the start nothing is left of the start itself; of another model as much as its weight says."""

    def loss(weight: float, reference: Path) -> float:
        config = PolicyGradient(**TOLD | {"batch_size": 3}, kl=KL(weight=weight, to="base"))
        name = f"{weight} {reference.name}"
        given, out = replace(context(name), reference=reference), tmp_path / f"{name} out"
        if online:
            return config.train_online(tiny_model, plan(steps=1), out, given).losses[0][1]
        return run_offline(config, tiny_model, sampled(0), out, given).losses[0][1]

    own, *far = loss(1.0, tiny_model), loss(1.0, other_model), loss(2.0, other_model)
    assert far[0] - own > 0.1
    assert far[1] - far[0] == pytest.approx(far[0] - own, rel=1e-3)


def test_one_step_is_one_update_offline(tiny_model, context, tmp_path):
    given = TOLD | {"batch_size": 3}
    online = PolicyGradient(**given).train_online(tiny_model, plan(steps=1), tmp_path / "online", context("online"))
    offline = run_offline(PolicyGradient(**given), tiny_model, sampled(0), tmp_path / "offline", context("offline"))
    assert online.losses[0][1] == pytest.approx(offline.losses[0][1], abs=1e-6)
    one, other = weights_in(tmp_path / "online"), weights_in(tmp_path / "offline")
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], rtol=1e-2, atol=1e-3)


IMITATED = [imitated("1?", "one"), imitated("2?", "two")]
PREFERRED = [preferred("1?", "one", "two"), preferred("2?", "two", "one")]


@pytest.mark.parametrize(("config", "examples"), [(SFT(**TOLD), IMITATED), (DPO(**TOLD), PREFERRED)])
def test_what_learns_offline_from_examples_learns_online(config: Gradient, examples, tiny_model, context, tmp_path):
    result = config.train_online(tiny_model, plan(brings=lambda _: examples), tmp_path / "out", context("run"))
    assert result.losses[-1][1] < result.losses[0][1]


def test_a_step_without_anything_to_learn_is_passed_over(tiny_model, context, tmp_path):
    config = PolicyGradient(**TOLD)
    found = plan(brings=lambda step: [] if step == 1 else sampled(step))
    result = config.train_online(tiny_model, found, tmp_path / "out", context("run"))
    assert [step for step, _ in result.losses] == [1, 3, 4, 5]
    with pytest.raises(RoundFailed, match="policy_gradient: no step had examples to learn from"):
        config.train_online(tiny_model, plan(brings=lambda _: []), tmp_path / "none", context("none"))


@pytest.mark.parametrize("updates", [1, 2])
def test_an_objective_of_ones_own_has_the_log_probabilities_that_sampled(updates: int, tiny_model, context, tmp_path):
    """Those before a step's first update, whether there are more or not."""
    ratios: list[float] = []

    class Own(PolicyGradient):
        def compute_loss(self, tokens: TokenBatch) -> Loss:
            ratios.append(float((tokens.logprobs - tokens.behaviour).detach().abs().max()))
            return super().compute_loss(tokens)

    Own(**TOLD | {"batch_size": 3}).train_online(tiny_model, plan(updates, steps=1), tmp_path / "out", context("run"))
    assert len(ratios) == updates
    assert [ratio < 1e-5 for ratio in ratios] == [True, False][:updates]


def test_rollouts_that_are_too_long_are_counted(tiny_model, context, tmp_path):
    long = rollout("0?", "no" * 40, -1.0)
    config = PolicyGradient(**TOLD | {"max_length": 64})
    result = config.train_online(
        tiny_model, plan(brings=lambda _: [*sampled(0), long]), tmp_path / "out", context("run")
    )
    assert result.metrics["examples.left_out"] == STEPS


def test_every_step_is_reported_with_reward_and_loss(tiny_model, context, tmp_path):
    seen: list[dict[str, float]] = []
    given = replace(context("run"), report=lambda done, total, /, **figures: seen.append({"step": done} | figures))
    PolicyGradient(**TOLD).train_online(tiny_model, plan(), tmp_path / "out", given)
    assert [entry["step"] for entry in seen] == list(range(1, STEPS + 1))
    assert [entry["reward"] for entry in seen] == [step / STEPS for step in range(STEPS)]
    assert all({"loss", "grad_norm", "tokens_per_second"} <= entry.keys() for entry in seen)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, dropout=0.5)])
def test_what_is_pushed_is_what_is_trained(lora: Lora | None, tiny_model, context, tmp_path):
    """The engine's log-probabilities follow the trainer's, adapters and all; without a push they do not."""
    ids = list(range(60, 90))
    stale, live = (InProcess(OnTransformers(tiny_model, 256), "digest", 0) for _ in range(2))
    drifts: list[bool] = []

    def experience(step: int, policy: LivePolicy) -> Gathered:
        live.push(policy.weights(), step)
        require_pushed(live, ids, policy.logprobs(ids))
        drifts.append(stale.logprobs(ids) != live.logprobs(ids))
        return Gathered(sampled(step), {})

    config = PolicyGradient(**TOLD | {"learning_rate": 0.02}, lora=lora)
    config.train_online(tiny_model, OnlinePlan(4, 1, experience), tmp_path / "out", context("run"))
    assert drifts == [False, True, True, True]


def works(folder: Path, model: Path, reference: Path) -> dict[str, Work]:
    """Trainings whose batches no number of processes divides; of three, one has nothing to do."""
    given = TOLD | {"learning_rate": 1e-4}
    objectives = {
        "replicated": PolicyGradient(**given, kl=KL(weight=0.5)),
        "adapters": PolicyGradient(**given, lora=Lora(rank=2)),
        "sharded": PolicyGradient(**given, kl=KL(weight=0.5, to="base"), sharded=True),
        "sharded adapters": PolicyGradient(**given, lora=Lora(rank=2), sharded=True),
    }
    steps = tuple(tuple(sampled(step)) for step in range(3))
    return {
        name: Work(objective=each, model=model, reference=reference, steps=steps, out=folder / name)
        for name, each in objectives.items()
    }


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_learn_what_one_does(processes: int, tiny_model, other_model, tmp_path):
    """And each of them is shown the weights as they are; see `several_online`."""
    alone = works(tmp_path / "alone", tiny_model, other_model)
    together = works(tmp_path / "together", tiny_model, other_model)
    for work in alone.values():
        work.run()
    files = [tmp_path / f"{name}.json" for name in together]
    for file, work in zip(files, together.values(), strict=True):
        file.write_text(work.model_dump_json())
    script = str(Path(__file__).with_name("several_online.py"))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([*torchrun, script, *map(str, files)], check=True, env=environment())
    for name, work in together.items():
        one, several = (json.loads((each.out / "losses.json").read_text()) for each in (alone[name], work))
        assert several == pytest.approx(one, rel=1e-3, abs=1e-5), name
        before, after = weights_in(alone[name].out / "model"), weights_in(work.out / "model")
        assert before.keys() == after.keys()
        for weight, expected in before.items():
            assert (after[weight].float() - expected.float()).abs().mean() < 1e-4, (name, weight)
