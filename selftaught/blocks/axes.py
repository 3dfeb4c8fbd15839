"""The axes of a recipe, one base class each: subclass one with a type name to add a block to it."""

import pickle
import traceback
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeVar, cast

from pydantic import NonNegativeInt, PositiveInt

from selftaught.blocks.block import Block, file_of, shown
from selftaught.blocks.context import Context, Draw, Earlier, TrainContext
from selftaught.blocks.loading import OnAxis, OneOrMore
from selftaught.blocks.online import OnlinePlan
from selftaught.blocks.results import Decision, Evidence, Explanation, Observed, Outlook, Over, State, TrainResult
from selftaught.core.errors import NoAnswer, SelftaughtError
from selftaught.core.unproven import is_unproven
from selftaught.core.validation import described
from selftaught.core.worker import WorkerDied, in_worker
from selftaught.records import Example, Group, Message, Rollout, Split, TargetType, Task, Verdict


class TaskSource(Block, axis="tasks"):
    """A source of tasks, and the sizes of its sets."""

    train: PositiveInt
    """Tasks that a round attempts and trains on."""
    gate: PositiveInt
    """Held-out tasks that a round's gate decides on."""
    report: PositiveInt
    """Held-out tasks for reports, the same in every round; no decision uses them."""
    guard: NonNegativeInt = 0
    """Tasks from another distribution, on which the gate tests for losses."""

    resamples_gate: ClassVar[bool]
    """Whether each round generates or receives new gate tasks; else rounds share a pool and its error budget.

    A generator's problems are finite, so some may have been in an earlier round's gate set: none of them was ever
    trained on, and a challenger is another model each round.
    """
    over: ClassVar["Over"] = "tasks"
    """What results should generalise to: more tasks of these templates, or (user-provided rows) unseen templates."""

    @abstractmethod
    def draw(self, draw: Draw) -> list[Task]:
        """The tasks of all four sets, with their `split`, disjoint by construction. Equal draws give equal lists.

        The report set depends on `draw.campaign` alone. Raises BadInput when the source is missing, empty, malformed
        or too small for the numbers asked for.
        """

    def reported(self, draw: Draw) -> list[Task]:
        """The tasks of a named evaluation set, which no other set is taken from: `report` of them. Raises as `draw`."""
        return [task for task in self.draw(draw) if task.split == "report"]

    def sizes(self) -> dict[Split, int]:
        """The number of tasks of each split."""
        return {"train": self.train, "gate": self.gate, "report": self.report, "guard": self.guard}


class Attempts(Protocol):
    """The sampling runner's view of a sampler, possibly one specialised for a round (`Sampler.in_round`)."""

    async def sample(self, task: Task, context: Context) -> Group:
        """Attempt `task`; the group's rollouts carry the digest of the model that answered."""
        ...


class Sampler(Block, axis="sample"):
    """How tasks are attempted; also an inference strategy that evaluation can measure."""

    pipeline: ClassVar[str] = "round.yaml"
    """The compiled pipeline of a round with this sampler, in several shards."""
    asks_verifiers: ClassVar[bool] = True
    """Whether it may use the stage's verifiers. If not, its rollouts do not depend on them, and models that only they
    use are not served while it samples."""
    mints: ClassVar[bool] = False
    """Whether its rollouts are of tasks that a model wrote, instead of those that it is given."""

    def roles(self) -> frozenset[str]:
        """The policy, and the roles of nested blocks."""
        return super().roles() | {"policy"}

    @abstractmethod
    async def sample(self, task: Task, context: Context) -> Group:
        """Attempt `task`; the group's rollouts carry the digest of the model that answered."""

    def sees_gold(self) -> str:
        """The field by which the gold answer shows the way to its answers, which are no measure then; empty if none."""
        return ""

    @property
    def turn_names(self) -> tuple[str, ...] | None:
        """The names of the turns of its rollouts, `()` if turns have none; None if they are not known before."""
        return None

    @property
    def answer_names(self) -> tuple[str, ...] | None:
        """The names of those that answer the task, and are verified; None if they are not known before."""
        return None

    @property
    def quoted_texts(self) -> frozenset[str]:
        """The names of the tasks' texts that its prompts quote."""
        return frozenset()

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The verifiers that it names, whose reasons its prompts quote."""
        return ()

    @property
    def is_one_conversation(self) -> bool:
        """Whether all that the policy says in a rollout's thread was asked for in one growing conversation."""
        return True

    def asked(self, task: Task) -> Sequence[Message]:
        """The first request for `task`: for plans."""
        return task.messages

    def prompts(self, task: Task) -> Mapping[str, Sequence[Message]]:
        """What each turn's model is asked with, by the turn's name, as far as that is known before: for plans."""
        return {"": self.asked(task)}

    def cost(self) -> int:
        """An upper estimate of the new tokens per task: for plans and progress."""
        return 0

    def in_round(
        self, tasks: Sequence[Task], seed: int, context_tokens: int, earlier: Mapping[str, Earlier]
    ) -> Attempts:
        """The sampler for a shard's `tasks` in a round, on engines with that context: by default itself.

        A sampler with a control returns one that also samples the control on some of the tasks; one that reuses trees
        returns one that resumes from those in `earlier`, by the task's id.
        """
        return self

    def control_cost(self, tasks: int) -> int:
        """An upper estimate of the new tokens of a control, for a round of `tasks`."""
        return 0

    def longest(self) -> int:
        """The most new tokens of one request: with the prompt they have to fit the engine's context."""
        return 0


