"""What a block is: the base class of every axis of a recipe, the registry, and the context a block is given.

A block is a config that acts: a frozen pydantic class whose fields are the YAML and whose method does the work. Each
block is one file in the folder of its step; naming its `type` registers it. Nothing here knows a concrete block:
recipes are resolved in `selftaught.recipe`, and third parties add blocks through the entry-point group
`selftaught.blocks` (each entry names a module that defines them).
"""

import inspect
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypedDict, Unpack, cast, get_args, runtime_checkable

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
)
from pydantic_core import CoreSchema, core_schema

from selftaught.core.errors import NoAnswer, SelftaughtError
from selftaught.core.worker import WorkerDied, in_worker
from selftaught.records import Example, Group, Message, Rollout, Split, Task, TaskScore, Verdict

_REGISTRY: dict[str, dict[str, type["Block"]]] = {}


class Block(BaseModel, ABC):
    """One choice on an axis. Subclass the axis and name a type: `class Mine(Verifier, type="mine")`."""

    # Deferred: a block may hold blocks of other axes, and what is registered there is known when it is first used.
    model_config = ConfigDict(
        frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    axis: ClassVar[str]

    def __init_subclass__(cls, *, type: str | None = None, axis: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if axis:
            cls.axis = axis
        if type:
            # pydantic reads the annotations after this: `type` becomes the tag of the axis's union
            cls.__annotations__ = {"type": Literal[type], **inspect.get_annotations(cls)}
            cls.type = type
            _REGISTRY.setdefault(cls.axis, {})[type] = cls

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """`type` is required: it tells an editor which block a mistake is one of."""
        told = handler.resolve_ref_schema(handler(schema))
        if "type" in told.get("properties", {}):
            told["required"] = ["type", *told.get("required", [])]
        return told

    @property
    def name(self) -> str:
        """The block's `type`, as verdicts, metrics and reports name it."""
        return str(self.model_dump(include={"type"})["type"])


def registered(axis: str) -> Mapping[str, type[Block]]:
    """Every block on `axis` that has been imported, by type. `selftaught.recipe.load_blocks` imports them all."""
    return dict(sorted(_REGISTRY.get(axis, {}).items()))


class OneOf:
    """The pydantic schema of an axis: a union of its blocks, told apart by `type`."""

    def __init__(self, axis: str) -> None:
        self.axis = axis

    def choices(self) -> Mapping[str, type[Block]]:
        """The blocks that may stand there."""
        return registered(self.axis)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(block) for name, block in self.choices().items()}
        one = core_schema.tagged_union_schema(cast(dict[Any, CoreSchema], choices), discriminator="type")
        return core_schema.nullable_schema(one) if type(None) in get_args(source) else one


# What a block is given ----------------------------------------------------------------------------------------------


Stops = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=4)]
"""Stop strings: as many as OpenAI's protocol and vLLM take."""


class Drawn(TypedDict, total=False):
    """How tokens are drawn beside the temperature; what is not said is as if it were not there."""

    top_p: float
    top_k: int
    min_p: float


class Drawing(BaseModel):
    """The fields of a block that draws tokens. They change nothing where the temperature is 0."""

    top_p: Annotated[float, Field(gt=0, le=1, description="draw from the likeliest tokens that hold so much")] = 1.0
    top_k: Annotated[NonNegativeInt, Field(description="draw from so many likeliest tokens; 0 is all")] = 0
    min_p: Annotated[
        float, Field(ge=0, le=1, description="leave out tokens less likely than this share of the best")
    ] = 0.0

    def drawn(self) -> Drawn:
        """What differs from drawing from all tokens."""
        asked = {name: getattr(self, name) for name in Drawing.model_fields}
        return cast(Drawn, {n: told for n, told in asked.items() if told != Drawing.model_fields[n].default})


@runtime_checkable
class ChatModel(Protocol):
    """A role's model behind an endpoint. `digest` is the model's; `selftaught.inference.endpoint.Endpoint` is the real
    one.

    Every method raises Unavailable, BadInput or WrongModel.
    """

    @property
    def digest(self) -> str: ...

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> "list[Completion]":
        """`n` completions of one prompt, in one request."""
        ...


class TokenModel(ChatModel, Protocol):
    """A model that goes on from token ids, weighs words and values partial solutions: what a search asks of one."""

    async def complete(
        self,
        prompt: Sequence[Message] | Sequence[int],
        *,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        **drawn: Unpack[Drawn],
    ) -> "list[Completion]":
        """`n` continuations of a chat's opening or of token ids, in one request; texts hold the stop string found."""
        ...

    async def odds(self, chats: Sequence[Sequence[Message]], words: Sequence[str]) -> list[list[float]]:
        """For each of `chats` the probability of each of `words`, in any case, as its answer's first token."""
        ...

    async def values(self, inputs: Sequence[Sequence[int]]) -> list[float]:
        """What a value model makes of each of `inputs` (token ids), in one request. May be any number, or none."""
        ...

    async def rewards(self, chats: Sequence[Sequence[Message]], tag: str) -> list[list[tuple[float, ...]]]:
        """For each of `chats` the probability of each class of a process reward model's at each `tag` in it."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion as the engine gave it: text, its own token ids and their log-probabilities (nats).

    `stop` is the stop string that ended it, `tokens` the text of each token and `prompt_ids` the prompt's tokens,
    where the engine tells them.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    prompt_tokens: int
    stop: str | None = None
    tokens: tuple[str, ...] = ()
    prompt_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a block may touch: the roles' models, the stage's other blocks, and the seed of this round.

    Raises nothing itself; `model(role)` falls back to the policy, as a role that a recipe gives no model does.
    """

    models: Mapping[str, ChatModel] = field(default_factory=dict[str, ChatModel])
    verifiers: "tuple[Verifier, ...]" = ()
    seed: int = 0

    def model(self, role: str = "policy") -> ChatModel:
        """The model that plays `role`."""
        return self.models.get(role) or self.models["policy"]

    def tokens(self, role: str = "policy") -> TokenModel:
        """The model that plays `role`, as a search asks it."""
        return cast(TokenModel, self.model(role))


