"""Pools of rows: who has used a problem for what is never forgotten, whatever is added to the file."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.core.errors import BadInput, RoundFailed
from selftaught.records import Message, Split, Task
from selftaught.tasks.contamination import require_disjoint
from selftaught.tasks.draw import prepare
from selftaught.tasks.lean import LeanTask
from selftaught.tasks.past import InboxHistory
from selftaught.tasks.sources.jsonl import Jsonl
from selftaught.tasks.sources.pools import pools
from selftaught.tasks.splits import Bare
from tests.tasks.test_sameness import BOILERPLATE, NEAR_COPIES, nonsense

SOURCE = Jsonl(path=Path("none"), train=1, gate=1, report=1)
RUNS = nonsense(160, 13)
FAMILIES = [[f"{run} {end}" for end in nonsense(5, 3, seed=n)] for n, run in enumerate(RUNS)]
"""800 problems in families of five, each of which shares thirteen words."""
EVERY = [text for family in FAMILIES for text in family]


def shared_out(texts: Iterable[str], past: Sequence[Task] = (), **own: Sequence[str]) -> dict[str, Split]:
    """The set of each text that has one."""
    given_: dict[Split, list[Bare]] = {"train": list(map(Bare, texts)), "gate": [], "report": [], "guard": []}
    for split in given_:
        given_[split] += map(Bare, own.get(split, ()))
    found = pools(SOURCE, given_, past).sets
    return {row.question: split for split, rows in found.items() for row in rows}


def used(sets: dict[str, Split]) -> list[Task]:
    return [
        Task(messages=SOURCE.messages(text), source="jsonl", answer="1", split=split) for text, split in sets.items()
    ]


def moved(before: dict[str, Split], after: dict[str, Split]) -> int:
    return sum(after.get(text, split) != split for text, split in before.items())


def test_a_family_is_in_one_set_and_every_set_has_some():
    sets = shared_out(EVERY)
    assert len(sets) == 800
    assert all(len({sets[text] for text in family}) == 1 for family in FAMILIES)
    assert set(sets.values()) == {"train", "gate", "report"}


def test_the_same_question_with_other_spaces_and_marks_is_in_one_set():
    """As two exports of one data set have it; too short to share thirteen words."""
    asked = [f"What is {text}, in a word?" for text in nonsense(200, 4, seed=7)]
    sets = shared_out([*asked, *(text.replace("?", " ?").replace(",", " ,") for text in asked)])
    assert all(sets[text] == sets[text.replace("?", " ?").replace(",", " ,")] for text in asked)


def test_rows_that_link_families_move_none_of_what_was_used():
    before = shared_out(EVERY)
    links = [f"{one} {other}" for one, other in itertools.pairwise(RUNS)]
    after = shared_out([*links, *EVERY], used(before))
    assert moved(before, after) == 0
    assert len(after) >= len(before)
    between = [link for link, (one, other) in zip(links, itertools.pairwise(FAMILIES), strict=True)
               if before[one[0]] != before[other[0]]]  # fmt: skip
    assert between
    assert not set(between) & set(after)


def test_a_variant_that_sorts_first_follows_its_family():
    before = shared_out(EVERY)
    variants = {f"{run} aaa": family[0] for run, family in zip(RUNS, FAMILIES, strict=True)}
    after = shared_out([*variants, *EVERY], used(before))
    assert moved(before, after) == 0
    assert all(after[variant] == before[member] for variant, member in variants.items())


def test_what_was_not_used_follows_what_was():
    """A round draws some of a family; the others are not free to go elsewhere."""
    before = shared_out(EVERY)
    some = used({family[0]: before[family[0]] for family in FAMILIES})
    links = [f"{one} {other}" for one, other in itertools.pairwise(RUNS)]
    after = shared_out([*links, *EVERY], some)
    assert moved(before, after) == 0


def test_what_an_earlier_round_was_trained_on_is_held_out_by_no_file():
    text, near = NEAR_COPIES[2]
    trained = used({text: "train"})
    assert "gate" not in shared_out([], trained, gate=[text, near]).values()
    assert shared_out([], trained, gate=[near, "How deep is the lake?"]) == {"How deep is the lake?": "gate"}


def test_what_was_gated_on_is_not_trained_on_though_its_file_is_gone():
    text, near = NEAR_COPIES[2]
    assert shared_out([text, near], used({text: "gate"})) == {text: "gate", near: "gate"}
    assert shared_out([text, near], used({text: "gate"}), gate=["How deep is the lake?"]) == {
        "How deep is the lake?": "gate"
    }


WORDS = st.lists(st.sampled_from(["ants", "bees", "cats", "7"]), min_size=12, max_size=16).map(" ".join)


@settings(max_examples=40)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=2, max_size=4), st.booleans())
def test_no_version_of_a_file_gives_a_problem_to_training_and_to_a_held_out_set(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[str]], grows: bool
):
    """Whether rows are added or replaced; a draw that takes all there is, or a part, is what the line has used."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    fill = [f"Riddle {''.join(letters)}?" for letters in itertools.product("abcdefgh", repeat=2)]
    rows: list[str] = []
    everything: list[Task] = []
    for number, version in enumerate(versions):
        rows = [*version, *rows] if grows else version
        path.write_text("".join(json.dumps({"question": text, "answer": "1"}) + "\n" for text in [*rows, *fill]))
        source = Jsonl(path=path, train=20, gate=8, report=8)
        everything += prepare(source, Draw(1, number), InboxHistory(assigned=everything))
    require_disjoint(everything)
    sets = {(task.question, task.split) for task in everything}
    assert len(sets) == len({question for question, _ in sets})


