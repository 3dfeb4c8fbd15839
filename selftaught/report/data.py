"""The stored record of a finished round, and the data of its page: frozen, JSON-serialisable.

A `RoundRecord` is of its round alone, and small: what later rounds go by. What only the page of that round shows, its
scores one by one and some of its rollouts, is in a `RoundDetail` beside it. A page (`ReportData`) is made of the
records of all rounds and the detail of one.

Every number arrives here ready: intervals and paired gains come from `selftaught.evaluation`, decisions from the gate.
The report draws and counts, it does no statistics. Rates are in [0, 1], times in seconds, digests in full.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from selftaught.blocks import Decision, Explanation, Outcome
from selftaught.core.unproven import is_unproven
from selftaught.records import Group, Split, TaskScore

Judgement = Literal["accepted", "rejected", "error"]
"""What a rollout came to: every verifier passed it, one did not, one could not judge it."""
Kind = Literal["level", "template", "source"]
"""What tasks are grouped by."""


class Frozen(BaseModel):
    """A part of the report: immutable, and strict about its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelVersion(Frozen):
    """One model: its digest and, where it is registered, its name and version (`word-problems`, `3`)."""

    digest: str
    name: str = ""
    version: str = ""


class DatasetRef(Frozen):
    """A data set of a round: its part in it (`tasks`, `verified`, `examples` …), digest, rows and location."""

    kind: str
    digest: str
    rows: int
    uri: str = ""


class Summary(Frozen):
    """One metric of one model (a digest) on one split: the mean over `n` tasks and its interval."""

    model: str
    metric: str
    split: Split
    mean: float
    low: float
    high: float
    n: int


class Gain(Frozen):
    """The paired gain of challenger over champion on the `n` tasks that both answered, with its interval."""

    metric: str
    split: Split
    gain: float
    low: float
    high: float
    n: int
    confidence: float = 0.95


class KindGain(Frozen):
    """The deciding metric on the `n` held-out tasks of one level, template or source; no interval of a single one."""

    by: Kind
    name: str
    n: int
    champion: float
    challenger: float
    gain: float
    low: float | None = None
    high: float | None = None


class GateCheck(Frozen):
    """One condition of the gate, as `selftaught.blocks.Check` has it."""

    name: str
    passed: bool
    reason: str
    values: Mapping[str, float] = {}


class GateReport(Frozen):
    """The gate's decision, as `selftaught.blocks.Decision` has it, with what was known before it.

    `detectable_gain` is the smallest gain that the gate set shows at 80 % power. `budget_left` is the error probability
    that later rounds may still spend on this gate set; None when the gate tasks are redrawn every round.
    """

    outcome: Outcome
    metric: str
    gain: float
    low: float
    high: float
    p_value: float
    alpha: float
    checks: tuple[GateCheck, ...]
    detectable_gain: float | None = None
    budget_left: float | None = None

    @classmethod
    def of(cls, decision: Decision, *, detectable_gain: float | None = None, budget_left: float | None = None) -> Self:
        """The report of `decision`."""
        return cls(**asdict(decision), detectable_gain=detectable_gain, budget_left=budget_left)


class Funnel(Frozen):
    """How many of what was sampled was kept.

    `solved` counts the tasks with at least one accepted rollout, `truncated` the rollouts cut off at the token limit,
    `errors` the rollouts that a verifier could not judge, `accepted` those that every verifier passed, `kept` the
    examples made of them, and `replayed` those of earlier rounds that were trained on with them.
    """

    tasks: int
    solved: int
    rollouts: int
    truncated: int
    errors: int
    accepted: int
    kept: int
    replayed: int = 0


class VerifierCount(Frozen):
    """What one verifier said of the round's rollouts."""

    verifier: str
    passed: int
    failed: int
    errors: int


class Agreement(Frozen):
    """What two verifiers said of the rollouts that both of them judged."""

    one: str
    other: str
    both: int
    neither: int
    only_one: int
    only_other: int