# The axes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draw:
    """The seeds that a draw of tasks comes from: `campaign` stays, `round` changes with every round and attempt."""

    campaign: int
    round: int


Over = Literal["tasks", "templates"]


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

    fresh: ClassVar[bool]
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


@dataclass(frozen=True, slots=True)
class Earlier:
    """A task as an earlier round attempted it with this very policy, by settings that can be gone on from.

    `trees` is the digest of the data set that its `group` is of. `valued` says whether the values of its tree are those
    that this round's blocks and models would give.
    """

    trees: str
    group: Group
    valued: bool


class Attempts(Protocol):
    """What attempts tasks, as the runner of sampling asks it: a sampler, or what one is in a round."""

    async def sample(self, task: Task, context: Context) -> Group:
        """Attempt `task`; the group's rollouts carry the digest of the model that answered."""
        ...


class Sampler(Block, axis="sample"):
    """How a task is attempted; also an inference strategy that evaluation can run."""

    pipeline: ClassVar[str] = "round.yaml"
    """The compiled pipeline of a round that samples like this, in several shards."""
    alone: ClassVar[bool] = True
    """Whether the policy is the only model that it asks."""

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


@dataclass(frozen=True, slots=True)
class TrainContext:
    """What an objective is given beside models and examples. `scratch` holds checkpoints and survives a kill."""

    scratch: Path
    seed: int
    report: "ProgressSink"
    template: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])
    """Variables of the chat template that prompts are rendered with."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training gave: steps done, tokens seen (trained tokens apart), seconds, the loss curve [(step, loss)]."""

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    losses: tuple[tuple[int, float], ...]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


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

    @property
    def variance(self) -> float | None:
        """That of the difference of two models on a task, as far as it can be assumed; None where values are 0 or 1.

        Nothing is assumed of a metric of other `bounds` than (0, 1) that has none.
        """
        return None

    @abstractmethod
    def sampler(self) -> Sampler:
        """The inference strategy that this metric measures. Metrics with equal samplers share rollouts."""

    @abstractmethod
    def value(self, group: Group) -> float:
        """The metric on one verified task."""


Outcome = Literal["promoted", "refused"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a gate may see: scores on gate and guard tasks, who the models are, and what was spent before.

    `alpha_spent` is the error probability already used on these gate tasks. `anchor` is the model that the line began
    with, whose guard scores are there too; `over` says what the gain has to hold for, and `clusters` to which template,
    or family of one wording, a gate task belongs (itself where it is not listed). `bounds` are the metrics' own, by
    name; one not listed has (0, 1). No training example overlaps a held-out task: a round where one does has ended
    before.
    """

    champion: str
    challenger: str
    scores: Sequence[TaskScore]
    round: int
    fresh: bool
    seed: int = 0
    alpha_spent: float = 0.0
    anchor: str = ""
    over: Over = "tasks"
    clusters: Mapping[str, str] = field(default_factory=dict[str, str])
    bounds: Mapping[str, tuple[float, float] | None] = field(default_factory=dict[str, tuple[float, float] | None])


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a gate: its name, whether it held, and the sentence a person reads."""

    name: str
    passed: bool
    reason: str
    values: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Decision:
    """A gate's decision with its reasons. `gain` is the paired gain, `low` and `high` its interval."""

    outcome: Outcome
    metric: str
    gain: float
    low: float
    high: float
    p_value: float
    alpha: float
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known before a run that bears on the chance of a promotion.

    `number` is the round to come and `rounds` how many there will be; `gate` and `guard` are the tasks that the
    deciding metric is measured on; `spent` is gone of the error budget. `variance` is assumed of the difference on a
    task (None: values are 0 or 1, or nothing can be assumed where `bounds` are others); `last` are the scores of the
    last round, by `champion` and `challenger`. `bounds` are those of the metric that decides.
    """

    gate: int
    guard: int
    fresh: bool
    over: Over = "tasks"
    number: int = 1
    rounds: int = 1
    spent: float = 0.0
    variance: float | None = None
    bounds: tuple[float, float] | None = (0.0, 1.0)
    last: Sequence[TaskScore] = ()
    champion: str = ""
    challenger: str = ""


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


class ProgressSink(Protocol):
    """Where a step says how far it is: `selftaught.core.progress` has the real one."""

    def __call__(self, done: int, total: int, /, **values: float) -> None: ...
