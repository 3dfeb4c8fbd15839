"""The rows that travel between steps: Task, Rollout, Verdict, Node, Tree, Group, Example, TaskScore.

Frozen pydantic models, each with a content id and an Arrow schema, so that a row means the same in memory, in Parquet
and on another machine. Behaviour (sampling, searching, verifying, curating) lives in the blocks; reading and writing
whole data sets lives in `selftaught.records.dataset`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from typing_extensions import override

from selftaught.core.canonical import canonical

Split = Literal["train", "gate", "report", "guard"]
TurnKind = Literal["attempt", "critique", "verification", "refinement", "feedback", "tool"]
ChatRole = Literal["system", "user", "assistant", "tool"]
Origin = Literal["task", "feedback"]

FEEDBACK = "feedback/"
"""What the source of a task begins with that was made of feedback on an answer: such a task is only trained on."""


def encodable(text: str) -> bool:
    """Whether `text` can be written down: half a character (a lone surrogate, \\ud800 to \\udfff) cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_id(value: Any) -> str:
    """The id of a row: the first 16 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()[:16]


class Record(BaseModel):
    """A frozen row. `ARROW` is its Arrow schema, `to_row` and `from_row` go to and from plain Python."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ARROW: ClassVar[pa.Schema]
    SCHEMA: ClassVar[int] = 1
    """Counts up when the fields change, so that a data set of another shape is told from a damaged one."""

    def to_row(self) -> dict[str, Any]:
        """This record as the plain dictionary that `ARROW` describes."""
        return self.model_dump(mode="json")

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """The record that `to_row` wrote; raises pydantic's ValidationError on a row of another shape."""
        return cls.model_validate(row)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields in `update` replaced; what was derived from this one's is not copied."""
        copy = super().model_copy(update=update, deep=deep)
        inside = cast("dict[str, Any]", copy.__dict__)
        for derived in inside.keys() - type(self).model_fields.keys():
            del inside[derived]
        return copy


class Message(Record):
    """One chat message, as an OpenAI-compatible endpoint takes it."""

    role: ChatRole
    content: str


class Task(Record):
    """One problem: its prompt, what is needed to check an answer, its split and its source.

    `template` and `operands` say how a generated problem was made: splits and the contamination check go by them.
    """

    messages: tuple[Message, ...] = Field(min_length=1)
    answer: str | None = None
    source: str
    split: Split = "train"
    template: str | None = None
    operands: tuple[str, ...] = ()
    level: int = 1

    @cached_property
    def id(self) -> str:
        """Content id over prompt and answer; the split is not part of it, so a task that leaks keeps its id."""
        return content_id([[(m.role, m.content) for m in self.messages], self.answer])

    @property
    def origin(self) -> Origin:
        """Whether it was chosen as a task, before anybody saw an answer to it, or came with what was said of one."""
        return "feedback" if self.source.startswith(FEEDBACK) else "task"

    @property
    def question(self) -> str:
        """The text of the last user message."""
        return next(m.content for m in reversed(self.messages) if m.role == "user")


class Turn(Record):
    """One message of a rollout, with the engine's own token ids and their log-probabilities (nats)."""

    role: ChatRole = "assistant"
    kind: TurnKind = "attempt"
    content: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


class Rollout(Record):
    """One attempt at a task by a policy.

    `index` tells apart the attempts at one task under one sampler; `finish_reason` is the engine's (`stop`,
    `length`); token counts are of this rollout alone (the prompt counted once per rollout).
    """

    task: str
    index: int
    model: str
    turns: tuple[Turn, ...] = Field(min_length=1)
    temperature: float
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    hinted: bool = False

    @cached_property
    def id(self) -> str:
        """Content id over task, index, model digest and what was said."""
        return content_id([self.task, self.index, self.model, [(t.role, t.kind, t.content) for t in self.turns]])

    @property
    def text(self) -> str:
        """The text of the last assistant turn: what answer verifiers read."""
        return next(t.content for t in reversed(self.turns) if t.role == "assistant")


