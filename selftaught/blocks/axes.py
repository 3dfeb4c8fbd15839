"""The axes of a recipe, a base class each: subclass one and name a type to add a block to it."""

import pickle
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Protocol, cast

from pydantic import NonNegativeInt, PositiveInt

from selftaught.blocks.block import Block
from selftaught.blocks.context import Context, Draw, Earlier, TrainContext
from selftaught.blocks.loading import Listed, OnAxis
from selftaught.blocks.results import Decision, Evidence, Outlook, Over, TrainResult
from selftaught.core.errors import NoAnswer, SelftaughtError
from selftaught.core.worker import WorkerDied, in_worker
from selftaught.records import Example, Group, Message, Rollout, Split, Task, Verdict


class TaskSource(Block, axis="tasks"):
    """Where tasks come from, and how many there are in each set."""

    train: PositiveInt
    """Tasks that a round attempts and trains on."""
    gate: PositiveInt
    """Held-out tasks that a round's gate decides by."""
    report: PositiveInt
    """Held-out tasks for reports, the same in every round: nothing is decided by them."""
    guard: NonNegativeInt = 0
    """Tasks of another origin, on which the gate looks for losses."""

    resamples_gate: ClassVar[bool]
    """Whether gate tasks are made, or arrive, anew every round; else rounds share a pool and its error budget.

    A generator's problems are many and not endless, so some may have been in an earlier round's gate set: none of them
    was ever trained on, and a challenger is another model each round.
    """
    over: ClassVar["Over"] = "tasks"
    """What results are to hold for: more tasks of these templates, or (rows of users) templates nobody has seen."""

    @abstractmethod
    def draw(self, draw: Draw) -> list[Task]:
        """The tasks of all four sets, `split` set, disjoint by structure. Equal draws give equal lists.

        The report set depends on `draw.campaign` alone. Raises BadInput when the source is missing, empty, malformed
        or too small for the numbers asked for.
        """

    def sizes(self) -> dict[Split, int]:
        """How many tasks each split asks for."""
        return {"train": self.train, "gate": self.gate, "report": self.report, "guard": self.guard}


class Attempts(Protocol):
    """What attempts tasks, as the runner of sampling asks it: a sampler, or what one is in a round."""

    async def sample(self, task: Task, context: Context) -> Group:
        """Attempt `task`; the group's rollouts carry the digest of the model that answered."""
        ...


class Sampler(Block, axis="sample"):
    """How a task is attempted; also an inference strategy that evaluation can run."""

    pipeline: ClassVar[str] = "round.yaml"
    """The compiled pipeline of a round that samples like this, in several shards."""
    asks_verifiers: ClassVar[bool] = True
    """Whether it may ask the stage's verifiers. Where it does not, its rollouts depend on none of them, and no model
    that only they ask is served while it samples."""

    def roles(self) -> frozenset[str]:
        """The policy, and those of the blocks in its fields."""
        return super().roles() | {"policy"}

    @abstractmethod
    async def sample(self, task: Task, context: Context) -> Group:
        """Attempt `task`; the group's rollouts carry the digest of the model that answered."""

    def asked(self, task: Task) -> Sequence[Message]:
        """What a model is sent of `task` first: for plans."""
        return task.messages

    def cost(self) -> int:
        """About how many new tokens one task costs at most: for plans and progress."""
        return 0

    def in_round(
        self, tasks: Sequence[Task], seed: int, context_tokens: int, earlier: Mapping[str, Earlier]
    ) -> Attempts:
        """What attempts a shard's `tasks` in a round, on engines of that context: the sampler itself.

        One that is to be held against something gives what also samples that, on some of the tasks; one that reuses
        trees gives what goes on from those that `earlier` has, by the task's id.
        """
        return self

    def control_cost(self, tasks: int) -> int:
        """About how many new tokens it costs a round at most to hold it against something, beside `tasks` of them."""
        return 0

    def longest(self) -> int:
        """New tokens that one request asks for at most: with the prompt they have to fit the engine's context."""
        return 0


class Verifier(Block, axis="verify"):
    """What says whether rollouts are right; group-wise, so that votes and consistency are ordinary verifiers."""

    reads_answer: ClassVar[bool] = True
    """Whether a rollout that states the gold answer and nothing else has to pass, which is tried before a run. False
    for what looks at form, steps or length."""

    @abstractmethod
    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict a rollout, in order. A verifier that cannot run gives errors, never scores.

        It runs in the event loop, and awaits what takes longer than some milliseconds. Blocks that ask a verifier ask
        `judge`.
        """

    async def judge(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict a rollout of `group`, in order: errors where `verify` crashed, or was not answered twice.

        A crash in a verifier is a fact about the verifier and not about the model. Dead endpoints and wrong models (any
        SelftaughtError but NoAnswer) are raised.
        """
        try:
            said = await self._twice(group, context)
        except NoAnswer as error:
            return self._errored(group, str(error))
        except SelftaughtError:
            raise
        # Whatever a verifier may raise is attributed here, once, so that none has to catch anything broad itself.
        except Exception as error:  # noqa: BLE001
            return self._errored(group, f"{type(error).__name__}: {error}")
        if len(said) != len(group.rollouts):
            return self._errored(group, f"gave {len(said)} verdicts on {len(group.rollouts)} rollouts")
        return said

    async def _twice(self, group: Group, context: Context) -> list[Verdict]:
        """What it says, asked once more where it got no answer: an engine that dies breaks off what it is asked."""
        try:
            return await self.verify(group, context)
        except NoAnswer:
            return await self.verify(group, context)

    def _errored(self, group: Group, error: str) -> list[Verdict]:
        return [Verdict.errored(self.name, error) for _ in group.rollouts]


