"""Contamination: planted overlaps are found and named; templates that are shared on purpose are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Message, Segment, Split, Task
from selftaught.tasks.contamination import check_examples, overlaps, require_disjoint
from tests.examples import imitated

LONG = "A farmer drives 12 sheep over the hill to the market and sells 5 of them there before noon."


def task(text: str, split: Split = "train", template: str | None = None, operands: tuple[str, ...] = ()) -> Task:
    message = Message(role="user", content=text)
    return Task(messages=(message,), answer="1", source="test", split=split, template=template, operands=operands)


def example(of: Task, prompt: str) -> Example:
    return imitated(prompt, "7", task=of.id)


def test_equal_text_is_found_whatever_its_case_white_space_and_punctuation():
    findings = overlaps([task("What is  2 + 3?")], [task("what is 2 + 3", "gate")])
    assert "have the text of" in findings[0]


def test_another_operator_is_another_text():
    assert overlaps([task("2 + 3 ?")], [task("2 - 3 ?", "gate")]) == []


def test_equal_operands_in_other_order_are_found_under_another_story():
    one = task("Tom has 3 and buys 4.", template="buy", operands=("3", "4"))
    other = task("Ann has 4 and buys 3.", "gate", template="buy", operands=("4", "3"))
    assert ["template and operands" in finding for finding in overlaps([one], [other])] == [True]


def test_a_shared_template_with_other_operands_is_no_overlap():
    train = [task(LONG.replace("12", str(n)), template="farm", operands=(str(n), "5")) for n in range(20, 40)]
    gate = [task(LONG.replace("12", str(n)), "gate", template="farm", operands=(str(n), "5")) for n in range(60, 80)]
    assert overlaps(train, gate) == []


def test_the_same_words_with_other_numbers_are_found_where_there_is_no_template():
    findings = overlaps([task(LONG)], [task(LONG.replace("12", "31"), "gate")])
    assert len(findings) == 1
    assert "share a run of 13 words" in findings[0]


@given(st.integers(0, 5), st.integers(0, 6))
def test_a_run_counts_from_thirteen_words_on(shared: int, extra: int):
    words = [f"w{chr(97 + i)}" for i in range(13)]
    one, other = (
        " ".join([*words, "end"]),
        " ".join(["start", *words[: 13 - shared], *("x" * (i + 1) for i in range(extra))]),
    )
    assert bool(overlaps([task(one)], [task(other, "gate")])) == (shared == 0)


def test_an_instruction_that_every_task_ends_with_is_no_overlap():
    end = "Think step by step and give the final answer as one whole number at the very end of your text."
    train = [task(f"Count the {word}. {end}") for word in ("oaks", "elms", "firs")]
    assert overlaps(train, [task(f"Count the pines. {end}", "gate")]) == []


def test_findings_are_counted_and_three_are_named():
    both = [task(f"Question {chr(97 + i)} about birds") for i in range(9)]
    (finding, *_) = overlaps(both, [t.model_copy(update={"split": "report"}) for t in both])
    assert finding.startswith("9 of 9 tasks have the text of a task of another set: ")
    assert finding.endswith("and 6 more")
    assert finding.count("report ") == 3


@pytest.mark.parametrize(
    ("one", "other"), [("train", "gate"), ("train", "report"), ("train", "guard"), ("gate", "report")]
)
def test_an_overlap_between_any_two_sets_fails_the_round_and_names_the_task(one: Split, other: Split):
    planted = task("Where do the swallows go?", one)
    clean = [task("How deep is the lake?"), task("Who keeps the bees?", "report"), planted]
    require_disjoint(clean)
    with pytest.raises(
        RoundFailed, match=rf"{other} {planted.id} and {one} {planted.id} \('Where do the swallows go\?'\)"
    ):
        require_disjoint([*clean, planted.model_copy(update={"split": other})])


def test_an_example_that_asks_a_held_out_question_is_found_though_its_task_is_a_training_task():
    trained, held_out = task("How deep is the lake?"), task("Who keeps the bees?", "gate")
    train = {trained.id: trained}
    assert check_examples([example(trained, trained.question)], train, [held_out]) == []
    assert "have the text of" in check_examples([example(trained, held_out.question)], train, [held_out])[0]


def test_an_example_made_from_no_training_task_is_a_finding():
    trained, stranger = task("How deep is the lake?"), task("Who keeps the bees?", "gate")
    findings = check_examples([example(stranger, "Something else")], {trained.id: trained}, [])
    assert findings == [f"1 examples were made from no training task: task {stranger.id}"]


INSTRUCTION = (
    "Think step by step. End with one line of its own that says: The answer is N, and nothing after it, please."
)
ANIMALS = [
    f"{adjective} {animal}" for adjective in ("red", "old", "wet", "shy") for animal in "ape bee cat dog".split()
]


def asked(split: Split, count: int, of: str) -> list[Task]:
    """Questions that differ in a few words, each with the long instruction."""
    names = (f"{ANIMALS[i % 16]} of {of}{chr(97 + i // 16)}" for i in range(count))
    return [task(f"Where does the {name} sleep? {INSTRUCTION}", split) for name in names]


def conversation(of: Task, *turns: str, prompt: bool = True) -> Example:
    """An example in which the user says `turns`, each but the last answered, in the prompt or in the completion."""
    said = [
        Message(role=role, content=text)
        for turn in turns
        for role, text in (("user", turn), ("assistant", "It sleeps."))
    ]
    cut = len(said) - 1 if prompt else 1
    rest = Segment.context(said[cut:])
    return Example(sequences=((Segment.context(said[:cut]), rest),), task=of.id, rollout="r")


TRAIN, HELD_OUT = asked("train", 60, "Rome"), asked("gate", 32, "Oslo")
KNOWN = {each.id: each for each in TRAIN}
ONE_TURN = [conversation(each, each.question) for each in TRAIN]


@pytest.mark.parametrize("prompt", [True, False])
def test_another_turn_in_one_example_does_not_make_the_instruction_a_finding(prompt: bool):
    review = conversation(TRAIN[0], TRAIN[0].question, "Review your answer.", prompt=prompt)
    assert check_examples([*ONE_TURN, review], KNOWN, HELD_OUT) == []


def test_examples_that_all_ask_something_else_in_the_end_are_clean():
    """`true_false` asks the same words of every partial solution."""
    judged = "Is this solution correct so far? Answer True or False, one word."
    assert check_examples([conversation(each, each.question, judged) for each in TRAIN], KNOWN, HELD_OUT) == []


@pytest.mark.parametrize("prompt", [True, False])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_held_out_question_is_found_in_whichever_turn_it_stands(position: int, prompt: bool):
    turns = [TRAIN[0].question, "Review your answer.", "And once more."]
    turns[position] = HELD_OUT[3].question
    findings = check_examples([*ONE_TURN, conversation(TRAIN[0], *turns, prompt=prompt)], KNOWN, HELD_OUT)
    assert [finding.split(" tasks ")[0] for finding in findings] == ["1 of 32", "1 of 32"]
    assert HELD_OUT[3].id in findings[0]


def test_a_held_out_question_in_other_words_around_it_is_found():
    long = task(LONG, "gate")
    quoted = conversation(TRAIN[0], TRAIN[0].question, f"Compare it with this: {LONG}")
    assert "share a run of 13 words" in check_examples([quoted], KNOWN, [*HELD_OUT, long])[0]


def test_generated_tasks_may_be_asked_about_further():
    made = [task(LONG.replace("12", str(n)), template="farm", operands=(str(n), "5")) for n in range(20, 40)]
    gate = [task(LONG.replace("12", str(n)), "gate", template="farm", operands=(str(n), "5")) for n in range(60, 80)]
    known = {each.id: each for each in made}
    review = [conversation(each, each.question, "Review your answer.") for each in made]
    assert check_examples(review, known, gate) == []
    leaked = conversation(made[0], made[0].question, gate[0].question)
    assert "have the text of" in check_examples([leaked], known, gate)[0]
