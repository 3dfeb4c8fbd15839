"""A round's answers are shown and exported with what was said of them: all of them, or those that were asked for."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from selftaught.cli.main import app
from selftaught.lines.rollouts import SCHEMA, row
from selftaught.platform import Platform
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict, dataset
from selftaught.records.parquet import write_rows
from selftaught.report.data import DatasetRef
from selftaught.state.round_key import RoundKey
from tests.plans import end_round
from tests.registry_made import LINE, Registry
from tests.report.sample_report import sample

pytest_plugins = ["tests.registry_fixtures"]


def answered(question: str, *answers: tuple[str, bool | None]) -> Group:
    """A group whose answers passed, failed, or could not be judged (None)."""
    task = Task(messages=(Message(role="user", content=question),), answer="5", source="test")
    rollouts = tuple(
        Rollout(task=task.id, index=at, model="m" * 64, turns=(Turn(content=text, token_ids=(1, 2)),), temperature=0.7)
        for at, (text, _) in enumerate(answers)
    )
    verdicts = tuple(
        (Verdict.errored("v", "no time") if right is None else Verdict.of("v", right, "looked at"),)
        for _, right in answers
    )
    return Group(task=task, rollouts=rollouts, verdicts=verdicts)


FIRST = answered("2 + 3?", ("It is 5.", True), ("It is 6.\x1b[2J", False))
SECOND = answered("Größe?\u202e", ("“5”", None), ("[red]5[/red]", True))


@pytest.fixture(autouse=True)
def rounds(registry: Registry, tmp_path: Path) -> None:
    """The line has finished two rounds; of the first the verified groups are gone."""
    platform, found = Platform.open(), sample(2)
    made = dataset.write(tmp_path / "verified", [FIRST, SECOND], "groups")
    platform.store.put("datasets", made.digest, tmp_path / "verified")
    ended = tuple(
        report.model_copy(update={"datasets": (DatasetRef(kind="verified", digest=digest, rows=2),)})
        for report, digest in zip(found.rounds, ("c" * 64, made.digest), strict=True)
    )
    for report in ended:
        page = found.model_copy(update={"line": LINE, "rounds": (report,)})
        end_round(platform.store, RoundKey(LINE, "weekly", report.round), page)


def ran(*command: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, ["rollouts", *command])
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


def shown(*options: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran("show", LINE, "--json", *options).stdout.splitlines()]


def said(rows: list[dict[str, Any]]) -> list[str]:
    return [row["completion"][-1]["content"] for row in rows]


def test_every_answer_of_the_last_round_is_shown_with_its_verdict():
    rows = shown()
    assert said(rows) == [rollout.text for group in (FIRST, SECOND) for rollout in group.rollouts]
    assert [row["passed"] for row in rows] == [True, False, False, True]
    assert [row["verdicts"][0]["error"] for row in rows] == [None, None, "no time", None]


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (("--passed",), ["It is 5.", "[red]5[/red]"]),
        (("--failed",), ["It is 6.\x1b[2J", "“5”"]),
        (("--task", SECOND.id[:10]), ["“5”", "[red]5[/red]"]),
        (("--task", SECOND.id, "--passed"), ["[red]5[/red]"]),
        (("--limit", "1"), ["It is 5."]),
        (("--round", "2", "--limit", "1"), ["It is 5."]),
    ],
)
def test_those_that_are_asked_for_are_shown(options: tuple[str, ...], texts: list[str]):
    assert said(shown(*options)) == texts


def test_what_a_model_wrote_drives_no_terminal():
    printed = ran("show", LINE).stdout
    assert "assistant: It is 6.⟨U+001B⟩[2J" in printed and "\x1b[2J" not in printed
    assert "assistant: [red]5[/red]" in printed and "user: Größe?⟨U+202E⟩" in printed
    assert "v could not judge: no time" in printed and "v failed: looked at" in printed


def test_json_lines_hold_what_was_said_to_the_letter(tmp_path: Path):
    to = tmp_path / "rollouts.jsonl"
    assert ran("export", LINE, "--to", str(to)).stdout == f"{to}: 4 rollouts of round 2\n"
    rows = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    assert rows == shown()
    assert rows[2]["prompt"] == [{"role": "user", "content": "Größe?\u202e"}]
    assert "token_ids" not in to.read_text()


def test_a_folder_is_a_data_set_of_hugging_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    datasets = pytest.importorskip("datasets")
    to = tmp_path / "rollouts"
    assert json.loads(ran("export", LINE, "--to", str(to), "--json").stdout)["rollouts"] == 4
    read = datasets.load_dataset(str(to), split="train", cache_dir=str(tmp_path / "cache"))
    assert list(read) == shown()
    card = (to / "README.md").read_text()
    assert f"Rollouts of {LINE}, round 2" in card and "4 answers" in card


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--round", "1"), "the rollouts of round 1 are not in the store any more (cccccccc). `gc` keeps them"),
        (("--round", "7"), "campaign 'weekly' has no finished round 7. It has 1, 2."),
        (("--task", "zz"), "round 2 has no such rollouts."),
        (("--campaign", "daily"), "campaign 'daily' has no finished round"),
    ],
)
@pytest.mark.parametrize("command", ["show", "export"])
def test_rollouts_that_are_not_there_are_told_of(command: str, options: tuple[str, ...], message: str, tmp_path: Path):
    to = tmp_path / "x.jsonl"
    where = ("--to", str(to)) if command == "export" else ()
    assert message in ran(command, LINE, *where, *options, code=1).stderr
    assert not to.exists()


def test_nothing_that_is_there_is_written_over_but_a_file_of_lines(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").touch()
    assert "is there already" in ran("export", LINE, "--to", str(tmp_path / "mine"), code=1).stderr
    assert (tmp_path / "mine" / "kept").exists()
    assert "Name *.jsonl, or a folder" in ran("export", LINE, "--to", str(tmp_path / "x.csv"), code=1).stderr
    (tmp_path / "x.jsonl").write_text("mine")
    ran("export", LINE, "--to", str(tmp_path / "x.jsonl"), "--task", "zz", code=1)
    assert (tmp_path / "x.jsonl").read_text() == "mine"


def test_calls_of_tools_are_exported_in_openais_form(tmp_path: Path):
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns = [
        Turn.from_row({"kind": "action", "content": "", "tool_calls": [call]}),
        Turn(role="tool", kind="tool", content="5", tool_call_id="c1"),
        Turn(content="It is 5."),
    ]
    rollout = FIRST.rollouts[0].model_copy(update={"turns": tuple(turns)})
    found = row(FIRST.task, rollout, FIRST.verdicts[0], passed=True)
    assert found["completion"] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is 5."},
    ]
    write_rows(tmp_path / "rows.parquet", SCHEMA, [found])
    (read,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [Message.from_row(each) for each in read["completion"]] == [turn.message for turn in turns]


def test_a_data_set_without_calls_of_tools_has_no_fields_for_them(tmp_path: Path):
    found = row(FIRST.task, FIRST.rollouts[0], FIRST.verdicts[0], passed=True)
    assert write_rows(tmp_path / "rows.parquet", SCHEMA, [found] * 1001) == 1001
    read = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(read) == 1001 and all(
        each["completion"] == [{"role": "assistant", "content": "It is 5."}] for each in read
    )
