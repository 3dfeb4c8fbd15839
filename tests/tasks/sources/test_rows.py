"""Tasks from files: mapping, splits by problem and not by row, and every bad input with its message."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, Unavailable
from selftaught.records import Task
from selftaught.tasks.draw import prepare
from selftaught.tasks.sources.huggingface import HuggingFace
from selftaught.tasks.sources.jsonl import Jsonl
from selftaught.tasks.sources.parquet import Parquet
from selftaught.tasks.splits import pool

Row = dict[str, Any]
ANIMALS = ["ants", "bees", "cats", "dogs", "eels", "frogs", "goats", "hens", "ibises", "jays"]
GSM8K: list[Row] = [
    {
        "question": f"A farm with a pond keeps {n + 3} {animal} and buys 2 more. How many {animal} are there?",
        "answer": f"There are {n + 3} + 2 = <<{n + 3}+2={n + 5}>>{n + 5} {animal}.\n#### {n + 5:,}",
    }
    for n, animal in enumerate(ANIMALS)
]
"""Ten rows in the form of GSM8K."""


def jsonl(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path: Path, rows: Iterable[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def many(count: int) -> list[Row]:
    """So many rows that are different problems."""
    return [
        {"question": f"Riddle {'ab'[n % 2]}{chr(97 + n // 26)}{chr(97 + n % 26)}?", "answer": n} for n in range(count)
    ]


def source(path: Path, **fields: Any) -> Jsonl:
    return Jsonl.model_validate({"train": 2, "gate": 1, "report": 1, "path": path, **fields})


@pytest.mark.parametrize(("write", "block"), [(jsonl, Jsonl), (parquet, Parquet)])
def test_a_column_may_be_the_worked_solution(
    tmp_path: Path, write: Callable[[Path, Iterable[Row]], Path], block: type[Jsonl] | type[Parquet]
):
    fields = {
        "train": 2,
        "gate": 1,
        "report": 1,
        "path": write(tmp_path / "rows", GSM8K),
        "answer_pattern": "#### (.+)",
    }
    plain, solved = (block.model_validate(fields | more).draw(Draw(1, 2)) for more in ({}, {"reference": "answer"}))
    assert {task.question: task.texts["reference"] for task in solved} == {
        row["question"]: row["answer"] for row in GSM8K if row["question"] in {task.question for task in plain}
    }
    assert [task.id for task in solved] == [task.id for task in plain]
    assert not any(task.texts for task in plain)


MBPP: list[Row] = [
    {
        "text": f"Write a function that counts the {animal} in a list of animals.",
        "code": f"def count_{animal}(x):\n    return x.count({animal!r})",
        "test_list": [f"assert count_{animal}(['{animal}']) == 1", f"assert count_{animal}([]) == 0"],
        "test_setup_code": "",
    }
    for animal in ANIMALS
]
"""Ten rows in the form of MBPP."""


@pytest.mark.parametrize(("write", "block"), [(jsonl, Jsonl), (parquet, Parquet)])
def test_columns_may_be_the_tests_of_a_program(
    tmp_path: Path, write: Callable[[Path, Iterable[Row]], Path], block: type[Jsonl] | type[Parquet]
):
    tests = {"asserts": "test_list", "setup": "test_setup_code", "shown": 1}
    path = write(tmp_path / "rows", MBPP)
    fields = {"train": 2, "gate": 1, "report": 1, "path": path, "question": "text", "answer": "code", "tests": tests}
    for task in block.model_validate(fields).draw(Draw(1, 2)):
        function = task.answer.removeprefix("def ").partition("(")[0]
        animal = function.removeprefix("count_")
        assert task.question.endswith(f"animals.\n\nFor example:\n\n{function}(['{animal}']) == 1")
        assert task.check == {
            "type": "tests",
            "entry": function,
            "literals": True,
            "setup": "",
            "visible": [[[f"['{animal}']"], "1"]],
            "hidden": [[["[]"], "0"]],
        }


def test_rows_whose_tests_cannot_be_read_refuse_the_file_or_are_left_out(tmp_path: Path):
    rows = [*MBPP, MBPP[0] | {"text": "Another one.", "test_list": ["assert set(f(1)) == {1}"]}]
    fields = {"path": jsonl(tmp_path / "mbpp.jsonl", rows), "question": "text", "answer": "code"}
    with pytest.raises(BadInput, match=r"mbpp.jsonl:11: test_list: set\(f\(1\)\) == \{1\}: not a call .* 1 of 11 rows"):
        source(**fields, tests={"asserts": "test_list"}).draw(Draw(1, 2))
    lenient = source(**fields, tests={"asserts": "test_list", "unreadable": "leave_out"})
    assert len(lenient.problems(lenient.table())) == len(MBPP)


def test_a_source_without_tests_is_written_as_it_was_before_there_were_any(tmp_path: Path):
    assert "tests" not in source(tmp_path).model_dump()


def test_gsm8k_rows_become_tasks_with_the_gold_answer_after_the_marks(tmp_path: Path):
    path = jsonl(tmp_path / "gsm8k.jsonl", GSM8K)
    tasks = source(path, answer_pattern="#### (.+)", system="Be brief.", instruction="Why?").draw(Draw(1, 2))
    gold = {row["question"]: str(n + 5) for n, row in enumerate(GSM8K)}
    assert len(tasks) == 4
    for task in tasks:
        assert task.answer == gold[task.question.removesuffix(" Why?")]
        assert task.messages[0].content == "Be brief."


@pytest.mark.parametrize(("write", "block"), [(jsonl, Jsonl), (parquet, Parquet)])
def test_every_format_gives_the_same_tasks(tmp_path: Path, write: Callable[..., Path], block: type[Jsonl | Parquet]):
    fields = {"train": 9, "gate": 3, "report": 3, "guard": 2, "path": write(tmp_path / "a", many(60))}
    made = block.model_validate({**fields, "guard_path": write(tmp_path / "b", GSM8K)}).draw(Draw(1, 2))
    expected = source(jsonl(tmp_path / "c", many(60)), train=9, gate=3, report=3).draw(Draw(1, 2))
    assert {t.id for t in made if t.split == "gate"} <= {t.id for t in source_pool(tmp_path / "c", "gate")}
    assert {t.question for t in made if t.split == "guard"} <= {row["question"] for row in GSM8K}
    assert len(made) == len(expected) + 2


def source_pool(path: Path, split: str) -> list[Task]:
    """Every task of `path` that may ever be drawn for `split`, by drawing many rounds."""
    draws = (source(path, train=9, gate=3, report=3).draw(Draw(9, round)) for round in range(60))
    return [task for tasks in draws for task in tasks if task.split == split]


def test_hugging_face_folders_with_and_without_splits_give_the_same_tasks(tmp_path: Path):
    import datasets

    rows = datasets.Dataset.from_list(many(60))
    rows.save_to_disk(str(tmp_path / "plain"))
    datasets.DatasetDict({"train": rows, "test": datasets.Dataset.from_list(GSM8K)}).save_to_disk(
        str(tmp_path / "both")
    )
    plain, both = (
        HuggingFace.model_validate({"train": 9, "gate": 3, "report": 3, "dataset": str(tmp_path / name), **guard}).draw(
            Draw(1, 2)
        )
        for name, guard in [("plain", {}), ("both", {"guard": 2, "guard_split": "test"})]
    )
    assert plain == both[:15]
    assert [task.split for task in both[15:]] == ["guard", "guard"]


def test_the_report_stays_gate_and_train_are_chosen_again_out_of_pools_that_stay(tmp_path: Path):
    path = jsonl(tmp_path / "a", many(300))
    block = source(path, train=30, gate=15, report=15)
    rounds = [prepare(block, Draw(campaign=1, round=n)) for n in range(12)]
    sets = {
        s: [frozenset(t.id for t in tasks if t.split == s) for tasks in rounds] for s in ("train", "gate", "report")
    }
    assert len(set(sets["report"])) == 1
    assert len(set(sets["gate"])) == len(set(sets["train"])) == 12
    union = {split: frozenset.union(*found) for split, found in sets.items()}
    assert not union["train"] & union["gate"]
    assert not (union["train"] | union["gate"]) & union["report"]
    assert len(union["gate"]) > 15


def test_no_problem_changes_its_set_when_rows_are_added_or_the_order_changes(tmp_path: Path):
    small, large = many(80), [*reversed(many(140))]
    before = source(jsonl(tmp_path / "a", small), train=20, gate=8, report=8).draw(Draw(1, 2))
    after = source(jsonl(tmp_path / "b", large), train=50, gate=16, report=16).draw(Draw(5, 6))
    sets = {task.id: task.split for task in after}
    assert all(sets[task.id] == task.split for task in before if task.id in sets)


def test_rows_of_one_template_go_to_one_set(tmp_path: Path):
    rows = [{**row, "kind": f"kind {n % 20}"} for n, row in enumerate(many(200))]
    tasks = source(jsonl(tmp_path / "a", rows), template="kind", train=30, gate=8, report=8).draw(Draw(1, 2))
    assert all(pool(str(task.template)) == task.split for task in tasks)


def test_of_rows_with_equal_questions_the_first_one_stays(tmp_path: Path):
    first = many(60)
    again = [{"question": row["question"].upper(), "answer": "wrong"} for row in first]
    tasks = source(jsonl(tmp_path / "a", [*first, *again]), train=20, gate=5, report=5).draw(Draw(1, 2))
    assert "wrong" not in {task.answer for task in tasks}
    assert len({task.question.casefold() for task in tasks}) == 30


def test_guard_rows_that_are_problems_of_the_main_file_are_left_out(tmp_path: Path):
    main, guard = jsonl(tmp_path / "a", many(60)), jsonl(tmp_path / "b", [*many(60), *GSM8K[:2]])
    prepare(source(main, guard=1, guard_path=guard), Draw(1, 2))
    with pytest.raises(BadInput, match="guard has 2 and asks for 3"):
        source(main, guard=3, guard_path=guard).draw(Draw(1, 2))


# Rows of a set's own --------------------------------------------------------------------------------------------------


def chosen(tasks: Iterable[Task], split: str) -> set[str]:
    return {task.question for task in tasks if task.split == split}


def test_gate_and_report_rows_of_their_own_are_theirs_alone_and_all_other_rows_are_trained_on(tmp_path: Path):
    """GSM8K's train split to train on, its test split to decide by: nothing of the first is kept back."""
    rows = many(120)
    main, gate, report = rows[:60], rows[60:90], rows[90:]
    own = {f"{name}_path": jsonl(tmp_path / name, each) for name, each in (("gate", gate), ("report", report))}
    tasks = source(jsonl(tmp_path / "main", main), train=60, gate=30, report=30, **own).draw(Draw(1, 2))
    for split, each in (("train", main), ("gate", gate), ("report", report)):
        assert chosen(tasks, split) == {row["question"] for row in each}


