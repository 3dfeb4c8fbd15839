"""Batches: complete or absent, in a directory and on a real S3 server, and every row of feedback with what becomes of
it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, NothingNew, StoreError
from selftaught.recipe import load_blocks
from selftaught.state.store import MARKER
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.feedback import COLUMNS, feedback
from selftaught.tasks.inbox.source import Inbox, InboxHistory
from tests.s3_server import S3Server

pytest_plugins = ["tests.s3_fixtures"]
load_blocks()  # a source may name another

DAY = date(2026, 11, 21)
DRAW = Draw(1, 2)
Row = Mapping[str, Any]


def rows(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def riddles(prefix: str, count: int = 26) -> list[Row]:
    return [{"question": f"{prefix} {chr(97 + n)}?", "answer": n} for n in range(count)]


def source(path: Path | str, **fields: Any) -> Inbox:
    return Inbox.model_validate({"path": str(path), "at_least": 1, **fields})


def asked(block: Inbox) -> dict[str, str]:
    """Every question that waits, with its answer."""
    tasks = (row.task for drop in block.waiting(InboxHistory())[0] for row in drop.rows)
    return {task.question: task.answer or "" for task in tasks}


# Complete or absent ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["directory", "s3"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store for batches: a folder, or a bucket of a real server."""
    if request.param == "directory":
        (tmp_path / "bucket").mkdir()
        return str(tmp_path / "bucket")
    return f"s3://selftaught/{request.getfixturevalue('s3_prefix')}"