class RolloutVerifier(Verifier):
    """A verifier that looks at one rollout at a time, and whose crash on one costs that one its verdict alone.

    Verdicts are given in a worker process, one at a time, so they may take their time: the event loop does not wait. It
    reads the verifier once and keeps it, with what it has loaded. A class that only this process knows (one of a
    notebook, or in a function) is asked here.
    """

    @abstractmethod
    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """What is said of `rollout`."""

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        if not _importable(type(self)):
            return [self.bounded(group.task, rollout) for rollout in group.rollouts]
        kept = pickle.dumps(self)
        try:
            return await in_worker(_verdicts, kept, group.task, *group.rollouts)
        except WorkerDied:  # of one of them: which one, each for itself will tell
            return [await self._alone(kept, group.task, rollout) for rollout in group.rollouts]

    async def _alone(self, kept: bytes, task: Task, rollout: Rollout) -> Verdict:
        try:
            (said,) = await in_worker(_verdicts, kept, task, rollout)
            return said
        except WorkerDied as error:
            return Verdict.errored(self.name, str(error))

    def bounded(self, task: Task, rollout: Rollout) -> Verdict:
        """The verdict on `rollout`, an error where there is none. Raises a SelftaughtError as it is."""
        try:
            return self.verdict(task, rollout)
        except SelftaughtError:
            raise
        # The unit of blame is the unit of work: what a verifier may raise on one text is no word on its siblings.
        except Exception as error:  # noqa: BLE001
            return Verdict.errored(self.name, f"{type(error).__name__}: {error}")


def _importable(block: type[Block]) -> bool:
    return block.__module__ != "__main__" and "<locals>" not in block.__qualname__


def _verdicts(kept: bytes, task: Task, *rollouts: Rollout) -> list[Verdict]:
    return [_verifier(kept).bounded(task, rollout) for rollout in rollouts]


@lru_cache(maxsize=32)
def _verifier(kept: bytes) -> RolloutVerifier:
    return cast(RolloutVerifier, pickle.loads(kept))  # noqa: S301 (it is the asking process's own)


class Curator(Block, axis="curate"):
    """How verified groups become training examples."""

    @abstractmethod
    def curate(self, groups: Sequence[Group], seed: int) -> Iterator[Example]:
        """Yield examples in a fixed order: equal groups and seed give equal examples.

        `groups` may be more than fit into memory: they can be gone through several times, and are read anew each time.
        """

    def check(self, given: int) -> None:
        """Raise RoundFailed when so many examples as were `given` are not enough to train on."""


class Objective(Block, axis="train"):
    """How examples change a model."""

    role: str = "policy"
    """The role whose model is trained."""
    parallel: ClassVar[bool] = False
    """Whether torchrun may start it in several processes, each with the same arguments; the first writes `out`."""

    @abstractmethod
    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples`, write the new one to `out` (safetensors, tokenizer, config).

        Goes on from the newest whole checkpoint in `context.scratch`. Raises BadInput on a model that cannot be read.
        """

    def check(self) -> None:
        """Raise BadInput when this machine cannot run the objective (missing package, unknown device)."""


class Metric(Block, axis="evaluate"):
    """A figure of a model: a value a task first, the mean second."""

    higher_is_better: ClassVar[bool] = True
    """Whether a higher value is a better model; a gate decides by no other metric."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The least and the highest value that a task can have: (0, 1) of whatever is right or wrong, or a share of it.
    Intervals of few tasks go by it, and how much there is to lose. None where there are no such values, or nobody says.
    """
    tasks: PositiveInt | None = None
    """How many tasks of the set to measure (the first by id, so that every model is measured on the same)."""
    verify: Annotated[tuple[Annotated[Verifier, OnAxis("verify")], ...], Listed()] = ()
    """What says whether an answer is right, each of which has to pass it, in the place of the tasks' own check
    (`answer_match`: the gold answer). Never the stage's `verify`, unless it is written here too."""

    @property
    def variance(self) -> float | None:
        """That of the difference of two models on a task, as far as it can be assumed; None where values are 0 or 1.

        Nothing is assumed of a metric of other `bounds` than (0, 1) that has none.
        """
        return None

    def roles(self) -> frozenset[str]:
        """The roles that its sampler asks, and those of the blocks in its fields."""
        return super().roles() | self.sampler().roles()

    @abstractmethod
    def sampler(self) -> Sampler:
        """The inference strategy that this metric measures. Metrics with equal samplers share rollouts."""

    @abstractmethod
    def value(self, group: Group) -> float:
        """The metric on one verified task."""


class Gate(Block, axis="gate"):
    """What decides whether the challenger becomes the champion."""

    @property
    def anchored(self) -> frozenset[str]:
        """The metrics on which the guard set is measured of the model that the line began with, too."""
        return frozenset()

    @abstractmethod
    def decide(self, evidence: Evidence) -> Decision:
        """Promote or refuse, with reasons. A refusal is a normal outcome, not an error."""

    @abstractmethod
    def plan(self, outlook: Outlook) -> str:
        """What to print before the run: the smallest gain that can be shown, and the chance that it is promoted."""