class Verdict(Record):
    """What a verifier says of a rollout: a score in [0, 1], passed, a reason; or an error, and then no score."""

    verifier: str
    score: float | None = Field(default=None, ge=0, le=1)
    passed: bool = False
    reason: str = ""
    error: str | None = None

    @classmethod
    def of(cls, verifier: str, passed: bool, reason: str = "") -> Self:
        """A pass (1) or a failure (0)."""
        return cls(verifier=verifier, score=float(passed), passed=passed, reason=reason)

    @classmethod
    def errored(cls, verifier: str, error: str) -> Self:
        """The verifier could not run: neither a pass nor a failure."""
        return cls(verifier=verifier, error=error)

    @model_validator(mode="after")
    def _error_or_score(self) -> Self:
        if (self.error is None) == (self.score is None):
            raise ValueError("a verdict has either a score or an error")
        return self


class Node(Record):
    """One node of a search tree: a step, and the partial solution that it ends.

    `value` is in [0, 1] after all back-ups, `estimate` what its evaluator said of it alone; `prior` is its sampling
    probability, length-normalised. `token_ids` are the engine's own, of the step alone. A `terminal` node ends an
    answer; a `hinted` one was sampled by a prompt that held the gold answer. An answer decoded whole at a search's end
    was valued by nobody and has its parent's value as its `estimate`.
    """

    index: int
    parent: int = -1
    text: str = ""
    token_ids: tuple[int, ...] = ()
    visits: int = 0
    value: float = 0.0
    estimate: float = 0.0
    prior: float = 1.0
    terminal: bool = False
    hinted: bool = False


Added = Annotated[int, BeforeValidator(lambda told: told or 0), Field(exclude_if=lambda told: told == 0)]
"""A count that older rows lack: it is left out where it is 0, so that their digests stand."""


class Spent(Record):
    """What one search used.

    `tokens` are new ones of the policy, those of dropped duplicates, of roll-outs and of hinted answers included, of
    which `hint_tokens` are the last; `value_calls` are nodes that a model valued; `prefill_tokens` were read for them
    and for steps (openings and partial solutions, cached or not, without the question that p(True) asks);
    `seconds` are of the clock, waiting for the engine included.
    """

    iterations: int = 0
    tokens: int = 0
    value_calls: int = 0
    duplicates: int = 0
    empty: int = 0
    truncated: int = 0
    seconds: float = 0.0
    hint_tokens: Added = 0
    prefill_tokens: Added = 0


Ended = Literal["iterations", "nodes", "tokens", "seconds", "solved", "gate", "exhausted", "failed"]


class Begun(Record):
    """What a tree had before its round: the first `nodes` nodes, the root among them, grown in earlier rounds.

    They are from the data set of groups `trees` (its digest), and took `iterations` in all.
    """

    trees: str
    nodes: int
    iterations: int


class Growth(Record):
    """What a later round has to know of a tree, beside its nodes, in order to go on growing it.

    The first `nodes` nodes are those that the search grew. What follows them ended it: an answer that was decoded
    because there was none, hinted answers. For each of them in order: the log-probabilities of its tokens (nats), how
    the engine ended it, how often it was chosen (`opened`), and what roll-outs through it were worth (`outcomes`). The
    other fields are the indexes of those that had their turn (`expanded`), whose value was counted in a mean
    (`backed_up`), that get no more children (`grown`), and that are to have more than they have (`short`).
    """

    nodes: int
    logprobs: tuple[tuple[float, ...], ...]
    finish_reasons: tuple[str, ...]
    opened: tuple[int, ...]
    outcomes: tuple[tuple[float, ...], ...]
    expanded: tuple[int, ...]
    backed_up: tuple[int, ...]
    grown: tuple[int, ...]
    short: tuple[int, ...]