def test_with_a_gate_file_alone_the_report_stays_what_it_was(tmp_path: Path):
    path = jsonl(tmp_path / "main", many(120))
    before = source(path, train=50, gate=10, report=10).draw(Draw(1, 2))
    own = {"gate_path": jsonl(tmp_path / "gate", GSM8K), "gate": 9, "answer_pattern": r"(\S+)$"}
    after = source(path, train=50, report=10, **own).draw(Draw(1, 2))
    assert chosen(after, "report") == chosen(before, "report")
    assert chosen(after, "gate") <= {row["question"] for row in GSM8K}


@pytest.mark.parametrize("split", ["gate", "report"])
def test_what_is_held_out_by_its_file_is_taken_out_of_training(tmp_path: Path, split: str):
    """A near copy too: the same words with other numbers."""
    rows = many(60)
    copies = [*GSM8K[:3], *({"question": row["question"].replace("2 more", "9 more"), "answer": 1} for row in GSM8K)]
    own = {f"{split}_path": jsonl(tmp_path / "own", GSM8K), split: 9}
    block = source(jsonl(tmp_path / "main", [*rows, *copies]), answer_pattern=r"(\S+)$", **({"train": 30} | own))
    tasks = prepare(block, Draw(1, 2))
    assert "farm" not in " ".join(chosen(tasks, "train"))
    assert len(chosen(tasks, split)) == 9


