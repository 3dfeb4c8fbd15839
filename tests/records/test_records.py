"""Records: what goes into a row comes out of it, ids are over content, and what makes no sense is refused."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.core.canonical import canonical
from selftaught.records import (
    RECORDS,
    Example,
    Group,
    Message,
    Node,
    Record,
    Rollout,
    Segment,
    Task,
    TaskScore,
    ToolCall,
    Tree,
    Turn,
    Verdict,
    conversation,
    for_template,
    schema_of,
)
from tests import strategies

TASK = Task(messages=(Message(role="user", content="What is 2 + 3?"),), answer="5", source="sums")
ROLLOUT = Rollout(task=TASK.id, index=0, model="m", turns=(Turn(content="5"),), temperature=1.0)

IN_THE_ID = {
    "tasks": {"messages", "answer", "check", "environment"},
    "groups": {"task"},
    "examples": {"role", "sequences", "target", "weight"},
    "scores": {"model", "metric", "split", "task"},
    "rollouts": {"task", "index", "model", "turns"},
}
"""Which fields an id is over; the others may change without it."""
SCHEMAS = Path(__file__).with_name("arrow_schemas.json")
KINDS = {**strategies.BY_KIND, "rollouts": strategies.rollouts}


@given(st.one_of(*strategies.BY_KIND.values()))
@settings(max_examples=40)
def test_a_row_is_the_record_again(record: Record):
    again = type(record).from_row(json.loads(canonical(record.to_row())))
    assert again == record
    assert again.id == record.id


@given(st.sampled_from(sorted(strategies.BY_KIND)).flatmap(lambda kind: strategies.BY_KIND[kind]))
@settings(max_examples=40)
def test_arrow_loses_nothing(record: Record):
    table = pa.Table.from_pylist([record.to_row()], schema=schema_of(type(record)))
    assert [type(record).from_row(row) for row in table.to_pylist()] == [record]


def test_the_arrow_schemas_are_those_of_stored_data_sets():
    """Written out whole: a field more, or another type, is another schema version."""
    found = {kind: {field.name: str(field.type) for field in schema_of(record)} for kind, record in RECORDS.items()}
    assert found == json.loads(SCHEMAS.read_text())


def test_a_field_without_an_arrow_type_is_named():
    class Odd(Record):
        both: int | str

    with pytest.raises(TypeError, match=r"int \| str"):
        schema_of(Odd)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=20)
def test_an_id_changes_with_what_it_is_over_and_with_nothing_else(kind: str, data: st.DataObject):
    one, other = data.draw(KINDS[kind]), data.draw(KINDS[kind])
    identity = _identity(kind, one)
    for field in set(type(one).model_fields) - {"rollouts", "verdicts", "tree", "control", "minted"}:
        mixed = one.model_copy(update={field: getattr(other, field)})
        differs = _identity(kind, mixed) != identity
        assert (mixed.id != one.id) == differs, field
        assert not differs or field in IN_THE_ID[kind]


def _identity(kind: str, record: Record) -> bytes:
    """What the id is documented to be over."""
    if kind == "groups":
        return _identity("tasks", record.task)
    row = record.to_row()
    for turn in row.get("turns", ()):
        for field in turn.keys() - {"role", "kind", "content", "tool_calls", "tool_call_id"}:
            del turn[field]
    return canonical({field: row.get(field) for field in IN_THE_ID[kind]})


def test_a_search_without_a_control_is_the_row_that_it_was_before_there_were_any():
    """The digests of stored groups are over these rows: a key more makes each of them another data set."""
    tree = Tree(nodes=(Node(index=0),), ended="nodes")
    row = Group(task=TASK, rollouts=(ROLLOUT,), tree=tree).to_row()
    assert set(row) == {"task", "rollouts", "verdicts", "tree"}
    counted = {"iterations", "tokens", "value_calls", "duplicates", "empty", "truncated", "seconds"}
    assert set(row["tree"]["spent"]) == counted


@given(strategies.groups())
@settings(max_examples=40)
def test_the_parts_of_a_group_hold_each_rollout_once(group: Group):
    parts = list(group.parts())
    assert sorted(at for positions, _ in parts for at in positions) == list(range(len(group.rollouts)))
    for positions, part in parts:
        assert part.rollouts == tuple(group.rollouts[at] for at in positions)


def test_golden_ids():
    """Ids are kept for years: a change here makes every stored data set another one."""
    assert TASK.id == "58a41a89843852ba"
    assert ROLLOUT.id == "fbd0fd33e23df9c9"


@given(strategies.examples, strategies.floats)
def test_an_examples_text_is_the_same_whatever_its_weights_labels_and_tokens_are(example: Example, weight: float):
    bare = tuple(tuple(Segment(messages=each.messages) for each in sequence) for sequence in example.sequences)
    other = example.model_copy(update={"sequences": bare, "weight": weight, "task": "t", "rollout": "r"})
    assert other.text_id == example.text_id
    more = Segment.context((Message(role="user", content="more"),))
    assert other.model_copy(update={"sequences": ((*bare[0], more),)}).text_id != example.text_id


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (
            {"messages": [{"role": "user", "content": "?"}], "weights": [1.0]},
            "only a segment of one message, the assis",
        ),
        ({"messages": [{"role": "assistant", "content": "a"}], "token_ids": [1], "weights": [1, 0]}, "2 weights for 1"),
    ],
)
def test_weights_are_of_one_turn_of_the_assistants(segment: dict[str, object], words: str):
    with pytest.raises(ValidationError, match=words):
        Segment.from_row(segment)


@given(st.dictionaries(strategies.texts, strategies.floats | strategies.texts))
def test_canonical_json_does_not_depend_on_the_order_of_keys(value: dict[str, object]):
    backwards = dict(reversed(value.items()))
    assert canonical(backwards) == canonical(value)
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("fields", [{}, {"score": 1.0, "error": "timeout"}, {"score": 1.5}, {"score": float("nan")}])
def test_a_verdict_is_a_score_in_0_to_1_or_an_error(fields: dict[str, object]):
    with pytest.raises(ValidationError):
        Verdict(verifier="v", **fields)


def test_verdicts_are_one_list_a_rollout():
    with pytest.raises(ValidationError, match="2 verdict lists for 1 rollouts"):
        Group(task=TASK, rollouts=(ROLLOUT,), verdicts=((), ()))


@given(strategies.groups())
@settings(max_examples=40)
def test_accepted_is_what_every_verifier_passed(group: Group):
    pairs = zip(group.rollouts, group.verdicts or [()] * len(group.rollouts), strict=True)
    last = [(rollout, [v for v in said if not v.turn]) for rollout, said in pairs]
    assert list(group.accepted()) == [r for r, said in last if said and all(v.passed or not v.required for v in said)]


@pytest.mark.parametrize(
    "nodes", [[Node(index=1)], [Node(index=0), Node(index=1)], [Node(index=0), Node(index=1, parent=1)]]
)
def test_a_trees_nodes_stand_by_index_with_parents_before_children(nodes: list[Node]):
    with pytest.raises(ValidationError, match="listed by index from the root"):
        Tree(nodes=tuple(nodes), ended="nodes")


@given(strategies.trees())
@settings(max_examples=40)
def test_a_path_leads_from_below_the_root_to_the_node(tree: Tree):
    for node in tree.nodes:
        path = tree.path(node.index)
        assert [each.parent for each in path] == [0, *(each.index for each in path[:-1])][: len(path)]
        assert tree.text(node.index) == "".join(each.text for each in path)
        assert tree.ids(node.index) == sum((each.token_ids for each in path), ())
        assert path[-1:] == ((node,) if node.index else ())
        assert all(tree.nodes[child].parent == node.index for child in tree.children[node.index])


def test_a_copy_has_its_own_children():
    tree = Tree(nodes=(Node(index=0), Node(index=1, parent=0)), ended="nodes")
    assert tree.children == ((1,), ())
    assert tree.model_copy(update={"nodes": tree.nodes[:1]}).children == ((),)


@pytest.mark.parametrize(
    ("source", "origin"),
    [("dropped/2026-11-21-a", "task"), ("feedback/2026-11-21-a", "feedback"), ("jsonl", "task"), ("feedback", "task")],
)
def test_a_task_says_whether_it_was_made_of_feedback(source: str, origin: str):
    task = Task(messages=(Message(role="user", content="Why?"),), source=source)
    assert (task.origin, Task.from_row(task.to_row()).origin) == (origin, origin)


def test_a_field_that_nobody_knows_is_refused():
    with pytest.raises(ValidationError, match="colour"):
        Message.from_row({"role": "user", "content": "", "colour": "red"})


def test_examples_that_are_not_reinforced_are_the_rows_that_they_were_before_there_were_advantages():
    """The same for those."""
    said = Segment.answer("7", (1, 2))
    assert set(said.to_row()) == {"messages", "token_ids", "weights"}
    assert Segment.from_row(said.to_row() | {"advantages": None, "logprobs": None}) == said


@pytest.mark.parametrize("more", [{"advantages": (1.0, 2.0)}, {"logprobs": (-1.0,)}])
def test_a_figure_for_tokens_that_are_not_there_is_refused(more: dict[str, tuple[float, ...]]):
    with pytest.raises(ValidationError, match="for 3 token ids: give"):
        Segment.from_row(Segment.answer("7", (1, 2, 3)).to_row() | more)


def test_scores_without_errors_are_the_rows_that_they_were_before_errors_were_counted():
    """Else the digests of older data sets would not be theirs any more."""
    score = TaskScore(model="m", metric="accuracy", split="gate", task="t", value=1.0)
    assert "errors" not in score.to_row()
    assert TaskScore.from_row(score.to_row() | {"errors": None}) == score
    counted = score.model_copy(update={"errors": 2})
    assert TaskScore.from_row(counted.to_row()) == counted


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}


def test_a_message_with_calls_is_the_row_of_openais_protocol_and_one_without_is_the_row_that_it_was():
    said = Message.from_row({"role": "assistant", "content": "", "tool_calls": [CALL]})
    assert said.to_row() == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    answered = {"role": "tool", "content": "5", "tool_call_id": "c1"}
    assert Message.from_row(answered).to_row() == answered
    assert Message(role="user", content="?").to_row() == {"role": "user", "content": "?"}


@pytest.mark.parametrize("record", [Message, Turn])
@pytest.mark.parametrize(
    ("role", "field"),
    [("user", {"tool_calls": [CALL]}), ("tool", {"tool_calls": [CALL]}), ("assistant", {"tool_call_id": "c1"})],
)
def test_only_the_assistant_calls_tools_and_only_a_tool_answers(record: type[Record], role: str, field: dict):
    with pytest.raises(ValidationError, match=next(iter(field))):
        record.from_row({"role": role, "content": "", **field})


def test_what_is_called_is_part_of_the_ids():
    """Of a rollout, and of a task that begins with calls."""
    called = Turn.from_row({"role": "assistant", "content": "", "tool_calls": [CALL]})
    bare = called.model_copy(update={"tool_calls": ()})
    assert len({ROLLOUT.model_copy(update={"turns": (turn,)}).id for turn in (called, bare)}) == 2
    begun = [TASK.model_copy(update={"messages": (*TASK.messages, turn.message)}) for turn in (called, bare)]
    assert begun[0].id != begun[1].id


@given(strategies.calls)
def test_a_template_gets_arguments_as_an_object_where_they_are_one(calls: tuple[ToolCall, ...]):
    row = Message(role="assistant", content="", tool_calls=calls).to_row()
    for call, shown in zip(calls, for_template(row).get("tool_calls", []), strict=True):
        found = shown["function"]["arguments"]
        assert found == call.function.arguments or json.loads(call.function.arguments) == found
        assert isinstance(found, dict | str)


def test_each_answer_of_a_tool_is_a_message_of_its_own():
    """Templates take one a call; what a tool says unasked is joined as anything else that others say."""
    calls = [CALL, CALL | {"id": "c2"}]
    turns = [
        Turn.from_row({"role": "assistant", "kind": "action", "content": "", "tool_calls": calls}),
        *(Turn(role="tool", kind="tool", content=id, tool_call_id=id) for id in ("c1", "c2")),
        *(Turn(role="tool", kind="tool", content=text) for text in ("x", "y")),
    ]
    said = [message for message, _ in conversation(TASK.messages, turns)]
    assert said[2:] == [*(turn.message for turn in turns[1:3]), Message(role="tool", content="x\n\ny")]
    assert said[1] == turns[0].message


def test_arguments_that_are_an_object_already_are_the_templates():
    """As Hugging Face's templates have them; a text is read, if it is JSON."""
    function = {"name": "add", "arguments": {"a": 2}}
    row = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": function}]}
    assert for_template(row) == row
    as_text = {**row, "tool_calls": [{**row["tool_calls"][0], "function": {**function, "arguments": '{"a": 2}'}}]}
    assert for_template(as_text) == row