def test_a_held_out_task_that_any_round_of_the_line_was_trained_on_fails_the_round():
    """Of any source: generators too are asked for nothing that an earlier file had."""
    text, near = NEAR_COPIES[2]

    class Generated(Jsonl):
        def take(self, *_: Any) -> Any:
            from selftaught.tasks.past import TaskDraw

            return TaskDraw(used({"What is it?": "train", near: "gate", "Where?": "report"}))

    source = Generated(path=Path("none"), train=1, gate=1, report=1)
    assert len(prepare(source, Draw(1, 1), InboxHistory(assigned=used({text: "gate"})))) == 3
    with pytest.raises(RoundFailed, match=r"of earlier rounds: 1 of 2 tasks share a run of 13 words"):
        prepare(source, Draw(1, 1), InboxHistory(assigned=used({text: "train"})))


# What the rows of real files look like --------------------------------------------------------------------------------


def rows(path: Path, texts: Iterable[str], **sizes: Any) -> Jsonl:
    path.write_text("".join(json.dumps({"question": text, "answer": "1"}) + "\n" for text in texts))
    return Jsonl.model_validate({"train": 8, "gate": 2, "report": 2, "path": path, **sizes})


@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_boilerplate_in_half_of_its_rows_gives_every_set_and_passes_the_check(tmp_path: Path, seed: int):
    texts = [f"{BOILERPLATE}: {text}" if n % 2 else text for n, text in enumerate(nonsense(60, 10, seed))]
    assert len(prepare(rows(tmp_path / "a.jsonl", texts, gate=4, report=4), Draw(seed, seed))) == 16


def test_a_file_of_plain_sums_gives_every_set_and_none_has_the_sum_of_another(tmp_path: Path):
    sums = [f"What is {a} + {b}?" for a, b in itertools.product(range(1, 11), range(1, 11))]
    tasks = prepare(rows(tmp_path / "a.jsonl", sums, train=40, gate=10, report=10), Draw(1, 2))
    numbers = [(tuple(sorted(task.question[8:-1].split(" + "))), task.split) for task in tasks]
    assert len(set(numbers)) == len({pair for pair, _ in numbers})


def test_rows_that_differ_in_the_form_of_their_characters_are_one_row_and_those_of_other_values_are_two(tmp_path: Path):
    block = rows(tmp_path / "a.jsonl", ["Caf\u00e9?", "Cafe\u0301?", "What is .5 + 1?", "What is 5 + 1?", "7!", "7."])
    assert [each.question for each in block.problems(block.table())] == [
        "Caf\u00e9?", "What is .5 + 1?", "What is 5 + 1?", "7!", "7."
    ]  # fmt: skip


def test_too_few_problems_are_told_with_the_rows_that_are_one(tmp_path: Path):
    run = RUNS[0]
    block = rows(tmp_path / "a.jsonl", [*(f"{run} {end}" for end in nonsense(6, 3)), "Where?"])
    with pytest.raises(
        BadInput, match=r"6 of 7 rows are one problem with others; the most, 6, .* \(both say '"
    ) as found:
        block.draw(Draw(1, 2))
    assert " ".join(run.split()[:5]) in str(found.value)


@pytest.mark.parametrize("split", ["gate", "report"])
def test_what_was_trained_on_under_another_instruction_is_not_held_out(tmp_path: Path, split: Split):
    """Short questions, which the instruction would make others of; a file of a set's own names them later."""
    rows = [{"question": f"What is {text}?", "answer": "1"} for text in nonsense(120, 3, seed=3)]
    file, own = tmp_path / "rows.jsonl", tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"train": 30, "gate": 5, "report": 5, "path": file}
    before = Jsonl.model_validate({**sizes, "instruction": "End with the answer."})
    trained = [LeanTask.of(t, before.instruction) for t in prepare(before, Draw(1, 2)) if t.split == "train"]
    known = {before.asked(task.question) for task in trained}
    own.write_text("".join(json.dumps(row) + "\n" for row in rows if row["question"] in known))
    block = Jsonl.model_validate({**sizes, "instruction": "Say a number.", f"{split}_path": own})
    with pytest.raises(BadInput, match=f"{split} has 0 and asks for 5"):
        prepare(block, Draw(1, 3), InboxHistory(assigned=trained))


def test_a_held_out_task_that_was_trained_on_under_another_instruction_is_told(tmp_path: Path):
    task = Task(messages=SOURCE.messages("How many bees?"), source="jsonl", answer="7")
    earlier = Message(role="user", content="How many bees? Say a number.")
    trained = LeanTask.of(Task(messages=(earlier,), source="jsonl"), "Say a number.")
    block = SOURCE.model_copy(update={"instruction": "Think first."})
    held_out = task.model_copy(update={"messages": block.messages("How many bees?"), "split": "report"})
    with pytest.raises(RoundFailed, match=f"report {held_out.id} and train {trained.id}"):
        require_disjoint([held_out], trained=[block.asked_now(trained)])
