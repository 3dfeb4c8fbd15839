"""Cells: what is not a text and no finite number is refused as what it is, in every format, wherever it stands."""

import json
import os
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput
from selftaught.recipe import blocks, load_blocks
from selftaught.state.store import MARKER
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.source import Inbox, InboxHistory
from selftaught.tasks.sources import cells, rows
from selftaught.tasks.sources.huggingface import HuggingFace
from selftaught.tasks.sources.jsonl import Jsonl
from selftaught.tasks.sources.parquet import Parquet
from selftaught.tasks.sources.rows import Problem, RowSource

load_blocks()
Row = dict[str, Any]
CHAT = [{"role": "user", "content": "What is 3 + 4?"}]
BAD: list[tuple[str, Any, str]] = [
    ("a list", ["12"], r"\['12'\]: should be text or a number"),
    ("several answers", ["12", "13"], r"\['12', '13'\]: should be text or a number"),
    ("a mapping", {"ground_truth": "12"}, r"\{'ground_truth': '12'\}: should be text or a number"),
    ("a chat", CHAT, r"\[\{'content': 'What.*: is a chat\. Name a column that holds the text alone"),
    ("true", True, "True: should be text or a number"),
    ("NaN", float("nan"), "nan: should be text or a finite number"),
    ("infinity", float("-inf"), "-inf: should be text or a finite number"),
]


def row(n: int) -> Row:
    return {"question": f"Riddle {chr(97 + n // 26)}{chr(97 + n % 26)}?", "answer": str(n)}


def jsonl(folder: Path, rows: list[Row]) -> RowSource:
    (folder / "a.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return Jsonl(path=folder / "a.jsonl", train=2, gate=1, report=1)


def parquet(folder: Path, rows: list[Row]) -> RowSource:
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return Parquet(path=folder / "a.parquet", train=2, gate=1, report=1)


def hugging_face(folder: Path, rows: list[Row]) -> RowSource:
    import datasets

    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "a"))
    return HuggingFace(dataset=str(folder / "a"), train=2, gate=1, report=1)


Format = Callable[[Path, list[Row]], RowSource]


@pytest.mark.parametrize("column", ["question", "answer"])
@pytest.mark.parametrize("source", [jsonl, parquet, hugging_face])
@pytest.mark.parametrize(("value", "text"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_what_is_no_text_or_number_is_refused_in_every_format(
    value: Any, text: str, source: Format, column: str, tmp_path: Path
):
    """Every row, as a column of another type has it; `str()` of it would be asked, or compared with."""
    rows = [row(n) | {column: value} for n in range(12)]
    with pytest.raises(BadInput, match=rf"a[^ ]*( row |: row |:)[01]: {column}: {text}; 12 of 12 rows hold no text"):
        source(tmp_path, rows).draw(Draw(1, 2))


@pytest.mark.parametrize(("value", "text"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_one_bad_cell_is_told_with_its_line_and_how_many_there_are(value: Any, text: str, tmp_path: Path):
    rows = [row(n) for n in range(300)]
    rows[17] |= {"answer": value}
    rows[30] |= {"answer": {"x": 1}}
    with pytest.raises(BadInput, match=rf"a\.jsonl:18: answer: {text}; 2 of 300 rows .*Complete or remove"):
        jsonl(tmp_path, rows).draw(Draw(1, 2))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.binary(), b"12"),
        (pa.date32(), date(2026, 11, 28)),
        (pa.list_(pa.string()), ["12"]),
        (pa.bool_(), False),
        (pa.float32(), float("inf")),
    ],
    ids=str,
)
def test_a_column_of_another_parquet_type_is_refused(kind: pa.DataType, value: Any, tmp_path: Path):
    table = pa.table({"question": [row(n)["question"] for n in range(9)], "answer": pa.array([value] * 9, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"a\.parquet: row 1: answer: .*: should be text or a .*9 of 9 rows"):
        Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1).draw(Draw(1, 2))


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (pa.large_string(), "12", "12"),
        (pa.string_view(), "12", "12"),
        (pa.dictionary(pa.int8(), pa.string()), "12", "12"),
        (pa.decimal128(6, 2), Decimal("12.50"), "12.50"),
        (pa.int8(), 12, "12"),
        (pa.float64(), 0.5, "0.5"),
    ],
    ids=str,
)
def test_every_kind_of_text_and_number_is_read(kind: pa.DataType, value: Any, text: str, tmp_path: Path):
    questions = pa.array(["How many?"], kind if "string" in str(kind) and "dict" not in str(kind) else pa.string())
    pq.write_table(pa.table({"question": questions, "answer": pa.array([value], kind)}), tmp_path / "a.parquet")
    block = Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1)
    assert block.problems(block.table()) == [Problem("How many?", text, None)]


@given(
    st.tuples(*[st.text(st.characters(codec="utf-8"))] * 2).map("a".join)  # something is to be seen
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
)
def test_text_and_finite_numbers_stay_what_they_are(value: str | float):
    if value in (float("inf"), float("-inf")):
        return
    assert cells.text(value) == str(value).strip()


