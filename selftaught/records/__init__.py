"""The rows that travel between steps: Task, Rollout, Verdict, Node, Tree, Group, Example, TaskScore.

Frozen pydantic models, each with a content id, and an Arrow schema that follows from its fields, so that a row means
the same in memory, in Parquet and on another machine. Behaviour (sampling, searching, verifying, curating) lives in the
blocks; reading and writing whole data sets lives in `selftaught.records.dataset`.
"""

from selftaught.records.arrow import schema_of, struct_of
from selftaught.records.base import Record, content_id, encodable
from selftaught.records.conversation import asked_after, conversation, opening
from selftaught.records.example import Example, Imitate, Prefer, Regress, Reinforce, Segment, Target, TargetType
from selftaught.records.group import Control, Group, Judged
from selftaught.records.kinds import RECORDS
from selftaught.records.message import ChatRole, Function, Message, ToolCall, for_template, in_words
from selftaught.records.rollout import ANSWERS, Rollout, Turn, TurnKind, Verdict, passes
from selftaught.records.score import TaskScore
from selftaught.records.task import FEEDBACK, UPLOADED, NamedSet, Origin, Split, Task, named_set, set_name
from selftaught.records.tree import Begun, Growth, Node, Spent, StopReason, Tree

__all__ = [
    "ANSWERS",
    "FEEDBACK",
    "RECORDS",
    "UPLOADED",
    "Begun",
    "ChatRole",
    "Control",
    "Example",
    "Function",
    "Group",
    "Growth",
    "Imitate",
    "Judged",
    "Message",
    "NamedSet",
    "Node",
    "Origin",
    "Prefer",
    "Record",
    "Regress",
    "Reinforce",
    "Rollout",
    "Segment",
    "Spent",
    "Split",
    "StopReason",
    "Target",
    "TargetType",
    "Task",
    "TaskScore",
    "ToolCall",
    "Tree",
    "Turn",
    "TurnKind",
    "Verdict",
    "asked_after",
    "content_id",
    "conversation",
    "encodable",
    "for_template",
    "in_words",
    "named_set",
    "opening",
    "passes",
    "schema_of",
    "set_name",
    "struct_of",
]
