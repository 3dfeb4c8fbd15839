"""Trees out as steps with labels, and such rows in as value examples: nothing invented, a bad row costs that row."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from selftaught.cli.main import app
from selftaught.core.errors import BadInput
from selftaught.curation.step_values import StepValues
from selftaught.platform import Platform
from selftaught.records import Example, Group, dataset
from selftaught.report.data import DatasetRef
from selftaught.state.round_key import RoundKey
from selftaught.stepwise.formats import FORMATS, written
from selftaught.stepwise.from_trees import solutions
from selftaught.stepwise.transfer import imported
from tests.curation.trees import grown, unjudged
from tests.plans import end_round
from tests.registry_made import LINE, Registry
from tests.report.sample_report import sample
from tests.stepwise.test_formats import annotated, completion, step

pytest_plugins = ["tests.registry_fixtures"]

SHAPE = {"one\n": {"two\n": {"right": True, "wrong": False}, "tea\n": {"bad": False}}, "odd\n": {"end": False}}
GOOD = {
    "prompt": "2 + 3?",
    "completions": ["We add.", "5"],
    "labels": [True, True],
    "values": [0.25, 0.5],
    "ended": True,
}


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    return path


def brought(path: Path, name="trl", kept="soft", neutral="right", separator="\n"):
    to = path.with_suffix(".set")
    account = imported(path, name, to, kept, neutral, separator)
    return account, dataset.read(to, Example)


def texts(examples):
    return {each.completion[0].content: (each.target.label, each.target.right) for each in examples}


def test_paths_of_a_tree_are_right_where_a_right_answer_is_below():
    found = {each.steps: (each.labels, each.values) for each in solutions(grown(SHAPE), "inferred", None)}
    assert found == {
        ("one", "two", "right"): ((True, True, True), pytest.approx((1 / 3, 2 / 3, 1))),
        ("one", "two", "wrong"): ((True, True, False), pytest.approx((1 / 3, 2 / 3, 1 / 2))),
        ("one", "tea", "bad"): ((True, False, False), pytest.approx((1 / 3, 1 / 9, 0))),
        ("odd", "end"): ((False, False), (0, 0)),
    }


def test_a_threshold_is_of_what_a_step_is_worth():
    first = next(solutions(grown(SHAPE), "inferred", 0.5))
    assert (first.steps, first.labels) == (("one", "two", "right"), (False, True, True))
    assert next(solutions(grown(SHAPE), "inferred", first.values[1])).labels == (False, True, True)


def test_a_path_ends_where_nothing_is_known():
    found = [each.steps for each in solutions(unjudged(grown(SHAPE), "wrong"), "inferred", None)]
    assert found == [("one", "two", "right"), ("one", "two"), ("one", "tea", "bad"), ("odd", "end")]


@pytest.mark.parametrize("name", FORMATS)
def test_an_exported_tree_comes_back_as_its_own_value_examples(name, tmp_path):
    group = grown(SHAPE)
    rows = [written(name, each) for each in solutions(group, "inferred", None)]
    account, examples = brought(lines(tmp_path / "steps.jsonl", *rows), name)
    assert texts(examples) == texts(StepValues(minimum=0).curate([group], seed=0))
    assert {each.prompt for each in examples} == {group.task.messages}
    assert (account.rows, account.solutions, account.examples, account.aside) == (4, 4, 8, [])


def test_what_a_row_says_of_a_prefix_counts_once_however_many_alternatives_follow(tmp_path):
    def rated(rating: int, *after: int) -> object:
        steps = [step(completion("We add.", rating)), step(*(completion(f"It is {n}.", 1) for n in after), chosen=None)]
        return annotated(*steps)

    _, examples = brought(lines(tmp_path / "rows.jsonl", rated(1, *range(9)), rated(-1)), "prm800k", separator="")
    (first,) = (each for each in examples if each.completion[0].content.strip() == "We add.")
    assert first.regress.label == 0.5


LAST = RoundKey(LINE, "weekly")


@pytest.fixture
def record(registry: Registry, tmp_path: Path):
    """The line has finished a round, whose verified groups are these."""

    def make(*groups: Group) -> None:
        platform = Platform.open()
        platform.tracker.round_run(LAST, "main")
        made = dataset.write(tmp_path / "verified", groups, "groups")
        platform.store.put("datasets", made.digest, tmp_path / "verified")
        found = sample(1)
        last = found.last.model_copy(
            update={"datasets": (DatasetRef(kind="verified", digest=made.digest, rows=made.rows),)}
        )
        found = found.model_copy(update={"line": LINE, "rounds": (last,)})
        end_round(platform.store, LAST, found)

    return make


@pytest.mark.parametrize("name", FORMATS)
def test_the_trees_of_the_last_round_are_exported(name, record, tmp_path):
    record(grown(SHAPE))
    to = tmp_path / "steps.jsonl"
    result = CliRunner().invoke(app, ["steps", "export", LINE, "--to", str(to), "--format", name])
    assert (result.exit_code, result.stdout) == (0, f"{to}: 4 solutions of 1 tasks\n"), result.output
    _, examples = brought(to, name)
    assert texts(examples) == texts(StepValues(minimum=0).curate([grown(SHAPE)], seed=0))


def test_a_path_that_a_format_cannot_hold_is_set_aside_by_task_and_number(record, tmp_path):
    group = grown({"one ки\n": {"right": True}, "two\n": {"wrong": False}})
    record(group)
    asked = ["steps", "export", LINE, "--to", str(tmp_path / "s.jsonl"), "--format", "math-shepherd", "--json"]
    data = json.loads(CliRunner().invoke(app, asked).stdout)
    assert (data["rows"], data["solutions"]) == (1, 1)
    assert [platform for platform, _ in data["aside"]] == [f"task {group.id}, path 1"]


def test_how_a_step_ends_says_nothing_of_whether_it_is_right(tmp_path):
    """Of PRM800K's alternatives one is continued; a text that ended another way would tell which."""
    first = step(completion("Subtract 1.", 1), completion("Add 1.", -1), completion("Stop.", 0))
    last = step(completion("x = 2", 1), completion("x = 4", -1))
    _, examples = brought(lines(tmp_path / "rows.jsonl", annotated(first, last, ended="solution")), "prm800k")
    said = texts(examples)
    assert {text for text in said if not text.endswith("\n")} == {"Subtract 1.\nx = 2"}  # the answer ends there
    assert {"Add 1.\n", "Stop.\n", "Subtract 1.\n", "Subtract 1.\nx = 4\n"} < said.keys()
    _, trl = brought(lines(tmp_path / "trl.jsonl", GOOD | {"ended": False}, GOOD | {"completions": ["No.", "6"]}))
    assert {text[-1] for text in texts(trl)} == {"\n", "6"}