@pytest.mark.parametrize("extra", ['"n": ' + "9" * 5_000, '"n": ' + "[" * 100_000, r'"question": "a \ud83d?"'])
def test_what_python_cannot_digest_is_told_with_its_line(extra: str, tmp_path: Path):
    """An integer of 5,000 digits and deep brackets in any column, half a character in one that is read."""
    block = jsonl(tmp_path, [row(n) for n in range(20)])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(f'{{"question": "b?", "answer": "7", {extra}}}\n')
    with pytest.raises(BadInput, match=r"a\.jsonl:21: (has a number with|is nested too|question: .*half a character)"):
        block.draw(Draw(1, 2))


def test_half_a_character_in_a_column_that_is_not_read_harms_nobody(tmp_path: Path):
    rows = [row(n) | {"note": "\ud83d", "\ud83d": 1} for n in range(40)]
    assert len(jsonl(tmp_path, rows).draw(Draw(1, 2))) == 4
    with pytest.raises(BadInput, match=r"Its columns: question, answer, note, \\ud83d") as raised:
        jsonl(tmp_path, rows).model_copy(update={"answer": "gold"}).draw(Draw(1, 2))
    str(raised.value).encode()


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path):
    """As Excel and PowerShell write it; in the middle of a file it is none."""
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(row(1)).encode() + b"\r\n")
    block = Jsonl(path=tmp_path / "a.jsonl", train=2, gate=1, report=1)
    assert block.problems(block.table()) == [Problem("Riddle ab?", "1", None)]
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(b"\xff\xfe")
    with pytest.raises(BadInput, match=rf"not UTF-8 text \(byte {(tmp_path / 'a.jsonl').stat().st_size - 2}\)"):
        block.problems(block.table())


def test_a_text_longer_than_any_question_is_refused(tmp_path: Path):
    block = jsonl(tmp_path, [row(1) | {"question": "a" * (cells.MOST_TEXT + 1)}])
    with pytest.raises(BadInput, match=r"a\.jsonl:1: question: 'aaa.*: is 1,000,001 characters long, 1,000,000 at mo"):
        block.draw(Draw(1, 2))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("selftaught.tasks.sources.jsonl.LONGEST", 1_000)
    block = jsonl(tmp_path, [row(1), {"question": "a" * 2_000, "answer": "7"}])
    with pytest.raises(BadInput, match=r"a\.jsonl:2: is longer than 1,000 bytes\. Is it a JSONL file\?"):
        block.draw(Draw(1, 2))


def test_more_rows_than_a_step_is_sized_for_are_refused_unless_they_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """50 million rows fit into some hundred kilobytes of Parquet: they are counted while they are read."""
    monkeypatch.setattr(rows, "MOST_ROWS", 10_000)
    numbers = pa.array([7] * 20_000, pa.int8())
    pq.write_table(pa.table({"question": numbers, "answer": numbers}), tmp_path / "a.parquet")
    block = Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1)
    with pytest.raises(BadInput, match=r"a\.parquet: has more than 10,000 rows\. Set tasks\.limit to how many"):
        block.draw(Draw(1, 2))
    assert block.problems(block.table(), limit=5) == [Problem("7", "7", None)]


# A drop that cannot be read is set aside ------------------------------------------------------------------------------


def odd(kind: pa.DataType, number: int) -> pa.Array:
    """A number of 64 bits as what Parquet says it is: Python may have no word for it."""
    return pa.array([number] * 3, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)


def with_marker(folder: Path) -> None:
    text = drops_marker(folder)
    (folder / MARKER).write_text(text)


def drops_marker(folder: Path) -> str:
    from selftaught.state.store import fingerprint

    return fingerprint(folder).model_dump_json()


def line(extra: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "a.jsonl").write_text(f'{{"question": "b?", "answer": "7"{extra}}}\n')
        with_marker(folder)

    return make


