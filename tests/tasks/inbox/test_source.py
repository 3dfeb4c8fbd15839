"""Which inbox tasks a round takes and which set each is in: for good, whatever comes later."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.blocks import Draw, Evidence
from selftaught.core.errors import NothingNew
from selftaught.evaluation.paired_gain import PairedGain
from selftaught.records import Split, Task, TaskScore, content_id
from selftaught.tasks.contamination import require_disjoint
from selftaught.tasks.inbox.source import Inbox, InboxHistory, TaskDraw
from selftaught.tasks.sources.jsonl import Jsonl
from selftaught.tasks.splits import pool, words
from tests.tasks.inbox.test_batches import Row, riddles, rows, source

DRAW = Draw(1, 2)


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket"


def drop(block: Inbox, *dropped: Row, on: str = "2026-11-21") -> str:
    file = rows(Path(block.path).with_name("files") / f"{content_id(dropped)}.jsonl", *dropped)
    return block.upload([file], date.fromisoformat(on)).name


def after(*rounds: TaskDraw) -> InboxHistory:
    """The past in which `rounds` have ended."""
    tasks = [task for taken in rounds for task in taken.tasks]
    return InboxHistory(tasks, tasks, frozenset(name for taken in rounds for name in taken.drops))


def sets(tasks: Iterable[Task]) -> dict[str, Split]:
    return {task.question: task.split for task in tasks}


# What is taken --------------------------------------------------------------------------------------------------------


def test_drops_wait_until_there_are_enough(bucket: Path):
    block = source(bucket, at_least=40)
    first = drop(block, *riddles("Riddle"))
    with pytest.raises(NothingNew):
        block.take(DRAW)
    second = drop(block, *riddles("Puzzle"))
    assert set(block.take(DRAW).drops) == {first, second}


@pytest.mark.parametrize("lacking", ["train", "gate", "report"])
def test_a_set_without_a_task_is_waited_for(lacking: str, bucket: Path):
    block = source(bucket, at_least=1)
    there = [row for row in riddles("Riddle") if pool(" ".join(words(row["question"]))) != lacking]
    drop(block, *there)
    with pytest.raises(NothingNew, match=f"0 {lacking}"):
        block.take(DRAW)


def test_drops_are_taken_whole_oldest_first_until_there_is_enough_to_train_on(bucket: Path):
    block = source(bucket, train=10)
    late = drop(block, *riddles("Late"), on="2026-11-22")
    early = drop(block, *riddles("Early"), on="2026-11-20")
    first = block.take(DRAW)
    assert first.drops == (early,)
    assert len(first.tasks) == 26
    assert block.take(DRAW, after(first)).drops == (late,)


def test_held_out_tasks_are_at_most_so_many(bucket: Path):
    block = source(bucket, gate=2, report=1)
    drop(block, *riddles("Riddle"))
    by_set = list(sets(block.take(DRAW).tasks).values())
    assert (by_set.count("gate"), by_set.count("report")) == (2, 1)


def test_what_was_seen_is_left_out_and_counted(bucket: Path):
    block = source(bucket)
    drop(block, *riddles("Riddle"))
    first = block.take(DRAW)
    again = [{"question": row["question"].upper(), "answer": "other"} for row in riddles("Riddle")]
    drop(block, *again, *riddles("Puzzle"))
    second = block.take(DRAW, after(first))
    assert set(sets(second.tasks)) == {row["question"] for row in riddles("Puzzle")}
    assert second.counts == {"new": 26, "duplicates": 26, "between sets": 0}


def test_a_correction_counts_where_its_question_was_seen_with_another_answer(bucket: Path):
    """And only where the question was trained on: what is held out stays as it was uploaded."""
    block = source(bucket)
    drop(block, *riddles("Riddle"))
    first = block.take(DRAW)
    items = [
        {"prompt": row["question"], "given": row["answer"], "right": False, "answer": "x"} for row in riddles("Riddle")
    ]
    said = [*items[:5], {"prompt": "Riddle f?", "given": 5, "right": True}]
    drop(block, *said)
    drop(block, *riddles("Puzzle"))
    second = block.take(DRAW, after(first))
    corrected = [task for task in second.tasks if task.question.startswith("Riddle")]
    trained = {question for question, split in sets(first.tasks).items() if split == "train"}
    assert {task.question: task.answer for task in corrected} == {
        question: "x" for question in (f"Riddle {c}?" for c in "abcde") if question in trained
    }
    assert sets(corrected).items() <= sets(first.tasks).items()


def test_a_correction_beats_a_task_that_was_not_used_yet(bucket: Path):
    block = source(bucket)
    drop(block, *riddles("Riddle"))
    drop(block, {"prompt": "Riddle a?", "given": "7", "right": True}, on="2026-11-22")
    answers = {task.question: task.answer for task in block.take(DRAW).tasks}
    assert answers["Riddle a?"] == "7"
    assert len(answers) == 26


# All that waits together ----------------------------------------------------------------------------------------------


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> int:
    """There is room for two batches of riddles, and not for three."""
    monkeypatch.setattr("selftaught.tasks.inbox.source.MOST_WAITING", 60)
    return 60


def test_drops_for_which_there_is_no_room_wait_for_those_before_them(bucket: Path, room: int):
    block = source(bucket, train=1000)
    names = [drop(block, *riddles(word), on=f"2026-11-2{n}") for n, word in enumerate(("A", "B", "C", "D"))]
    waiting, broken = block.waiting(InboxHistory())
    assert broken == {}
    assert [(each.name, len(each.rows), each.tasks) for each in waiting] == [
        (name, rows, 26) for name, rows in zip(names, (26, 26, 0, 0), strict=True)
    ]
    first = block.take(DRAW)
    assert first.drops == tuple(names[:2])
    assert block.take(DRAW, after(first)).drops == tuple(names[2:])


def test_a_small_drop_goes_before_one_for_which_there_is_no_room(bucket: Path, room: int):
    block = source(bucket, train=1000)
    names = [drop(block, *riddles(word), on=f"2026-11-2{n}") for n, word in enumerate(("A", "B", "C"))]
    small = drop(block, *riddles("D", 8), on="2026-11-29")
    assert block.take(DRAW).drops == (*names[:2], small)


def test_where_what_has_room_makes_no_round_it_is_told_that_others_wait(bucket: Path, room: int):
    block = source(bucket, at_least=70)
    for n, word in enumerate(("A", "B", "C")):
        drop(block, *riddles(word), on=f"2026-11-2{n}")
    with pytest.raises(NothingNew, match="52 new tasks in 3 batches") as found:
        block.take(DRAW)
    assert "1 of the batches were not read: they wait for those before them" in str(found.value)


def test_what_was_asked_before_takes_no_room_and_is_counted(bucket: Path, room: int):
    """However often it is uploaded again."""
    block = source(bucket)
    drop(block, *riddles("A"))
    first = block.take(DRAW)
    for day in range(4):
        drop(block, *riddles("A"), on=f"2026-12-0{day + 1}")
    drop(block, *riddles("B"), on="2026-12-09")
    second = block.take(DRAW, after(first))
    assert {task.question[0] for task in second.tasks} == {"B"}
    assert second.counts == {"new": 26, "duplicates": 4 * 26, "between sets": 0}


def test_feedback_that_piles_up_keeps_out_no_tasks(bucket: Path, room: int):
    """They are what it waits for."""
    block = source(bucket)
    said = [drop(block, *wrong(*asked_in(riddles(word))), on=f"2026-11-2{n}") for n, word in enumerate("ABCD")]
    tasks = drop(block, *riddles("T"), on="2026-11-29")
    first = block.take(DRAW)
    assert first.drops == (*said[:2], tasks)
    more = drop(block, *riddles("U"), on="2026-11-30")
    assert block.take(DRAW, after(first)).drops == (*said[2:], more)


def test_a_watch_looks_at_the_newest_for_which_there_is_room(bucket: Path, room: int):
    block = source(bucket)
    for n, word in enumerate(("A", "B", "C", "D")):
        drop(block, *riddles(word), on=f"2026-11-2{n}")
    assert {task.question[0] for task in block.held_out(InboxHistory())} == {"C", "D"}


# Feedback is trained on and nothing else ------------------------------------------------------------------------------


def wrong(*questions: str) -> list[Row]:
    """Feedback: the model answered each of `questions` wrong, and somebody says what is right."""
    return [{"prompt": question, "given": "0", "right": False, "answer": "right"} for question in questions]


def puzzles(word: str, count: int) -> list[Row]:
    """So many problems that share no words, as `riddles` are."""
    return [
        row for letters in itertools.product("abcdefghijklmnop", repeat=2) for row in riddles(word + "".join(letters))
    ][:count]


def asked_in(rows: Iterable[Row]) -> list[str]:
    return [row["question"] for row in rows]


def test_feedback_alone_gives_no_held_out_task_and_the_round_waits_for_some(bucket: Path):
    """However much of it there is: three hundred answers that were wrong."""
    block = source(bucket)
    drop(block, *wrong(*asked_in(puzzles("Q", 300))))
    with pytest.raises(NothingNew, match=r"300 train, 0 gate, 0 report.*\n  feedback is trained on and never held out"):
        block.take(DRAW)
    assert block.held_out(InboxHistory()) == []


def test_beside_tasks_all_feedback_is_trained_on_and_the_tasks_fill_every_set(bucket: Path):
    block, tasks = source(bucket), puzzles("T", 200)
    drop(block, *tasks)
    drop(block, *wrong(*asked_in(puzzles("Q", 100))), on="2026-11-20")
    taken = block.take(DRAW)
    assert {task.split for task in taken.tasks if task.origin == "feedback"} == {"train"}
    assert [task.origin for task in taken.tasks].count("feedback") == 100
    alone = source(bucket.parent / "alone")
    drop(alone, *tasks)
    assert held_out(taken.tasks) == held_out(alone.take(DRAW).tasks)


def held_out(tasks: Iterable[Task]) -> set[tuple[str, str, Split]]:
    return {(task.question, task.answer or "", task.split) for task in tasks if task.split != "train"}


@settings(max_examples=25)
@given(st.sets(st.integers(0, 25)), st.sampled_from(["2026-11-20", "2026-11-21", "2026-11-22"]), st.booleans())
def test_no_feedback_adds_removes_or_alters_a_held_out_task(
    tmp_path_factory: pytest.TempPathFactory, about: set[int], on: str, used: bool
):
    """Whether it comes before or after its tasks, and whether they were used before or not."""
    (folder := tmp_path_factory.mktemp("drops") / "said" / "bucket").mkdir(parents=True)
    said, unsaid = source(folder), source(folder.parent.with_name("unsaid") / "bucket")
    rows, others = riddles("Riddle"), riddles("Puzzle")
    past: dict[str, InboxHistory] = {}
    for block in (said, unsaid):
        drop(block, *rows)
        past[block.path] = after(block.take(DRAW)) if used else InboxHistory()
        drop(block, *others, on="2026-11-23")
    about_rows = asked_in(rows[n] for n in sorted(about))
    if about_rows:
        drop(said, *wrong(*about_rows), on=on)
    with_feedback, without = (block.take(DRAW, past[block.path]).tasks for block in (said, unsaid))
    assert held_out(with_feedback) == held_out(without)
    assert {task.split for task in with_feedback if task.origin == "feedback"} <= {"train"}
    watched = {task.question for task in said.held_out(past[said.path])}
    assert watched == {task.question for task in unsaid.held_out(past[unsaid.path])}


def test_a_question_of_a_gate_task_stays_there_and_is_not_taken_again_into_a_gate(bucket: Path):
    block = source(bucket)
    drop(block, *riddles("Riddle"))
    first = block.take(DRAW)
    gate = [task.question for task in first.tasks if task.split == "gate"]
    drop(block, *wrong(*gate))
    drop(block, *riddles("Puzzle"))
    second = block.take(DRAW, after(first))
    assert not set(gate) & {task.question for task in second.tasks}
    assert second.counts["between sets"] == len(gate)
    assert not set(gate) & {task.question for task in block.held_out(after(first))}


def test_feedback_that_was_trained_on_stays_in_training_in_another_campaign_and_as_a_task(bucket: Path):
    block = source(bucket)
    drop(block, *wrong(*asked_in(riddles("Riddle"))))
    drop(block, *riddles("Puzzle"))
    first = block.take(DRAW)
    drop(block, *riddles("Riddle"), on="2026-11-22")
    anew = block.take(DRAW, InboxHistory(assigned=first.tasks))
    assert {task.split for task in anew.tasks if task.question.startswith("Riddle")} == {"train"}


def test_with_feedback_in_the_drops_an_equal_model_is_promoted_as_seldom_as_promised(
    tmp_path_factory: pytest.TempPathFactory,
):
    """The real draws and the real gate on a model that answers as well as the champion, and feedback that complains.

    Both are right three times in five and part on one task in five; users tell of what the champion got wrong.
    """
    promoted = 0
    for number in range(NULL_ROUNDS):
        random, block = Random(number), source(tmp_path_factory.mktemp("null") / "bucket")
        rows = puzzles("N", 800)
        right = {question: random.random() < 0.6 for question in asked_in(rows)}
        complained = [question for question in asked_in(rows[200:]) if not right[question]]
        drop(block, *rows[:200])
        drop(block, *wrong(*complained))
        gate = [task for task in block.take(DRAW).tasks if task.split == "gate"]
        promoted += decided(number, [(right[task.question], equal(right[task.question], random)) for task in gate])
    assert promoted <= 0.025 * NULL_ROUNDS + 3 * (0.025 * NULL_ROUNDS) ** 0.5


NULL_ROUNDS = 40


def equal(right: bool, random: Random) -> bool:
    """What a model of the same accuracy (0.6) makes of a task that the champion has `right`: one in five is another."""
    return random.random() >= 1 / 6 if right else random.random() < 1 / 4


def decided(seed: int, answers: Sequence[tuple[bool, bool]]) -> bool:
    """Whether the gate promotes the second of two models on what they have right; both do as well on the guard."""
    sets: dict[Split, Sequence[tuple[bool, bool]]] = {
        "gate": answers,
        "guard": [(n % 2 == 0, n % 2 == 0) for n in range(120)],
    }
    scores = [
        TaskScore(
            model=model, metric="accuracy", split=split, task=f"{n}", value=float(pair[which]), question="", source=""
        )
        for split, pairs in sets.items()
        for n, pair in enumerate(pairs)
        for which, model in enumerate(("champion", "challenger"))
    ]
    evidence = Evidence("champion", "challenger", scores, round=1, fresh=True, seed=seed)
    return PairedGain(metric="accuracy").decide(evidence).outcome == "promoted"


# Which set ------------------------------------------------------------------------------------------------------------


def test_a_question_is_in_the_set_in_which_the_file_source_has_it(bucket: Path):
    """A line that was trained on a file resumes drops."""
    file = rows(bucket.parent / "all.jsonl", *[row for word in ("A", "B", "C", "D") for row in riddles(word)])
    filed = Jsonl(path=file, train=50, gate=15, report=15, instruction="Why?").draw(DRAW)
    block = source(bucket, instruction="Why?")
    block.upload([file], date(2026, 11, 21))
    assert sets(filed).items() <= sets(block.take(DRAW).tasks).items()


@settings(max_examples=25)
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=6, unique=True), st.booleans())
def test_the_same_problem_with_other_numbers_stays_in_its_set(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], split_by_template: bool
):
    """It comes in later batches, and its own text would often put it elsewhere."""
    (bucket := tmp_path_factory.mktemp("drops") / "bucket").mkdir()
    block = source(bucket, template="kind" if split_by_template else None)
    taken: list[TaskDraw] = []
    for index, number in enumerate(numbers):
        text = f"{index} little ships" if split_by_template else "A ship"
        same = {"question": f"{text} has {number} masts. How many?", "answer": number, "kind": "ships"}
        fill = [{**row, "kind": row["question"]} for row in riddles(f"R{'abcdef'[index]}")]
        drop(block, same, *fill)
        taken.append(block.take(DRAW, after(*taken)))
    ships = [task.split for round in taken for task in round.tasks if "masts" in task.question]
    assert len(ships) == len(numbers)
    assert len(set(ships)) == 1
    require_disjoint([task for round in taken for task in round.tasks])


def test_a_problem_between_two_sets_is_in_none(bucket: Path):
    """It shares thirteen words with a training task and thirteen others with a gate task."""
    one, other = (" ".join(f"{letter}{i}" for i in "abcdefghijklm") for letter in ("x", "y"))
    ends = itertools.product("abcdefghij", repeat=2)
    texts = [f"{one} {a}{b}" for a, b in ends]
    train = next(text for text in texts if pool(text) == "train")
    gate = next(text for text in (f"{other} {text[-2:]}" for text in texts) if pool(text) == "gate")
    block = source(bucket)
    drop(block, {"question": train, "answer": 1}, {"question": gate, "answer": 1}, *riddles("Riddle"))
    first = block.take(DRAW)
    assert {"train", "gate"} == {sets(first.tasks)[text] for text in (train, gate)}
    drop(block, {"question": f"{one} {other}", "answer": 1}, *riddles("Puzzle"))
    second = block.take(DRAW, after(first))
    assert f"{one} {other}" not in sets(second.tasks)
    assert second.counts["between sets"] == 1


@settings(max_examples=30)
@given(st.data())
def test_no_question_is_ever_in_training_and_held_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Over rounds that failed too: their challengers were trained. Words are few, so that runs are often shared."""
    (bucket := tmp_path_factory.mktemp("drops") / "bucket").mkdir()
    block, word = source(bucket), st.sampled_from(["ants", "bees", "cats", "7"])
    asked = st.lists(word, min_size=12, max_size=16).map(lambda found: {"question": " ".join(found), "answer": "1"})
    fixed: list[TaskDraw] = []
    ended: list[TaskDraw] = []
    for number in range(data.draw(st.integers(2, 4))):
        drop(block, *data.draw(st.lists(asked, min_size=1, max_size=8)), *riddles(f"R{'abcd'[number]}"))
        past = InboxHistory(after(*fixed).assigned, after(*ended).seen, after(*ended).drops)
        fixed.append(block.take(DRAW, past))
        ended += fixed[-1:] if data.draw(st.booleans()) else []
    everything = [task for taken in fixed for task in taken.tasks]
    require_disjoint(everything)
    held_out = {task.question for task in everything if task.split != "train"}
    assert not held_out & {task.question for task in everything if task.split == "train"}


