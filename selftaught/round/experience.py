"""What the steps of an online stage learn from: its sampler, verifiers and curators on a few tasks at a time.

The policy is a live engine, to which the weights are pushed before each step; other roles are served as in every step.
Of several processes that train, each has an engine and a share of the step's tasks. The groups of a step are written
before anything is learnt from them: a training that resumes a few steps earlier gets them as they were. Which tasks a
step has depends on the seed alone.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from selftaught.blocks import Context, Curator, Gathered, LivePolicy, Peers, silent
from selftaught.core.errors import RoundFailed
from selftaught.core.runner import Forgetful
from selftaught.curation.base import PerGroupCurator
from selftaught.curation.runner import curate
from selftaught.platform import Platform
from selftaught.recipe import Online
from selftaught.records import Example, Group, Rollout, Task, content_id, dataset
from selftaught.round.checks.minted import leaking
from selftaught.round.inputs import of_online
from selftaught.round.job import Job
from selftaught.round.models import context
from selftaught.sampling.runner import Unanswered, require_answers, sample, tell, total_tokens
from selftaught.serving.engines.live import LiveEngine, require_pushed
from selftaught.training.order import shuffled
from selftaught.verification.runner import funnel, verify


@dataclass(frozen=True, slots=True)
class Gatherings:
    """What the steps of the online stage of `job` have gathered so far, kept in `scratch`."""

    platform: Platform
    job: Job
    online: Online
    scratch: Path

    def of(self, step: int) -> list[Group] | None:
        """The groups of `step`, or None where nothing was gathered."""
        folder = self._folder(step)
        return dataset.read(folder, Group) if (folder / dataset.MANIFEST).exists() else None

    def keep(self, step: int, groups: Sequence[Group]) -> None:
        """Write the groups of `step`."""
        dataset.write(self._folder(step), groups, "groups")

    def rollouts(self, step: int) -> Counter[str]:
        """How many rollouts each task had in `step`."""
        return Counter({row.id: len(row.rollouts) for row in dataset.rows(self._folder(step), Group)})

    def groups(self) -> list[Group]:
        """All that was learnt from, one group a task in the order of their ids, with its rollouts of all steps."""
        found: dict[str, list[Group]] = {}
        for _, groups in self._steps():
            for group in groups:
                found.setdefault(group.id, []).append(group)
        return [_joined(found[id]) for id in sorted(found)]

    def examples(self) -> Iterator[Example]:
        """All examples that were learnt from, step by step."""
        for step, groups in self._steps():
            yield from self.examples_of(step, groups)

    def examples_of(self, step: int, groups: Sequence[Group]) -> list[Example]:
        """What `step` learns from `groups`."""
        curators = [_without_minimum(each) for each in self.job.blocks.curate]
        minted = [task for group in groups for task in group.minted]
        return list(curate(groups, curators, self.seed(step), leaking(self.platform, self.job, minted)))

    def seed(self, step: int) -> int:
        """What is drawn in `step` is drawn by."""
        return int(content_id([self.job.seed, "online", step]), 16)

    def _steps(self) -> Iterator[tuple[int, list[Group]]]:
        return ((step, dataset.read(self._folder(step), Group)) for step in range(self.online.steps))

    def _folder(self, step: int) -> Path:
        return self.scratch / f"step-{step:06}"


@dataclass
class Gathering:
    """Experience on the training `tasks`; what was gathered is `kept`.

    A context manager: while it is open, the models of the other roles are served; then the engine is closed.
    """

    kept: Gatherings
    tasks: Sequence[Task]
    engine: LiveEngine
    probe: Sequence[int]
    """Token ids by whose log-probabilities an engine is known to have the weights."""
    _runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    _open: AsyncExitStack = field(default_factory=AsyncExitStack)
    _models: Context = field(default_factory=Context)
    _before: Counter[str] = field(default_factory=Counter[str])
    _counted: int = 0

    def __enter__(self) -> Self:
        opened = self._open.enter_async_context(context(self.kept.platform, of_online(self.kept.job), self.engine))
        self._models = self._runner.run(opened)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._runner.run(self._open.__aexit__(kind, error, at))
        self._runner.close()
        self.engine.close()

    def __call__(self, step: int, policy: LivePolicy) -> Gathered:
        """The examples of `step`, and how many answers were right. Raises what sampling and verification raise."""
        groups = self.kept.of(step)
        if groups is None:
            self._push(policy, step)
            groups = policy.peers.collected(self._runner.run(self._gathered(step, policy.peers)))
            if policy.peers.first:
                self.kept.keep(step, groups)
            policy.peers.wait()  # what was gathered is counted in the next step
        return Gathered(self.kept.examples_of(step, groups), _figures(groups))

    def _push(self, policy: LivePolicy, step: int) -> None:
        expected = policy.logprobs(self.probe)
        if not all(map(math.isfinite, expected)):
            raise RoundFailed(
                f"the weights do not compute numbers any more after step {step}. Lower learning_rate, or raise warmup."
            )
        self.engine.push(policy.weights(), step)
        require_pushed(self.engine, self.probe, expected)

    async def _gathered(self, step: int, peers: Peers) -> list[Group]:
        """This process's share of the step's tasks, sampled and verified.

        Rollouts of a task are numbered through all steps.
        """
        job, seed, lost = self.kept.job, self.kept.seed(step), list[Unanswered]()
        tasks = chosen(self.tasks, self.kept.online, job.seed, step)
        models = Context(self._models.models, self._models.verifiers, seed, self._models.asked)
        attempts = job.blocks.sample.in_round(tasks, seed, self.kept.platform.settings.engine_context, {})
        groups = await sample(
            peers.share(tasks),
            attempts,
            models,
            Forgetful[Group](),
            silent,  # a step is over in seconds: the training says how far it is
            most_unanswered=None,
            unanswered=lambda task, error: lost.append((task, error)),
        )
        for task, error in lost:
            tell(task, error)
        require_answers(peers.collected(lost), len(tasks))
        self._count_until(step)
        groups = [_numbered(group, self._before[group.id]) for group in groups]
        return await verify(groups, job.blocks.verify, models, silent)

    def _count_until(self, step: int) -> None:
        """Count how many rollouts each task has had before `step`; what was counted is not read again."""
        for earlier in range(self._counted, step):
            self._before += self.kept.rollouts(earlier)
        self._counted = step


def chosen(tasks: Sequence[Task], online: Online, seed: int, step: int) -> list[Task]:
    """The tasks of `step`: all are had before one is had again, in another order."""
    passes = math.ceil(online.steps * online.tasks / len(tasks))
    order = shuffled(range(len(tasks)), passes, seed)
    return [tasks[index] for index in dict.fromkeys(order[step * online.tasks : (step + 1) * online.tasks])]


def _without_minimum(curator: Curator) -> Curator:
    """`curator`, content with what there is: a step of a few tasks may well have nothing."""
    return curator.model_copy(update={"minimum": 0}) if isinstance(curator, PerGroupCurator) else curator


def _numbered(group: Group, first: int) -> Group:
    """The group with its rollouts numbered from `first`; those of a tree are numbered by it."""
    if group.tree is not None:
        return group
    moved = (each.model_copy(update={"index": each.index + first}) for each in group.rollouts)
    return group.model_copy(update={"rollouts": tuple(moved)})


def _joined(groups: Sequence[Group]) -> Group:
    """One group of several of one task; of trees, the last."""
    if any(group.tree for group in groups):
        return groups[-1]
    rollouts: list[Rollout] = [each for group in groups for each in group.rollouts]
    verdicts = [each for group in groups for each in group.verdicts]
    minted = {task.id: task for group in groups for task in group.minted}
    return Group(task=groups[0].task, rollouts=tuple(rollouts), verdicts=tuple(verdicts), minted=tuple(minted.values()))


def _figures(groups: Sequence[Group]) -> dict[str, float]:
    """What became of a step's rollouts: the share that passed is the reward."""
    found = funnel(groups)
    return {
        "reward": found.passed / max(1, found.rollouts),
        "solved": found.solved / max(1, found.tasks),
        "new_tokens": float(total_tokens(groups)),
    }