def column(kind: pa.DataType, number: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        pq.write_table(pa.table({"question": ["a", "b", "c"], "answer": odd(kind, number)}), folder / "a.parquet")
        with_marker(folder)

    return make


def marker(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / MARKER).write_text(text) and None


def folder_for_a_marker(folder: Path) -> None:
    (folder / MARKER).mkdir()


def pipe_for_a_marker(folder: Path) -> None:
    os.mkfifo(folder / MARKER)


def device_for_a_file(folder: Path) -> None:
    (folder / "a.jsonl").symlink_to("/dev/zero")
    marked = {"files": [{"path": "a.jsonl", "size": 0, "sha256": "0" * 64}]}
    (folder / MARKER).write_text(json.dumps(marked))


def endless_parquet(folder: Path) -> None:
    numbers = pa.array([7] * 1_100_000, pa.int8())
    pq.write_table(pa.table({"question": numbers, "answer": numbers}), folder / "a.parquet")
    with_marker(folder)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "5,000 digits": line(', "n": ' + "9" * 5_000),
    "brackets": line(', "n": ' + "[" * 100_000),
    "half a character": line(r', "question": "\ud800"'),
    "a date": column(pa.date32(), 2**31 - 1),
    "a duration": column(pa.duration("s"), 2**62),
    "a time zone": column(pa.timestamp("s", "Mars/Olympus"), 0),
    "endless rows": endless_parquet,
    "NUL in a name": marker(json.dumps({"files": [{"path": "a\0b.jsonl", "size": 1, "sha256": "0" * 64}]})),
    "no marker": marker("{}"),
    "a folder": folder_for_a_marker,
    "a pipe": pipe_for_a_marker,
    "a device": device_for_a_file,
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_batch_that_cannot_be_read_is_set_aside_by_name_and_the_others_are_used(
    hostile: Callable[[Path], None], tmp_path: Path
):
    block = Inbox.model_validate({"path": str(tmp_path), "at_least": 1})
    for n in range(9):
        file = tmp_path / f"{n}.jsonl"
        file.write_text("".join(json.dumps(row(20 * n + each)) + "\n" for each in range(20)))
        batches.write([file], str(tmp_path), date(2026, 11, 1 + n))
    bad = tmp_path / "drops" / "2026-11-20-bad"
    bad.mkdir()
    hostile(bad)
    waiting, broken = block.waiting(InboxHistory())
    assert len(waiting) == 9
    assert list(broken) == ["2026-11-20-bad"]
    taken = block.take(Draw(1, 2))
    assert "2026-11-20-bad" not in taken.drops
    assert all("2026-11-20-bad" in found for found in taken.broken)


@pytest.mark.parametrize("kind", [pa.date32(), pa.duration("s"), pa.timestamp("s", "Mars/Olympus")], ids=str)
def test_what_python_has_no_word_for_in_a_column_that_is_not_read_harms_nobody(kind: pa.DataType, tmp_path: Path):
    number = {32: 2**31 - 1, 64: 2**62}[kind.bit_width] if not pa.types.is_timestamp(kind) else 0
    table = pa.table({"question": ["a", "b", "c"], "answer": ["1", "2", "3"], "when": odd(kind, number)})
    pq.write_table(table, tmp_path / "a.parquet")
    block = Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1)
    assert [problem.answer for problem in block.problems(block.table())] == ["1", "2", "3"]


# Without the extras ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "package"), [("huggingface", "datasets"), ("reasoning_gym", "reasoning_gym")])
def test_a_source_whose_library_is_not_installed_says_how_to_get_it(
    kind: str, package: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    block = blocks("tasks")[kind].model_validate({"dataset": "gsm8k", "train": 1, "gate": 1, "report": 1})
    with pytest.raises(BadInput, match=rf"tasks.type: {kind} needs {package}, .* pip install 'selftaught\[tasks\]'"):
        block.draw(Draw(1, 2))


@pytest.mark.parametrize("cell", ["\u200b\u2060", "\x00", "\u3000 \ufeff", "\x1b", "\n\t"])
@pytest.mark.parametrize("column", ["question", "answer"])
@pytest.mark.parametrize("write", [jsonl, parquet, hugging_face])
def test_a_cell_in_which_nothing_is_to_be_seen_is_empty(
    tmp_path: Path, write: Callable[[Path, list[Row]], RowSource], column: str, cell: str
) -> None:
    source = write(tmp_path, [row(0), row(1) | {column: cell}])
    with pytest.raises(BadInput, match=rf"no (text|answer) in column '{column}'; 1 of 2 rows have none"):
        source.problems(source.table())


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_number_is_what_was_written_in_its_columns_precision(tmp_path: Path, kind: str) -> None:
    """As doubles .1 of 16 bits is .09997558, which no answer equals."""
    import datasets

    answers = [0.1, 2.5, 3.0]
    table = pa.table({"question": [row(n)["question"] for n in range(3)], "answer": pa.array(answers, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    datasets.Dataset(table).save_to_disk(str(tmp_path / "a"))
    for source in (
        Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1),
        HuggingFace(dataset=str(tmp_path / "a"), train=2, gate=1, report=1),
    ):
        assert [problem.answer for problem in source.problems(source.table())] == [str(answer) for answer in answers]


def test_a_class_is_its_name_and_not_its_number(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(question=datasets.Value("string"), answer=datasets.ClassLabel(names=["neg", "pos"]))
    rows = {"question": [row(n)["question"] for n in range(3)], "answer": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "a"))
    source = HuggingFace(dataset=str(tmp_path / "a"), train=2, gate=1, report=1)
    assert [problem.answer for problem in source.problems(source.table())] == ["pos", "neg", "pos"]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    texts = [pa.array([row(0)["question"]]), pa.array(["1"]), pa.array(["2"])]
    pq.write_table(pa.Table.from_arrays(texts, names=["question", "answer", "answer"]), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"a\.parquet: has several columns 'answer'\. Rename all but"):
        Parquet(path=tmp_path / "a.parquet", train=2, gate=1, report=1).table()


def test_files_with_byte_order_marks_may_be_put_together(tmp_path: Path) -> None:
    lines = [b"\xef\xbb\xbf" + json.dumps(row(n)).encode() + b"\r\n" for n in range(3)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    source = Jsonl(path=tmp_path / "a.jsonl", train=2, gate=1, report=1)
    assert [problem.answer for problem in source.problems(source.table())] == ["0", "1", "2"]