class Verifier(Block, axis="verify"):
    """Judges whether rollouts are right; by group, so that votes and consistency are ordinary verifiers."""

    required: bool = True
    """Whether a rollout has to pass it. If not, its score is there for curators, which ask no models themselves."""
    reads_answer: ClassVar[bool] = True
    """Whether a rollout with just the gold answer has to pass, which is tested before a run. False for verifiers of
    form, steps or length."""

    @property
    def turn_names(self) -> tuple[str, ...]:
        """The turns that it names."""
        return ()

    @property
    def verdict_name(self) -> str | None:
        """The verifier that its verdicts name: itself; None if that is not known before."""
        return self.name

    def opinion(self) -> "Verifier":
        """The verifier with a score that is how sure it is that an answer is right, whatever the truth: itself."""
        return self

    @abstractmethod
    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict per rollout, in order. A verifier that cannot run gives errors, never scores.

        It runs in the event loop: await anything that takes longer than some milliseconds. Blocks that use a verifier
        call `judge`.
        """

    async def judge(self, group: Group, context: Context) -> list[Verdict]:
        """One verdict per rollout of `group`, in order: errors if `verify` crashed, or twice got no answer.

        Verdicts name the external models that the verifier asks. A crash in a verifier is a fact about the verifier and
        not about the model. Dead endpoints and wrong models (any SelftaughtError but NoAnswer) are raised.
        """
        said = await self._attributed(group, context)
        return said if self.required else [each.model_copy(update={"required": False}) for each in said]

    async def _attributed(self, group: Group, context: Context) -> list[Verdict]:
        try:
            said = await self._twice(group, context)
        except NoAnswer as error:
            return self._errored(group, str(error))
        except SelftaughtError:
            raise
        # Whatever a verifier may raise is attributed here, once, so that none has to catch anything broad itself.
        except Exception as error:  # noqa: BLE001
            return self._errored(group, self._raised(error))
        if wrong := _wrong(said, len(group.rollouts)):
            return self._errored(group, wrong)
        external = self._external(context)
        return [verdict.model_copy(update={"external": external}) for verdict in said] if external else said

    def _external(self, context: Context) -> tuple[str, ...]:
        """The models that it asks whose weights nobody has proven."""
        asked = (context.models.get(role) or context.models.get("policy") for role in self.roles())
        return tuple(sorted({model.digest for model in asked if model and is_unproven(model.digest)}))

    async def _twice(self, group: Group, context: Context) -> list[Verdict]:
        """Its verdicts, with one retry if it got no answer: a dying engine aborts its requests."""
        try:
            return await self.verify(group, context)
        except NoAnswer:
            return await self.verify(group, context)

    def _errored(self, group: Group, error: str) -> list[Verdict]:
        return [Verdict.errored(self.name, error) for _ in group.rollouts]

    def _raised(self, error: Exception) -> str:
        """What it has raised, and the last line in its own file that led there."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == file_of(type(self))]
        where = f" ({type(self).__qualname__}, {Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        return f"{described(error)}{where}"


def _wrong(said: object, rollouts: int) -> str:
    """Why what a verifier has returned on so many `rollouts` is none of verdicts; empty where it is."""
    if not isinstance(said, Sequence):
        return f"verify returned {shown(said)}, and has to return one verdict a rollout"
    verdicts = cast(Sequence[object], said)
    if strange := [each for each in verdicts if not isinstance(each, Verdict)]:
        return f"gave {shown(strange[0])} for a verdict"
    return "" if len(verdicts) == rollouts else f"gave {len(verdicts)} verdicts on {rollouts} rollouts"


async def judged(group: Group, verifiers: Sequence[Verifier], context: Context) -> list[tuple[Verdict, ...]]:
    """The verdicts on each rollout of `group`, one a verifier, in their order."""
    columns = [await verifier.judge(group, context) for verifier in verifiers]
    return [tuple(column[at] for column in columns) for at in range(len(group.rollouts))]


