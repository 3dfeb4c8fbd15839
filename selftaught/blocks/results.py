"""Inputs and results of objectives, gates and controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from selftaught.records import Group, Split, TaskScore

Over = Literal["tasks", "templates"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Result of a training: steps, tokens (trained tokens separately), seconds, the loss curve [(step, loss)]."""

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    losses: tuple[tuple[int, float], ...]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


Outcome = Literal["promoted", "refused", "trained"]
"""Outcome of a round: a new champion, none, or a warm-up without a gate."""


@dataclass(frozen=True, slots=True)
class Margin:
    """The loss on a named set that a gate has to exclude, in each of `metrics`."""

    metrics: tuple[str, ...]
    loss: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The input of a gate: scores on gate and guard tasks, the models, and the error probability spent before.

    `alpha_spent` is the error probability already used on these gate tasks. `anchor` is the line's base
    model, whose guard scores are included; `over` is what the gain should generalise to, and `clusters` has the
    template, or group of one wording, of each gate task (itself if not listed). `bounds` are the metrics' own, by name,
    (0, 1) if not listed. `margins` are the named sets that the recipe lets the gate look at, whose scores, of the base
    model too, are included. No training example overlaps a held-out task: such a round has failed before.
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
    margins: Mapping[Split, Margin] = field(default_factory=dict[Split, Margin])


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a gate: its name, whether it passed, and an explanation."""

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
    """The input of a gate's power estimate before a run.

    `number` is the next round and `rounds` the total; `gate` and `guard` are the numbers of tasks of the deciding
    metric; `spent` is the used part of the error budget. `variance` is the assumed one of the difference on a task
    (None: values are 0 or 1, or unknown for other `bounds`); `last` are the scores of the last round, by `champion` and
    `challenger`. `bounds` are those of the deciding metric.
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


State = Mapping[str, JsonValue]
"""What a control remembers, as JSON; empty before the first round of a campaign."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a control does by its state, and why: a sentence, and the figures behind it.

    `rows` have a name and a number for each of `columns`.
    """

    text: str
    columns: tuple[str, ...] = ()
    rows: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's mean over `n` tasks, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Observed:
    """What a control learns from: the verified groups that were trained on, and what was measured of the new model.

    `groups` may not fit into memory: they can be iterated several times, and are reread each time. `metrics` are the
    challenger's on the gate set, by name; none in a stage without a gate, nor in the midst of an online training.
    """

    groups: Sequence[Group]
    metrics: Mapping[str, Measured] = field(default_factory=dict[str, Measured])