def test_what_gate_and_report_rows_share_is_reported_on(tmp_path: Path):
    own = {"gate_path": jsonl(tmp_path / "g", many(30)), "report_path": jsonl(tmp_path / "r", many(60)[20:])}
    tasks = source(jsonl(tmp_path / "a", many(90)[60:]), train=30, gate=20, report=40, **own).draw(Draw(1, 2))
    assert chosen(tasks, "gate") == {row["question"] for row in many(20)}


def test_splits_of_a_data_set_may_be_the_sets(tmp_path: Path):
    import datasets

    rows = many(90)
    parts = {"train": rows[:40], "test": rows[40:60], "validation": rows[60:]}
    datasets.DatasetDict({name: datasets.Dataset.from_list(part) for name, part in parts.items()}).save_to_disk(
        str(tmp_path / "d")
    )
    sizes = {"train": 40, "gate": 20, "report": 30, "gate_split": "test", "report_split": "validation"}
    tasks = HuggingFace.model_validate({"dataset": str(tmp_path / "d"), **sizes}).draw(Draw(1, 2))
    for split, part in (("train", "train"), ("gate", "test"), ("report", "validation")):
        assert chosen(tasks, split) == {row["question"] for row in parts[part]}


def test_a_limit_takes_the_first_rows_of_each_file_and_looks_at_no_others(tmp_path: Path):
    path, guard = jsonl(tmp_path / "a", many(100)), jsonl(tmp_path / "b", many(140)[100:])
    for file in (path, guard):
        file.write_text(file.read_text() + "no JSON\n")
    tasks = source(path, limit=30, guard=30, guard_path=guard).draw(Draw(1, 2))
    assert {task.question for task in tasks if task.split != "guard"} <= {row["question"] for row in many(30)}
    assert chosen(tasks, "guard") == {row["question"] for row in many(130)[100:]}
    with pytest.raises(BadInput, match=r"a:101: not JSON"):
        source(path).draw(Draw(1, 2))