# The guard ------------------------------------------------------------------------------------------------------------


def test_guard_tasks_come_from_a_source_of_their_own_and_are_not_trained_on(bucket: Path):
    guard = {"type": "word_problems", "train": 1, "gate": 1, "report": 1, "guard": 4}
    block = source(bucket, guard=3, guard_from=guard)
    leaked: Sequence[Task] = [t for t in block.guard_from.draw(DRAW) if t.split == "guard"] if block.guard_from else []
    drop(block, {"question": leaked[0].question, "answer": "1"}, *riddles("Riddle"))
    taken = block.take(DRAW)
    assert [task.split for task in taken.tasks].count("guard") == 3
    assert taken.counts["between sets"] == 1
    require_disjoint(taken.tasks)


@pytest.mark.parametrize("fields", [{}, {"guard_from": {"type": "word_problems", "train": 1, "gate": 1, "report": 1}}])
def test_guard_tasks_without_enough_of_them_are_refused(bucket: Path, fields: Any):
    with pytest.raises(ValidationError, match=r"guard: 3 asks for guard tasks; .* in guard_from"):
        source(bucket, guard=3, **fields)


def test_equal_drops_give_equal_tasks(bucket: Path, tmp_path: Path):
    """On another machine, in another order of arrival."""
    other = source(tmp_path / "other")
    batches = [riddles(word) for word in ("A", "B", "C")]
    for block, order in ((source(bucket), batches), (other, batches[::-1])):
        for batch in order:
            drop(block, *batch, on=f"2026-11-{10 + batches.index(batch)}")
    assert source(bucket).draw(DRAW) == other.draw(DRAW)