class RolloutVerifier(Verifier):
    """A verifier of one rollout at a time, whose crash on one costs only that rollout its verdict.

    Verdicts are computed in a worker process, one at a time, so they may take long without blocking the event loop. The
    worker unpickles the verifier once and keeps it, with what it has loaded. A class that cannot be imported (from a
    notebook, or in a function) runs in this process.
    """

    @abstractmethod
    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """The verdict on `rollout`."""

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        if not _importable(type(self)):
            return [self.bounded(group.task, rollout) for rollout in group.rollouts]
        kept = pickle.dumps(self)
        try:
            return await in_worker(_verdicts, kept, group.task, *group.rollouts)
        except WorkerDied:  # because of one of them: judge each separately to find it
            return [await self._alone(kept, group.task, rollout) for rollout in group.rollouts]

    async def _alone(self, kept: bytes, task: Task, rollout: Rollout) -> Verdict:
        try:
            (said,) = await in_worker(_verdicts, kept, task, rollout)
            return said
        except WorkerDied as error:
            return Verdict.errored(self.name, str(error))

    def bounded(self, task: Task, rollout: Rollout) -> Verdict:
        """The verdict on `rollout`, an error if it crashes. A SelftaughtError is raised."""
        try:
            said = cast(object, self.verdict(task, rollout))
        except SelftaughtError:
            raise
        # An exception on one rollout says nothing about the others.
        except Exception as error:  # noqa: BLE001
            return Verdict.errored(self.name, self._raised(error))
        if isinstance(said, Verdict):
            return said
        return Verdict.errored(self.name, f"verdict returned {shown(said)}, and has to return a Verdict")


def _importable(block: type[Block]) -> bool:
    return block.__module__ != "__main__" and "<locals>" not in block.__qualname__


def _verdicts(kept: bytes, task: Task, *rollouts: Rollout) -> list[Verdict]:
    return [_verifier(kept).bounded(task, rollout) for rollout in rollouts]


@lru_cache(maxsize=32)
def _verifier(kept: bytes) -> RolloutVerifier:
    return cast(RolloutVerifier, pickle.loads(kept))  # noqa: S301 (written by our own process)


class Curator(Block, axis="curate"):
    """How verified groups become training examples."""

    @property
    def uses_references(self) -> bool:
        """Whether it learns from worked solutions that came with the tasks, which the report then says."""
        return False

    @abstractmethod
    def curate(self, groups: Sequence[Group], seed: int) -> Iterator[Example]:
        """Yield examples in a fixed order: equal groups and seed give equal examples.

        `groups` may not fit into memory: they can be iterated several times, and are reread each time.
        """

    @property
    def turn_names(self) -> tuple[str, ...]:
        """The turns that it names."""
        return ()

    @property
    def verifiers(self) -> tuple[str, ...]:
        """The verifiers that it names."""
        return ()

    gives: ClassVar[TargetType | None] = None
    """What all of its examples are for (their target); None if it is not one thing, or not known before. A subclass
    whose examples are for something else says so."""
    on_policy: ClassVar[bool] = False
    """Whether its examples are for the gradient of what was sampled, and have to stand behind what was asked."""

    @property
    def answers(self) -> int:
        """How many times a rollout has to answer the task for it to be used."""
        return 0

    def check(self, given: int) -> None:
        """Raise RoundFailed if `given` examples are not enough to train on."""


HeldTo = Literal["start", "base"]


