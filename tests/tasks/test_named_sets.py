"""The tasks of named sets: the same in every round, and none that is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.records import Message, Task, named_set
from selftaught.tasks.contamination import require_disjoint
from selftaught.tasks.draw import prepare
from selftaught.tasks.past import InboxHistory
from selftaught.tasks.sources.jsonl import Jsonl
from selftaught.tasks.sources.word_problems import WordProblems

OWN = WordProblems(train=20, gate=10, report=10, guard=6, levels=(1,))
SETS = {"harder": WordProblems(train=1, gate=1, report=8, levels=(2,)), "ood": WordProblems(train=1, gate=1, report=5)}


def of(tasks: list[Task], name: str) -> list[Task]:
    return [task for task in tasks if task.split == named_set(name)]


def test_a_set_has_its_sources_report_tasks_in_order_after_the_recipes_own() -> None:
    tasks = prepare(OWN, Draw(campaign=3, round=4), sets={"harder": SETS["harder"]})
    assert [task.split for task in tasks[46:]] == [named_set("harder")] * 8
    assert tasks[:46] == prepare(OWN, Draw(campaign=3, round=4))


@settings(max_examples=10)
@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_a_set_is_the_same_in_every_round_of_a_campaign_and_shares_nothing_with_what_is_trained_on(
    campaign: int, one: int, other: int
) -> None:
    sets = {"harder": SETS["harder"]}
    rounds = [prepare(OWN, Draw(campaign=campaign, round=number), sets=sets) for number in (one, other)]
    assert of(rounds[0], "harder") == of(rounds[1], "harder")
    trained = {(task.template, task.operands) for tasks in rounds for task in tasks if task.split == "train"}
    assert not trained & {(task.template, task.operands) for task in of(rounds[0], "harder")}


def rows(folder: Path, count: int, **fields: Any) -> dict[str, Jsonl]:
    """A set of the `count` rows of a file."""
    said = ({"question": f"What is the {n}th word of text {n * 37}?", "answer": f"w{n}"} for n in range(count))
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    return {"own": Jsonl(path=folder / "a.jsonl", train=1, gate=1, **fields)}


def test_all_rows_of_a_set_may_be_its_tasks(tmp_path: Path) -> None:
    tasks = of(prepare(OWN, Draw(campaign=1, round=1), sets=rows(tmp_path, 12, report=12)), "own")
    assert {task.answer for task in tasks} == {f"w{n}" for n in range(12)}


def test_a_set_whose_rows_are_missing_or_too_few_is_told_by_its_name(tmp_path: Path) -> None:
    sets = rows(tmp_path, 3, report=4)
    with pytest.raises(BadInput, match=r"^sets\.own: .*a\.jsonl: has 3 different questions, of which .* 4"):
        prepare(OWN, Draw(campaign=1, round=1), sets=sets)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(BadInput, match=r"^sets\.own: .*a\.jsonl: no such file"):
        prepare(OWN, Draw(campaign=1, round=1), sets=sets)


def text(words: str, split: str) -> Task:
    return Task.model_validate({"messages": [Message(role="user", content=words)], "source": "a", "split": split})


@pytest.mark.parametrize("split", ["train", "gate", "report"])
def test_a_set_that_shares_a_task_with_another_fails_the_round(split: str) -> None:
    shared = text("How many apples are in the box?", split)
    with pytest.raises(RoundFailed, match=r"set\.ood .* and " + split):
        require_disjoint([shared, text("How many apples are in the box?", "set.ood")])
    require_disjoint([shared, text("Why is the sky blue?", "set.ood"), text("Why is the sky blue?", "set.other")])


def test_a_set_with_a_task_that_an_earlier_round_was_trained_on_fails_the_round() -> None:
    drawn = prepare(OWN, Draw(campaign=1, round=1), sets={"harder": SETS["harder"]})
    old = of(drawn, "harder")[0].model_copy(update={"split": "train"})
    with pytest.raises(RoundFailed, match="of earlier rounds: 1 of"):
        prepare(OWN, Draw(campaign=1, round=2), InboxHistory(assigned=[old]), {"harder": SETS["harder"]})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Check sets.harder.tasks.path."),
        ({"path": "one.jsonl", "question": "q"}, "no column 'q' (sets.harder.tasks.question)"),
    ],
)
def test_what_is_wrong_with_its_rows_names_its_own_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.jsonl").write_text('{"question": "1?", "answer": "1"}\n')
    source = Jsonl.model_validate({"type": "jsonl", "path": "tasks.jsonl", "train": 1, "gate": 1, "report": 1} | fields)
    with pytest.raises(BadInput) as raised:
        prepare(OWN, Draw(campaign=1, round=1), sets={"harder": source})
    assert words in str(raised.value) and "sets.harder.tasks.jsonl" not in str(raised.value)
