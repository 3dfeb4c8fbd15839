"""What objectives and gates are told, and what they give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from selftaught.records import TaskScore

Over = Literal["tasks", "templates"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training gave: steps done, tokens seen (trained tokens apart), seconds, the loss curve [(step, loss)]."""

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    losses: tuple[tuple[int, float], ...]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


Outcome = Literal["promoted", "refused", "trained"]
"""How a round ends: with a new champion, without one, or as a warm-up that no gate decides about."""


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
