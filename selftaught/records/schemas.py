"""The records' Arrow schemas, and which record each kind of data set holds."""

import pyarrow as pa

from selftaught.records.base import Record
from selftaught.records.example import Example
from selftaught.records.group import Control, Group
from selftaught.records.message import Message
from selftaught.records.rollout import Rollout, Turn, Verdict
from selftaught.records.score import TaskScore
from selftaught.records.task import Task
from selftaught.records.tree import Begun, Growth, Node, Spent, Tree


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