BAD_ROWS: list[tuple[list[Row], Row, str]] = [
    ([], {}, r"a\.jsonl: has no rows"),
    (
        GSM8K,
        {"question": "qestion"},
        r"no column 'qestion' \(tasks\.question\)\. Did you mean 'question'\? .*question, answer",
    ),
    (GSM8K, {"answer": "gold"}, r"no column 'gold' \(tasks\.answer\)\. Its columns: question, answer"),
    (GSM8K, {"template": "knd"}, r"no column 'knd' \(tasks\.template\)"),
    (GSM8K, {"reference": "solution"}, r"no column 'solution' \(tasks\.reference\)"),
    ([{**row, "solution": ""} for row in GSM8K], {"reference": "solution"}, r":1: no text in column 'solution'; 10 of"),
    ([*GSM8K, {"question": "No?", "answer": None}, {"question": "O?"}], {}, r"a\.jsonl:11: no answer .*2 of 12 rows"),
    ([*GSM8K, {"question": " ", "answer": 1}], {}, r"a\.jsonl:11: no text in column 'question'; 1 of 11 rows"),
    ([{"kind": "a"} | GSM8K[0], *GSM8K], {"template": "kind"}, r"a\.jsonl:2: no text in column 'kind'; 10 of 11 rows"),
    ([*GSM8K, {"question": "No?", "answer": "7"}], {"answer_pattern": "#### (.+)"}, r":11: .* matches '#### \(\.\+\)'"),
    (
        GSM8K,
        {"train": 120, "gate": 60},
        r"too few different problems: train has \d and asks for 120, gate has \d and asks for 60, report has \d and",
    ),
]


