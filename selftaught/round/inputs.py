"""What a step asks: its blocks, the models of the roles that these name, and its seed.

What the step opens and what its output is kept under come from here alone, so that no step can ask a model that its key
leaves out. What it works on beside that (tasks, groups, examples) it adds to the key itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selftaught.blocks import Block, Metric, Verifier
from selftaught.evaluation.checks import measured_by
from selftaught.platform import Platform
from selftaught.recipe import Stage
from selftaught.round.job import Job, ModelRef, asked, brought_by, dump


@dataclass(frozen=True, slots=True)
class Inputs:
    """The blocks of a step of `job`, by axis, the model that is its policy, and the seed that its blocks are given."""

    job: Job
    policy: ModelRef
    seed: int
    blocks: Mapping[str, Sequence[Block]]
    verifiers: tuple[Verifier, ...] = ()
    """Those that the blocks may ask."""

    @property
    def roles(self) -> frozenset[str]:
        """The roles that the step asks."""
        each = [block.roles() for blocks in (*self.blocks.values(), self.verifiers) for block in blocks]
        return frozenset[str]().union(*each)

    def served(self) -> dict[str, ModelRef]:
        """The models to serve: those that roles have, and the policy where it is asked or plays a role without one."""
        own = {role: self.job.roles[role] for role in sorted(self.roles & self.job.roles.keys())}
        return own | ({"policy": self.policy} if self.roles - self.job.roles.keys() else {})

    def key(self, platform: Platform, **given: Any) -> dict[str, Any]:
        """What the output depends on: `given`, the blocks and who brought them, who plays which role, the seed,
        and how engines answer.
        """
        return {
            **{axis: dump(blocks) for axis, blocks in self.blocks.items()},
            "verifiers": dump(self.verifiers),
            "models": {role: self.job.roles.get(role, self.policy).digest for role in sorted(self.roles)},
            "seed": self.seed,
            **given,
            **brought_by(*self.blocks.values(), self.verifiers),
            **asked(platform, self.job),
        }


def of_sampling(job: Job) -> Inputs:
    """What the training tasks are attempted with."""
    stage = job.blocks
    verifiers = stage.verify if stage.sample.asks_verifiers else ()
    return Inputs(job, job.sampler, job.seed, {"sample": [stage.sample]}, verifiers)


def of_verifying(job: Job) -> Inputs:
    """What the rollouts are verified with."""
    return Inputs(job, job.sampler, job.seed, {"verify": job.blocks.verify})


def of_online(job: Job) -> Inputs:
    """What an online training samples and verifies with; its policy is the model that is trained."""
    stage = job.blocks
    verifiers = stage.verify if stage.sample.asks_verifiers else ()
    return Inputs(job, job.trainee, job.seed, {"sample": [stage.sample], "verify": stage.verify}, verifiers)


def of_measuring(job: Job, model: ModelRef, metrics: Sequence[Metric]) -> Inputs:
    """What `metrics` measure `model` with; the campaign's seed, so that scores of an earlier round still hold."""
    verifiers = job.blocks.verify if any(metric.sampler().asks_verifiers for metric in metrics) else ()
    blocks = {"evaluate": metrics, "checks": measured_by(metrics)}
    return Inputs(job, model, job.campaign_seed, blocks, verifiers)


def all_verifiers(stage: Stage) -> tuple[Verifier, ...]:
    """The verifiers that `stage` trains and measures by, each once."""
    measuring = measured_by(stage.evaluate)
    return (*stage.verify, *(each for each in measuring if each not in stage.verify))