class Tree(Record):
    """The search of one task: nodes by index, parents before children, the root (index 0) without text.

    `answer` is the terminal node that the search would answer with (-1 when it has none); `ended` says what stopped it
    and `error` why it failed. Where the search went on from an earlier round's tree, `begun` says with what, and all
    else that it counts (`spent`) is this round's alone. `growth` is there where a later round may go on from it.
    """

    prompt_ids: tuple[int, ...] = ()
    nodes: tuple[Node, ...] = Field(min_length=1)
    answer: int = -1
    ended: Ended
    error: str = ""
    spent: Spent = Spent()
    begun: Annotated[Begun | None, Field(exclude_if=lambda begun: begun is None)] = None
    growth: Annotated[Growth | None, Field(exclude_if=lambda growth: growth is None)] = None

    @property
    def iterations(self) -> int:
        """The iterations that the tree took, in earlier rounds too."""
        return self.spent.iterations + (self.begun.iterations if self.begun else 0)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The indexes of each node's children, in order."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes[1:]:
            found[node.parent].append(node.index)
        return tuple(map(tuple, found))

    def path(self, index: int) -> tuple[Node, ...]:
        """The nodes from below the root down to node `index`."""
        path: list[Node] = []
        while index > 0:
            path.append(self.nodes[index])
            index = self.nodes[index].parent
        return tuple(reversed(path))

    def text(self, index: int) -> str:
        """The partial solution that ends at node `index`."""
        return "".join(node.text for node in self.path(index))

    def ids(self, index: int) -> tuple[int, ...]:
        """The engine's own token ids of the partial solution that ends at node `index`."""
        return tuple(token for node in self.path(index) for token in node.token_ids)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(node.index != i or not (min(i, 1) - 1 <= node.parent < i) for i, node in enumerate(self.nodes)):
            raise ValueError("a tree's nodes are listed by index from the root, parents before children")
        return self