@pytest.fixture
def put(where: str, request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Write one file below `where` as a team with other tools would."""

    def into_bucket(path: str, text: str) -> None:
        bucket, _, prefix = where.removeprefix("s3://").partition("/")
        server: S3Server = request.getfixturevalue("s3")
        server.client().put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=text.encode())

    def into_folder(path: str, text: str) -> None:
        file = Path(where) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return into_bucket if where.startswith("s3://") else into_folder


def test_what_is_dropped_is_found_with_its_date_and_its_rows(where: str, tmp_path: Path):
    made = source(where).upload([rows(tmp_path / "a.jsonl", *riddles("Riddle"))], DAY)
    assert batches.names(where) == [made.name]
    assert batches.dated(made.name) == DAY
    assert asked(source(where)) == {f"Riddle {chr(97 + n)}?": str(n) for n in range(26)}


def test_a_half_uploaded_drop_is_not_there(where: str, put: Callable[[str, str], None], tmp_path: Path):
    source(where).upload([rows(tmp_path / "a.jsonl", *riddles("Riddle", 1))], DAY)
    put("drops/2026-11-20-half/b.jsonl", json.dumps({"question": "Half?", "answer": 1}))
    assert asked(source(where)) == {"Riddle a?": "0"}
    assert source(where).waiting(InboxHistory())[1] == {}


def test_a_batch_that_is_not_what_its_marker_says_is_set_aside_and_the_others_are_used(
    where: str, put: Callable[[str, str], None], tmp_path: Path
):
    good = source(where).upload([rows(tmp_path / "a.jsonl", *riddles("Riddle"))], DAY)
    put("drops/2026-11-20-bad/b.jsonl", json.dumps({"question": "Bad?", "answer": 1}))
    stated = [{"path": "b.jsonl", "size": 33, "sha256": "0" * 64}]
    put(f"drops/2026-11-20-bad/{MARKER}", json.dumps({"files": stated}))
    taken = source(where).take(DRAW, InboxHistory())
    assert taken.drops == (good.name,)
    (message,) = taken.broken
    assert "drops/2026-11-20-bad/b.jsonl: damaged, its content is not what was stored" in message


def test_the_same_drop_by_hand_with_size_and_sha256_is_read(where: str, put: Callable[[str, str], None]):
    """As the documentation says: any tool can make one, the marker last."""
    text = json.dumps({"question": "By hand?", "answer": 1})
    stated = [{"path": "a.jsonl", "size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}]
    put("drops/2026-11-20-by-hand/a.jsonl", text)
    put(f"drops/2026-11-20-by-hand/{MARKER}", json.dumps({"files": stated}))
    assert asked(source(where)) == {"By hand?": "1"}


def test_dropping_twice_is_one_drop(where: str, tmp_path: Path):
    file = rows(tmp_path / "a.jsonl", *riddles("Riddle"))
    assert source(where).upload([file], DAY) == source(where).upload([file], DAY)
    assert len(batches.names(where)) == 1


def test_files_of_equal_names_and_sizes_with_other_content_are_another_drop(where: str, tmp_path: Path):
    first, second = riddles("Riddle", 3), riddles("Puzzle", 3)
    for each in (first, second):
        source(where).upload([rows(tmp_path / "a.jsonl", *each)], DAY)
    assert len(batches.names(where)) == 2
    assert asked(source(where)) == {row["question"]: str(row["answer"]) for row in (*first, *second)}


def test_parquet_files_give_the_same_tasks(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist([dict(row) for row in riddles("Riddle")]), tmp_path / "a.parquet")
    source(tmp_path / "one").upload([tmp_path / "a.parquet"], DAY)
    source(tmp_path / "other").upload([rows(tmp_path / "a.jsonl", *riddles("Riddle"))], DAY)
    assert asked(source(tmp_path / "one")) == asked(source(tmp_path / "other"))


# Wrong batches: what is said, and that the others are read
# --------------------------------------------------------------

GOOD: Row = {"question": "Good?", "answer": "yes"}
WRONG: list[tuple[str, str, str]] = [
    ("a.jsonl", '{"question": "No answer?", "answer": ""}', r"a\.jsonl:2: no answer in column 'answer'; 1 of 2 rows"),
    ("a.jsonl", '{"question": " ", "answer": "1"}', r"a\.jsonl:2: no text in column 'question'"),
    ("a.jsonl", '{"question": ', r"a\.jsonl:2: not JSON \(Expecting value"),
    ("a.jsonl", "[1]", r"a\.jsonl:2: list '\[1\]', where each line should be a JSON object"),
    ("a.csv", "", r"a\.csv: no file of rows that is known here\. Accepted: \.jsonl, \.parquet"),
    ("a.parquet", "", r"a\.parquet: cannot be read as Parquet"),
]


@pytest.mark.parametrize(("name", "line", "message"), WRONG)
def test_a_wrong_row_is_told_when_it_is_dropped_and_nothing_is_written(
    name: str, line: str, message: str, tmp_path: Path
):
    (tmp_path / name).write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(BadInput, match=message):
        source(tmp_path / "bucket").upload([tmp_path / name], DAY)
    assert not (tmp_path / "bucket").exists()


@pytest.mark.parametrize(("name", "line", "message"), WRONG)
def test_a_wrong_row_sets_its_drop_aside_with_the_place_that_was_dropped(
    name: str, line: str, message: str, tmp_path: Path
):
    bucket = tmp_path / "bucket"
    good = source(bucket).upload([rows(tmp_path / "good.jsonl", *riddles("Riddle"))], DAY)
    (tmp_path / name).write_text(f"{json.dumps(GOOD)}\n{line}\n")
    batches.write([tmp_path / name], str(bucket), date(2026, 11, 1))
    taken = source(bucket).take(DRAW)
    assert taken.drops == (good.name,)
    (found,) = taken.broken
    assert found.startswith(f"{bucket}/drops/2026-11-01-")
    with pytest.raises(BadInput, match=message):
        raise BadInput(found)


def test_names_that_cannot_be_drops_are_set_aside(tmp_path: Path):
    for name, marker in [("newest", '{"files": []}'), ("2026-11-21-a", "{"), ("2026-13-01-b", '{"files": []}')]:
        rows(tmp_path / "drops" / name / MARKER).write_text(marker)
    waiting, broken = source(tmp_path).waiting(InboxHistory())
    assert waiting == []
    assert "batch 'newest': its name does not start with a date. Name it 2026-11-21-newest." in broken["newest"]
    assert "2026-11-21-a/.complete.json: damaged. Remove " in broken["2026-11-21-a"]
    assert "its name does not start with a date" in broken["2026-13-01-b"]


def test_a_place_that_is_not_there_is_an_error_and_not_a_quiet_week(tmp_path: Path):
    with pytest.raises(BadInput, match=r"nowhere: no such folder .*Check tasks\.path"):
        source(tmp_path / "nowhere").take(DRAW)


def test_a_bucket_that_is_not_there_is_an_error(s3_prefix: str):
    with pytest.raises(StoreError, match="no bucket 'no-such-bucket'"):
        source("s3://no-such-bucket/drops").take(DRAW)


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    files = [rows(tmp_path / folder / "a.jsonl", GOOD) for folder in ("x", "y")]
    with pytest.raises(BadInput, match="two files of one name"):
        source(tmp_path / "bucket").upload(files, DAY)


def test_a_hidden_file_is_refused_at_upload(tmp_path: Path):
    with pytest.raises(BadInput, match=r"^\.a\.jsonl: a hidden file"):
        source(tmp_path / "bucket").upload([rows(tmp_path / ".a.jsonl", GOOD)], DAY)


# Feedback -------------------------------------------------------------------------------------------------------------

ASKED = "How many ants are two ants?"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"given": "2", "right": True}, "2"),
        ({"given": "3", "right": False, "answer": "2"}, "2"),
        ({"given": "3", "answer": 2}, "2"),
        ({"given": "two", "right": True, "answer": "2"}, "2"),
        ({"given": "3", "right": False}, None),
        ({"given": "", "right": False}, None),
        ({"given": "2", "right": True, "answer": None, "user": "anna"}, "2"),
    ],
)
def test_what_a_row_of_feedback_makes_the_correct_answer(said: Row, answer: str | None, tmp_path: Path):
    table = batches.read_file(rows(tmp_path / "a.jsonl", {"prompt": ASKED, **said}), "a.jsonl", COLUMNS)
    assert feedback(table)[0].answer == answer
    source(tmp_path / "bucket").upload([tmp_path / "a.jsonl"], DAY)
    assert asked(source(tmp_path / "bucket")) == ({ASKED: answer} if answer else {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"given": "2", "right": True}, r"a\.jsonl:2: neither 'task' nor 'prompt'\. Name the task by its id"),
        ({"task": "0" * 16, "prompt": "x", "given": "2", "right": True}, r":2: both 'task' and 'prompt'"),
        ({"prompt": ASKED, "given": "2"}, r":2: neither 'right' \(true or false\) nor the correct 'answer'"),
        ({"prompt": ASKED, "given": "2", "right": "yes"}, r":2: right: 'yes': should be true or false"),
        ({"prompt": ASKED, "given": "2", "right": 1}, r":2: right: 1: should be true or false"),
        ({"prompt": ASKED, "given": "", "right": True}, r":2: given: '': was right, and is empty"),
        ({"prompt": ASKED, "right": True}, r":2: no 'given'\. Add the answer that was given"),
        ({"prompt": ["x"], "given": "2", "right": True}, r":2: prompt: \['x'\]: should be text or a number"),
    ],
)
def test_a_wrong_row_of_feedback_is_told_by_place_value_and_fix(row: Row, message: str, tmp_path: Path):
    file = rows(tmp_path / "a.jsonl", {"prompt": "Fine?", "given": "1", "right": True}, row)
    with pytest.raises(BadInput, match=message):
        source(tmp_path / "bucket").upload([file], DAY)


def test_feedback_that_names_a_task_asks_it_as_it_was_asked(tmp_path: Path):
    block = source(tmp_path / "bucket", system="Be brief.", instruction="Why?")
    block.upload([rows(tmp_path / "a.jsonl", {"question": ASKED, "answer": "3"})], DAY)
    (task,) = (row.task for drop in block.waiting(InboxHistory())[0] for row in drop.rows)
    block.upload([rows(tmp_path / "b.jsonl", {"task": task.id, "given": "2", "right": True})], DAY)
    items = [row.task for drop in block.waiting(InboxHistory())[0] for row in drop.rows if row.corrects]
    assert [(each.messages, each.answer) for each in items] == [(task.messages, "2")]


def test_a_prompt_with_the_instruction_is_the_question_without_it(tmp_path: Path):
    block = source(tmp_path / "bucket", instruction="Why?")
    said = [{"prompt": p, "given": "2", "right": True} for p in (ASKED, f"{ASKED} Why?")]
    block.upload([rows(tmp_path / "a.jsonl", *said)], DAY)
    assert asked(block) == {f"{ASKED} Why?": "2"}


def test_feedback_on_a_task_that_nobody_knows_is_set_aside_until_the_task_comes(tmp_path: Path):
    block = source(tmp_path / "bucket")
    known = rows(tmp_path / "a.jsonl", {"question": ASKED, "answer": "3"})
    source(tmp_path / "elsewhere").upload([known], DAY)
    (task,) = (row.task for drop in source(tmp_path / "elsewhere").waiting(InboxHistory())[0] for row in drop.rows)
    named = rows(tmp_path / "b.jsonl", {"task": task.id, "given": "2", "right": True})
    early = batches.write([named], block.path, date(2026, 11, 1))
    assert (
        f"b.jsonl:1: task: '{task.id}': no round of this line and no batch has this task."
        in (block.waiting(InboxHistory())[1][early])
    )
    block.upload([known], DAY)
    assert block.waiting(InboxHistory())[1] == {}


def test_feedback_may_name_a_task_that_its_round_had_no_room_for(tmp_path: Path):
    """Such as a held-out one beyond `gate`: its batch is used up, and no plan has it."""
    block = source(tmp_path / "bucket")
    block.upload([rows(tmp_path / "a.jsonl", {"question": ASKED, "answer": "3"})], DAY)
    (batch,) = block.waiting(InboxHistory())[0]
    (task,) = (row.task for row in batch.rows)
    block.upload([rows(tmp_path / "b.jsonl", {"task": task.id, "given": "2", "right": True})], DAY)
    waiting, broken = block.waiting(InboxHistory(drops=frozenset([batch.name])))
    assert broken == {}
    assert [row.task.answer for each in waiting for row in each.rows] == ["2"]


def test_nothing_new_says_what_there_is_and_what_is_broken(tmp_path: Path):
    block = source(tmp_path, at_least=10)
    rows(tmp_path / "drops" / "newest" / MARKER).write_text('{"files": []}')
    block.upload([rows(tmp_path / "a.jsonl", *riddles("Riddle", 4))], DAY)
    with pytest.raises(NothingNew, match=r"4 new tasks in 1 batches .* takes 10 or more \(tasks\.at_least\)") as found:
        block.take(DRAW)
    assert "set aside: batch 'newest'" in str(found.value)