class Lengths(Frozen):
    """Lengths in tokens of the rollouts that came to the same: `high` is what one in ten exceeds."""

    of: Judgement
    rollouts: int
    truncated: int
    mean: float
    median: float
    high: float


class SampledKind(Frozen):
    """What became of the training tasks of one level, template or source."""

    by: Kind
    name: str
    tasks: int
    solved: int
    rollouts: int
    right: int


class Sampled(Frozen):
    """What the round's sampling came to, beside the funnel."""

    verifiers: tuple[VerifierCount, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    lengths: tuple[Lengths, ...] = ()
    kinds: tuple[SampledKind, ...] = ()


class Training(Frozen):
    """How training went, as `selftaught.blocks.TrainResult` has it. `losses` are (step, loss)."""

    steps: int
    tokens: int
    trained_tokens: int
    seconds: float
    losses: tuple[tuple[int, float], ...]


class SearchReport(Frozen):
    """What the round's searches came to, by name (`search.nodes`, `search.spent.tokens`, `search.ended.solved` …)."""

    figures: Mapping[str, float]


class OtherModel(Frozen):
    """A model of a role other than policy, such as the value model.

    `used` is the digest that the round worked with (empty: there was none yet), `trained` what it made of `parent`, and
    `figures` what was measured of that (`value.mae` …).
    """

    role: str
    used: str = ""
    trained: str
    parent: str
    steps: int
    figures: Mapping[str, float] = {}


class RoleModel(Frozen):
    """Who played a role other than policy: a model by digest, and what the recipe calls it (`the champion of rft`)."""

    role: str
    digest: str
    named: str


class ControlReport(Frozen):
    """What a control of the stage chose for the round, what it chooses for the next, and why.

    Before it has observed a round there is no `chosen`. `ended` is why the campaign ends with the round, if it does.
    """

    control: str
    chosen: Explanation | None = None
    next: Explanation | None = None
    ended: str = ""


class StepTime(Frozen):
    """One step of the round: its wall time and the tokens it generated or trained on (None: it has none)."""

    name: str
    seconds: float
    tokens: int | None = None


class RoundReport(Frozen):
    """One round, whether it was promoted, refused, a warm-up that only trained, or failed.

    What a failed round never reached stays empty, and `failure` says why it ended. `sampled_from` and `trained_from`
    are digests; empty means the champion. `measured_on` has a digest of the tasks of each split that were scored, so
    that what was measured on others is distinguished from what was not. `settings` are those of the round's models,
    tasks and stage by name (`train.sft.learning_rate`); empty in records of before there were any. `roles` says who
    played the roles other than policy; empty too in records of before it was noted. `references`: worked solutions of
    tasks were trained on, in this stage of the recipe or in one before it.
    """

    round: int
    attempt: int = 1
    outcome: Literal["promoted", "refused", "trained", "failed"]
    failure: str = ""
    champion: ModelVersion
    challenger: ModelVersion | None = None
    sampled_from: str = ""
    trained_from: str = ""
    settings: Mapping[str, str] = {}
    measured_on: Mapping[Split, str] = {}
    summaries: tuple[Summary, ...] = ()
    gains: tuple[Gain, ...] = ()
    gate: GateReport | None = None
    funnel: Funnel | None = None
    training: Training | None = None
    references: Annotated[bool, Field(exclude_if=lambda used: not used)] = False
    search: SearchReport | None = None
    others: tuple[OtherModel, ...] = ()
    roles: Annotated[tuple[RoleModel, ...], Field(exclude_if=lambda roles: not roles)] = ()
    controls: Annotated[tuple[ControlReport, ...], Field(exclude_if=lambda controls: not controls)] = ()
    steps: tuple[StepTime, ...] = ()
    datasets: tuple[DatasetRef, ...] = ()
    seeds: Mapping[str, int] = {}
    mlflow_run: str = ""

    def summary(self, model: ModelVersion | None, metric: str, split: Split) -> Summary | None:
        """The summary of `model`, where it was measured."""
        wanted = (model.digest if model else None, metric, split)
        return next((s for s in self.summaries if (s.model, s.metric, s.split) == wanted), None)

    def gain(self, metric: str, split: Split) -> Gain | None:
        """The paired gain, where it was measured."""
        return next((g for g in self.gains if (g.metric, g.split) == (metric, split)), None)

    @property
    def external(self) -> tuple[RoleModel, ...]:
        """Who played roles whose weights nobody has proven: the results depend on them."""
        return tuple(each for each in self.roles if is_unproven(each.digest))

    @property
    def figures(self) -> dict[str, float | str]:
        """The deciding metric of both models on the report set, the gain, and the outcome, for a table of rounds."""
        measured = {
            "champion": self.summary(self.champion, self.metric, "report"),
            "challenger": self.summary(self.challenger, self.metric, "report"),
        }
        means: dict[str, float | str] = {name: each.mean for name, each in measured.items() if each}
        gain = self.gain(self.metric, "report")
        return {**means, **({"gain": gain.gain} if gain else {}), "outcome": self.outcome}

    @property
    def metric(self) -> str:
        """The metric that decides: the gate's, or the first that was measured, or an empty string."""
        return self.gate.metric if self.gate else next((s.metric for s in self.summaries), "")


class Shown(Frozen):
    """What a page shows of the round that it tells in full.

    `scores` are the round's per-task scores (gate and report sets, both models), with texts where the page lists the
    task; `groups` are some of its verified groups, to read, and `sampled` counts all of them. `trained` names what
    examples were made of: rollouts, and nodes and pairs of trees. `kinds` parts the headline by kind of task, `levels`
    are those of the held-out tasks by id.
    """

    scores: tuple[TaskScore, ...] = ()
    groups: tuple[Group, ...] = ()
    sampled: Sampled | None = None
    kinds: tuple[KindGain, ...] = ()
    levels: Mapping[str, int] = {}
    trained: tuple[str, ...] = ()


class RoundDetail(Shown):
    """What only the page of a round shows, as it is kept; the round is distinguished from its record."""

    @model_validator(mode="before")
    @classmethod
    def _of_0_1(cls, value: Any) -> Any:
        """Release 0.1 kept it in one record with the round and all rounds before it."""
        return {name: value[name] for name in cls.model_fields if name in value} if _is_of_0_1(value) else value


class RoundRecord(Frozen):
    """One round that has ended: this round alone, whatever came before it.

    `command` reproduces the run; `versions` names the software that it ran on.
    """

    line: str
    recipe: str
    recipe_yaml: str
    created: datetime
    round: RoundReport
    command: str = ""
    versions: Mapping[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_0_1(cls, value: Any) -> Any:
        """Release 0.1 kept all rounds up to this one, the newest last."""
        if not _is_of_0_1(value):
            return value
        return {name: value[name] for name in cls.model_fields if name in value} | {"round": value["rounds"][-1]}


def _is_of_0_1(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(cast(Mapping[str, Any], value).get("rounds"))


class ReportData(Shown):
    """A page: the line's rounds, oldest first, of which the last is shown in full.

    `mlflow` is the address of MLflow's UI and `experiment` the line's in it; empty where the registry is a file.
    """

    line: str
    recipe: str
    recipe_yaml: str
    created: datetime
    rounds: tuple[RoundReport, ...] = Field(min_length=1)
    command: str = ""
    versions: Mapping[str, str] = {}
    mlflow: str = ""
    experiment: str = ""

    @classmethod
    def of(cls, records: Iterable[RoundRecord], detail: RoundDetail, *, mlflow: str = "", experiment: str = "") -> Self:
        """The page of the last of `records`, which has this detail."""
        rounds, last = list[RoundReport](), None
        for last in records:
            rounds.append(last.round)
        assert last is not None
        fields = {name: getattr(last, name) for name in RoundRecord.model_fields if name != "round"}
        shown = {name: getattr(detail, name) for name in RoundDetail.model_fields}
        return cls(**fields, **shown, rounds=tuple(rounds), mlflow=mlflow, experiment=experiment)

    @property
    def last(self) -> RoundReport:
        """The round that the page tells in full."""
        return self.rounds[-1]