def test_where_nothing_is_known_of_any_step_what_was_there_stays(record, tmp_path):
    record(grown({"a": False}))
    (tmp_path / "steps.jsonl").write_text("mine")
    result = CliRunner().invoke(app, ["steps", "export", LINE, "--to", str(tmp_path / "steps.jsonl")])
    assert result.exit_code == 1
    assert "none of 1 tasks has a tree that says anything of its steps." in result.stderr
    assert (tmp_path / "steps.jsonl").read_text() == "mine"
    assert not list(tmp_path.glob(".*.part"))


def test_hard_labels_are_one_and_nothing(tmp_path):
    _, examples = brought(lines(tmp_path / "steps.jsonl", GOOD), kept="hard")
    assert texts(examples) == {"We add.\n": (1.0, True), "We add.\n5": (1.0, True)}


def test_a_bad_row_costs_that_row_and_is_named(tmp_path):
    other = GOOD | {"completions": ["No.", "6"]}
    bad = [b"{\n", b'"\xff"\n', b"\n", GOOD | {"labels": [True]}, b"[" * 100_000 + b"\n"]
    file = lines(tmp_path / "steps.jsonl", GOOD, *bad, other)
    account, examples = brought(file)
    assert [platform for platform, _ in account.aside] == [f"{file}:{at}" for at in (2, 3, 5, 6)]
    assert [why.split(" (")[0] for _, why in account.aside] == ["no JSON", "no JSON", "2 steps and 1 labels", "no JSON"]
    assert (account.rows, account.solutions, len(examples)) == (6, 2, 4)
    assert dataset.manifest(file.with_suffix(".set")).counts == {"rows": 6, "solutions": 2, "aside": 4}


def test_rows_that_differ_on_a_step_give_the_mean_and_neither_right_nor_wrong(tmp_path):
    other = GOOD | {"labels": [False, True], "values": [0.75, 0.5]}
    _, examples = brought(lines(tmp_path / "steps.jsonl", GOOD, other))
    assert texts(examples) == {"We add.\n": (0.5, None), "We add.\n5": (0.5, True)}


def test_equal_labels_stay_to_the_bit_however_often_they_come(tmp_path):
    row = GOOD | {"values": [0.1, 0.7]}
    _, examples = brought(lines(tmp_path / "steps.jsonl", *[row] * 3))
    assert [each.target.label for each in examples] == [0.1, 0.7]


def test_parquet_is_read_as_lines_are(tmp_path):
    pq.write_table(pa.Table.from_pylist([GOOD, GOOD | {"labels": [True]}]), tmp_path / "steps.parquet")
    account, examples = brought(tmp_path / "steps.parquet")
    assert texts(examples) == {"We add.\n": (0.25, True), "We add.\n5": (0.5, True)}
    assert account.aside == [(f"{tmp_path}/steps.parquet: row 2", "2 steps and 1 labels")]


def test_where_no_row_can_be_used_nothing_is_written(tmp_path):
    file = lines(tmp_path / "steps.jsonl", {"question": 1})
    with pytest.raises(BadInput, match=r"none of 1 rows can be used as trl\. First: .*steps\.jsonl:1: prompt"):
        brought(file)
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    file = lines(tmp_path / "steps.jsonl", GOOD)
    (tmp_path / "steps.set").mkdir()
    (tmp_path / "steps.set" / "mine").touch()
    with pytest.raises(BadInput, match="is there already"):
        brought(file)
    assert (tmp_path / "steps.set" / "mine").exists()


def test_the_command_names_what_was_set_aside(tmp_path):
    file = lines(tmp_path / "steps.jsonl", GOOD, *[{}] * 12)
    asked = ["steps", "import", str(file), "--to", str(tmp_path / "set")]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path}/set: 2 value examples of 1 solutions in 13 rows\n"
    assert result.stderr.count("set aside: ") == 11
    assert "set aside: 2 more. --json names all." in result.stderr