class Control(Record):
    """Independent answers to a task that was searched, sampled to hold the search against and for nothing else.

    They are no rollouts of the group, so nothing that trains, counts or shows those meets them. `budget` are the new
    tokens that the search took, hinted answers not counted; `requests` says how many of the rollouts each request gave,
    in order, of which a later one was made because the earlier ones had not come to the budget.
    """

    budget: int
    requests: tuple[int, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    verdicts: tuple[tuple[Verdict, ...], ...] = ()

    @property
    def tokens(self) -> int:
        """The new tokens of the answers: what the control cost."""
        return sum(rollout.completion_tokens for rollout in self.rollouts)

    def passed(self, index: int) -> bool:
        """Whether rollout `index` was verified and every verifier passed it."""
        return _passed(self.verdicts, index)


class Group(Record):
    """One task with all its rollouts and, once verified, the verdicts on each: `verdicts[i]` is of `rollouts[i]`.

    A group that was searched has its tree too, and its rollouts are the tree's answers: a rollout's `index` is that of
    its terminal node. Of some of a round's searches there is a `control`.
    """

    SCHEMA: ClassVar[int] = 2

    task: Task
    rollouts: tuple[Rollout, ...] = ()
    verdicts: tuple[tuple[Verdict, ...], ...] = ()
    tree: Tree | None = None
    control: Annotated[Control | None, Field(exclude_if=lambda control: control is None)] = None

    @cached_property
    def id(self) -> str:
        """The id of the task: a data set of groups has one a task."""
        return self.task.id

    def passed(self, index: int) -> bool:
        """Whether rollout `index` was verified and every verifier passed it."""
        return _passed(self.verdicts, index)

    @property
    def new_tokens(self) -> int:
        """The new tokens that it took: of the rollouts, or where a tree was searched, of the search; no control's."""
        return self.tree.spent.tokens if self.tree else sum(rollout.completion_tokens for rollout in self.rollouts)

    def accepted(self) -> Iterator[Rollout]:
        """The rollouts that every verifier passed, in order."""
        return (rollout for i, rollout in enumerate(self.rollouts) if self.passed(i))

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if self.verdicts and len(self.verdicts) != len(self.rollouts):
            raise ValueError(f"{len(self.verdicts)} verdict lists for {len(self.rollouts)} rollouts")
        return self


def _passed(verdicts: Sequence[Sequence[Verdict]], index: int) -> bool:
    return bool(verdicts) and bool(verdicts[index]) and all(verdict.passed for verdict in verdicts[index])


ExampleKind = Literal["completion", "pair", "value"]


class Example(Record):
    """One training row in TRL's conversational format, with the rollout it came from; `kind` says what to learn of it.

    A `completion` is to be said, a `pair` to be preferred to `rejected`, a `value` example is a partial solution that
    is worth `label` and ends with a step that is `right` or not. `prompt_ids`, `completion_ids` and `rejected_ids` are
    the engine's own tokens, where they are to be trained on as they were sampled: a pair's prompt then ends, to the
    token, where its two sides part; the tokens of a completion of several turns are those of the assistant's turns, end
    to end. `label_smoothing` is the probability that a pair is the wrong way round.
    """

    SCHEMA: ClassVar[int] = 2

    kind: ExampleKind = "completion"
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    rejected: tuple[Message, ...] = ()
    task: str
    rollout: str
    weight: float = 1.0
    label: float | None = None
    right: bool | None = None
    label_smoothing: float = 0.0
    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()

    @cached_property
    def id(self) -> str:
        """Content id over prompt and completion, and over kind and rejected side of all that are no completions."""
        sides = [[m.to_row() for m in side] for side in (self.prompt, self.completion, self.rejected)]
        return content_id(sides[:2] if self.kind == "completion" else [*sides, self.kind])


class TaskScore(Record):
    """One metric of one model on one task, with the rollouts that it was measured on, to read and to pair.

    `value` is in [0, 1] unless the metric says otherwise; `texts` are the answers in index order. `errors` counts the
    rollouts that could not be judged: `value` takes them for wrong, so nothing is decided by it where there are any.
    """

    model: str
    metric: str
    split: Split
    task: str
    value: float
    question: str = ""
    answer: str | None = None
    source: str = ""
    template: str | None = None
    texts: tuple[str, ...] = ()
    passed: tuple[bool, ...] = ()
    completion_tokens: int = 0
    errors: int = 0

    @override
    def to_row(self) -> dict[str, Any]:
        """As of before errors were counted where there are none, so that the digests of older scores stand."""
        return self.model_dump(mode="json", exclude=None if self.errors else {"errors"})

    @classmethod
    @override
    def from_row(cls, row: dict[str, Any]) -> Self:
        return cls.model_validate({name: value for name, value in row.items() if (name, value) != ("errors", None)})

    @cached_property
    def id(self) -> str:
        """Content id over what was measured on what: one score a model, metric, split and task."""
        return content_id([self.model, self.metric, self.split, self.task])


def _struct(schema: pa.Schema) -> pa.DataType:
    return pa.struct(list(schema))


_string, _float, _int, _bool = pa.string(), pa.float64(), pa.int64(), pa.bool_()

Message.ARROW = pa.schema([("role", _string), ("content", _string)])
Task.ARROW = pa.schema(
    [
        ("messages", pa.list_(_struct(Message.ARROW))),
        ("answer", _string),
        ("source", _string),
        ("split", _string),
        ("template", _string),
        ("operands", pa.list_(_string)),
        ("level", _int),
    ]
)
Turn.ARROW = pa.schema(
    [
        ("role", _string),
        ("kind", _string),
        ("content", _string),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(_float)),
    ]
)
Rollout.ARROW = pa.schema(
    [
        ("task", _string),
        ("index", _int),
        ("model", _string),
        ("turns", pa.list_(_struct(Turn.ARROW))),
        ("temperature", _float),
        ("finish_reason", _string),
        ("prompt_tokens", _int),
        ("completion_tokens", _int),
        ("hinted", _bool),
    ]
)
Verdict.ARROW = pa.schema(
    [("verifier", _string), ("score", _float), ("passed", _bool), ("reason", _string), ("error", _string)]
)
Node.ARROW = pa.schema(
    [
        ("index", _int),
        ("parent", _int),
        ("text", _string),
        ("token_ids", pa.list_(pa.int32())),
        ("visits", _int),
        ("value", _float),
        ("estimate", _float),
        ("prior", _float),
        ("terminal", _bool),
        ("hinted", _bool),
    ]
)
Spent.ARROW = pa.schema(
    [
        ("iterations", _int),
        ("tokens", _int),
        ("value_calls", _int),
        ("duplicates", _int),
        ("empty", _int),
        ("truncated", _int),
        ("seconds", _float),
        ("hint_tokens", _int),
        ("prefill_tokens", _int),
    ]
)
Begun.ARROW = pa.schema([("trees", _string), ("nodes", _int), ("iterations", _int)])
Growth.ARROW = pa.schema(
    [
        ("nodes", _int),
        ("logprobs", pa.list_(pa.list_(_float))),
        ("finish_reasons", pa.list_(_string)),
        ("opened", pa.list_(_int)),
        ("outcomes", pa.list_(pa.list_(_float))),
        ("expanded", pa.list_(_int)),
        ("backed_up", pa.list_(_int)),
        ("grown", pa.list_(_int)),
        ("short", pa.list_(_int)),
    ]
)
Tree.ARROW = pa.schema(
    [
        ("prompt_ids", pa.list_(pa.int32())),
        ("nodes", pa.list_(_struct(Node.ARROW))),
        ("answer", _int),
        ("ended", _string),
        ("error", _string),
        ("spent", _struct(Spent.ARROW)),
        ("begun", _struct(Begun.ARROW)),
        ("growth", _struct(Growth.ARROW)),
    ]
)
Control.ARROW = pa.schema(
    [
        ("budget", _int),
        ("requests", pa.list_(_int)),
        ("rollouts", pa.list_(_struct(Rollout.ARROW))),
        ("verdicts", pa.list_(pa.list_(_struct(Verdict.ARROW)))),
    ]
)
Group.ARROW = pa.schema(
    [
        ("task", _struct(Task.ARROW)),
        ("rollouts", pa.list_(_struct(Rollout.ARROW))),
        ("verdicts", pa.list_(pa.list_(_struct(Verdict.ARROW)))),
        ("tree", _struct(Tree.ARROW)),
        ("control", _struct(Control.ARROW)),
    ]
)
Example.ARROW = pa.schema(
    [
        ("kind", _string),
        ("prompt", pa.list_(_struct(Message.ARROW))),
        ("completion", pa.list_(_struct(Message.ARROW))),
        ("rejected", pa.list_(_struct(Message.ARROW))),
        ("task", _string),
        ("rollout", _string),
        ("weight", _float),
        ("label", _float),
        ("right", _bool),
        ("label_smoothing", _float),
        ("prompt_ids", pa.list_(pa.int32())),
        ("completion_ids", pa.list_(pa.int32())),
        ("rejected_ids", pa.list_(pa.int32())),
    ]
)
TaskScore.ARROW = pa.schema(
    [
        ("model", _string),
        ("metric", _string),
        ("split", _string),
        ("task", _string),
        ("value", _float),
        ("question", _string),
        ("answer", _string),
        ("source", _string),
        ("template", _string),
        ("texts", pa.list_(_string)),
        ("passed", pa.list_(_bool)),
        ("completion_tokens", _int),
        ("errors", _int),
    ]
)

RECORDS: dict[str, type[Record]] = {
    "tasks": Task,
    "groups": Group,
    "examples": Example,
    "scores": TaskScore,
}
"""The kinds of data set, and the record that each holds one of a row."""