@pytest.mark.parametrize(("rows", "fields", "message"), BAD_ROWS)
def test_rows_that_cannot_be_used_are_refused_with_place_and_fix(
    tmp_path: Path, rows: list[Row], fields: Row, message: str
):
    with pytest.raises(BadInput, match=message):
        source(jsonl(tmp_path / "a.jsonl", rows), **fields).draw(Draw(1, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"question": "a", "answer": 1}\n\n{"question": \n', r"a\.jsonl:3: not JSON \(Expecting value, column 13"),
        (b'["question"]\n', r"a\.jsonl:1: list '\[\"question\"\]', where each line should be a JSON object"),
        (b"PAR1\xff\xfe", r"a\.jsonl: not UTF-8 text \(byte 4\)"),
    ],
)
def test_lines_that_are_no_json_objects_are_refused_by_file_and_line(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        source(tmp_path / "a.jsonl").draw(Draw(1, 2))


def test_a_line_ends_where_json_lines_end(tmp_path: Path):
    """Texts that people typed hold other line separators."""
    (tmp_path / "a.jsonl").write_bytes('{"question": "a\u2028b?", "answer": "1"}\r\n'.encode())
    (row,) = source(tmp_path / "a.jsonl").table().rows()
    assert row == (f"{tmp_path}/a.jsonl:1", {"question": "a\u2028b?", "answer": "1"})


def test_a_missing_file_is_named():
    with pytest.raises(BadInput, match=r"nowhere/tasks\.jsonl: no such file .*Check tasks\.path"):
        source(Path("nowhere/tasks.jsonl")).draw(Draw(1, 2))


def test_a_truncated_parquet_file_is_refused(tmp_path: Path):
    path = parquet(tmp_path / "a.parquet", GSM8K)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"a\.parquet: cannot be read as Parquet \("):
        Parquet(train=1, gate=1, report=1, path=path).draw(Draw(1, 2))


def test_guard_tasks_without_a_file_are_refused():
    with pytest.raises(ValidationError, match="guard: 5 asks for guard tasks of their own: name them in guard_path"):
        source(Path("a.jsonl"), guard=5)


def test_a_split_or_folder_that_is_no_data_set_is_refused(tmp_path: Path):
    import datasets

    datasets.DatasetDict({"test": datasets.Dataset.from_list(GSM8K)}).save_to_disk(str(tmp_path / "data"))
    block = HuggingFace(train=1, gate=1, report=1, dataset=str(tmp_path / "data"), hf_split="tets")
    with pytest.raises(BadInput, match=r"no split 'tets'\. Did you mean 'test'\? Its splits: test"):
        block.draw(Draw(1, 2))
    with pytest.raises(BadInput, match="not a folder that `save_to_disk` wrote"):
        HuggingFace(train=1, gate=1, report=1, dataset=str(tmp_path)).draw(Draw(1, 2))


def test_a_hub_that_is_out_of_reach_is_told_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"nobody/nothing: .* cannot be reached \(http://127.*HF_HUB_OFFLINE=1.*save"):
        HuggingFace(train=1, gate=1, report=1, dataset="nobody/nothing").draw(Draw(1, 2))
    assert capfd.readouterr().err == ""


def test_a_hub_that_cannot_be_reached_is_unavailable_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match=r"nobody/nothing: the Hugging Face hub cannot be reached .*save_to_disk"):
        HuggingFace(train=1, gate=1, report=1, dataset="nobody/nothing").draw(Draw(1, 2))