class Objective(Block, axis="train"):
    """How examples change a model."""

    role: str = "policy"
    """The role whose model is trained."""
    parallel: ClassVar[bool] = False
    """Whether torchrun may start it in several processes, each with the same arguments; the first writes `out`."""
    online: ClassVar[bool] = False
    """Whether it can learn in a stage with `online`: see `train_online`."""

    @property
    def held_to(self) -> HeldTo:
        """The reference that it needs, if it does: the model that training starts from, or the line's first, `base`."""
        return "start"

    @abstractmethod
    def train(self, model: Path, examples: Sequence[Example], out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on `examples`, write the new one to `out` (safetensors, tokenizer, config).

        Resumes from the latest complete checkpoint in `context.scratch`. Raises BadInput on a model that cannot be
        read.
        """

    def train_online(self, model: Path, plan: OnlinePlan, out: Path, context: TrainContext) -> TrainResult:
        """Train the model in `model` on what `plan` brings, step by step; otherwise as `train`. If `online`."""
        raise NotImplementedError(f"{self.name} does not train online")

    def check(self) -> None:
        """Raise BadInput when this machine cannot run the objective (missing package, unknown device)."""


class Metric(Block, axis="evaluate"):
    """A metric of a model: one value per task, and their mean."""

    higher_is_better: ClassVar[bool] = True
    """Whether higher is better; a gate cannot decide on other metrics."""
    bounds: ClassVar[tuple[float, float] | None] = None
    """The lowest and highest value of a task: (0, 1) for right or wrong, or a share of it. Intervals of few tasks and
    the guard's margin depend on it. None if unbounded or unknown.
    """
    part_names: ClassVar[tuple[str, ...]] = ()
    """The names of `parts` and of `pooled`."""
    tasks: PositiveInt | None = None
    """The number of tasks of the set to measure (the first by id, so that every model is measured on the same)."""
    verify: Annotated[tuple[Annotated[Verifier, OnAxis("verify")], ...], OneOrMore()] = ()
    """The verifiers that a right answer has to pass, instead of the tasks' own check (`task_check`).
    Never the stage's `verify`, unless it is repeated here."""

    @property
    def variance(self) -> float | None:
        """The assumed variance of the difference of two models on a task; None if values are 0 or 1.

        Nothing is assumed for a metric with `bounds` other than (0, 1) and without a variance.
        """
        return None

    def roles(self) -> frozenset[str]:
        """The roles that its sampler uses, and those of nested blocks."""
        return super().roles() | self.sampler().roles()

    @abstractmethod
    def sampler(self) -> Sampler:
        """The inference strategy that this metric measures. Metrics with equal samplers share rollouts."""

    @abstractmethod
    def value(self, group: Group) -> float:
        """The metric on one verified task."""

    def parts(self, group: Group) -> Mapping[str, float]:
        """More values of that task, under names of `part_names`; no gate decides on them."""
        return {}

    def pooled(self, groups: Sequence[Group]) -> Mapping[str, Sequence[float]]:
        """Figures of all of a set's verified `groups` together, under names of `part_names`; no gate decides on them.

        Each as a value a group whose mean is the figure (`selftaught.core.pooled`). What is not defined is left out.
        """
        return {}

    def beside(self) -> Sequence[Verifier]:
        """Verifiers that are asked beside those which say whether an answer is right, and decide nothing."""
        return ()

    @property
    def scored(self) -> tuple[str, ...]:
        """The names of all its scores: its own, and `name.part` for each part."""
        return (self.name, *(f"{self.name}.{part}" for part in self.part_names))


class Gate(Block, axis="gate"):
    """Decides whether the challenger becomes the champion."""

    minds_sets: ClassVar[bool] = False
    """Whether it refuses for a loss on the recipe's named sets (`Evidence.margins`); else none may have a margin."""

    @property
    def anchored(self) -> frozenset[str]:
        """The metrics for which the line's base model is measured on the guard set, too."""
        return frozenset()

    @abstractmethod
    def decide(self, evidence: Evidence) -> Decision:
        """Promote or refuse, with reasons. A refusal is a normal outcome, not an error."""

    @abstractmethod
    def plan(self, outlook: Outlook) -> str:
        """Text before a run: the smallest detectable gain, and the probability of its promotion."""


class StageView(Protocol):
    """A control's view of a stage (`selftaught.recipe.Stage`)."""

    @property
    def sample(self) -> Sampler:
        """How the training tasks are attempted."""
        ...

    @property
    def evaluate(self) -> Sequence[Metric]:
        """What is measured."""
        ...

    @property
    def gate(self) -> Gate | None:
        """What decides on promotion."""
        ...

    def with_fields(self, fields: Mapping[str, Any]) -> Self:
        """The stage with other values of `fields`, which are named as `--set` names them: `sample.temperature`.

        Raises BadRecipe where one is no field of it, or the value is none of the field's.
        """
        ...


S = TypeVar("S", bound=StageView)


class Control(Block, axis="control"):
    """Adapts a stage to what its earlier rounds have shown, by a state that is kept from round to round.

    Every method is a function of its arguments, so that a round which is repeated after a kill or a failure makes the
    same choices. An online training asks in each of its steps what a stage asks in each round.
    """

    def begin(self, stage: S, state: State) -> S:
        """The stage with which the round is run: `stage`, with other fields where the state says so."""
        return stage

    def choose(self, tasks: Sequence[Task], count: int, state: State, seed: int) -> list[Task]:
        """At most `count` of the training `tasks`, each once: those to attempt."""
        return list(tasks[:count])

    @abstractmethod
    def observe(self, state: State, seen: Observed) -> State:
        """The state after a round that showed `seen`. A round that was killed or failed is not observed."""

    def ended(self, state: State) -> str:
        """Why no further round of the campaign should begin; empty while one should."""
        return ""

    def explain(self, state: State) -> Explanation | None:
        """What a round with `state` is run by, and why, for its page; None where there is nothing to say."""
        return None

    def check(self, stage: StageView) -> None:
        """Raise ValueError or BadRecipe, saying what to change, when it cannot control `stage`."""
