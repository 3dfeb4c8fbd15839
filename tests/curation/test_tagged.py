"""Tagged: tags say what became of an answer and are not learnt, and pairs are of one task."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.curation.accepted import Accepted
from selftaught.curation.tagged import Form, Tagged
from selftaught.records import Example, Group, Message, Rollout, Task, Turn, Verdict
from selftaught.testing import check_block, sums
from selftaught.training.rendering import Chat, rendered
from tests.training.conftest import byte_tokenizer

TASK = Task(
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="3 + 4?")),
    answer="7",
    source="test",
)
TAGS = {"passed": "<good>", "failed": "<bad>"}


def group(*answers: tuple[str, bool | None]) -> Group:
    """Answers by text, passed or failed; None could not be judged."""
    rollouts = [
        Rollout(task=TASK.id, index=at, model="m", turns=(Turn(content=text),), temperature=1.0)
        for at, (text, _) in enumerate(answers)
    ]
    verdicts = [
        (Verdict.errored("v", "?") if passed is None else Verdict.of("v", passed, f"{text} is no {{tag}}"),)
        for text, passed in answers
    ]
    return Group(task=TASK, rollouts=tuple(rollouts), verdicts=tuple(verdicts))


def curated(group: Group, **fields: Any) -> list[Example]:
    return list(Tagged.model_validate({"tags": TAGS, "minimum": 0} | fields).curate([group], 0))


def said(example: Example) -> list[str]:
    return [message.content for message in example.messages()]


ANSWERS = st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.booleans() | st.none()), min_size=1, max_size=8)


@given(ANSWERS)
def test_right_answers_without_a_tag_are_what_accepted_picks(answers: list[tuple[str, bool | None]]):
    made = curated(group(*answers), forms=["p"], ask="{task}", per_task=None)
    picked = Accepted(minimum=0, per_task=None).curate([group(*answers)], 0)
    assert [each.id for each in made] == [each.id for each in picked]


def test_an_answer_is_asked_for_with_its_tag():
    made = curated(group(("7", True), ("8", False), ("9", None)), ask="{tag} {task}")
    assert [said(each) for each in made] == [["Be brief.", "<good> 3 + 4?", "7"], ["Be brief.", "<bad> 3 + 4?", "8"]]


def test_why_an_answer_failed_is_told_before_it():
    fields = {"ask": "{tag}{feedback}\n{task}", "feedback": " ({reason})"}
    one, other = curated(group(("7", True), ("8", False)), **fields)
    assert said(one)[1:] == ["<good>\n3 + 4?", "7"]
    assert said(other)[1:] == ["<bad> (8 is no {tag})\n3 + 4?", "8"]


@pytest.mark.parametrize(("form", "order"), [("np", ["8", "7"]), ("pn", ["7", "8"])])
def test_two_answers_stand_in_one_conversation(form: Form, order: list[str]):
    (made,) = curated(group(("7", True), ("8", False), ("9", False)), forms=[form], again="Now {tag}", per_task=None)
    tags = {"7": "<good>", "8": "<bad>", "9": "<bad>"}
    first, second = said(made)[2], said(made)[4]
    assert said(made) == [
        "Be brief.", f"{tags[first]}\n3 + 4?", first, f"Now {tags[second]}", second
    ]  # fmt: skip
    assert [each == "7" for each in (first, second)] == [each == "7" for each in order]


@given(ANSWERS, st.permutations(["p", "n", "pn", "np"]))
def test_every_example_is_of_one_task_and_no_tag_is_learnt(answers: list[tuple[str, bool | None]], forms: list[Form]):
    passed = dict(answers)
    for made in curated(group(*answers), forms=forms):
        for segment in made.sequences[0]:
            learnt = [message.content for message in segment.messages if segment.weights]
            assert set(learnt) <= passed.keys()
        assert made.task == TASK.id


def test_tokens_that_count_say_the_answers_alone():
    tokenizer = byte_tokenizer()
    chat = Chat(tokenizer, frozenset({tokenizer.eos_token_id}), tokenizer.eos_token_id)
    (made,) = curated(group(("seven", True), ("eight", False)), forms=["np"])
    (row,) = rendered(made.sequences[0], chat)
    counted = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight]
    assert chat.text(counted) == "eightseven"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tags": {"passed": "!", "failed": "!"}}, "nothing tells them apart"),
        ({"ask": "{tag}"}, "{task} is missing"),
        ({"forms": []}, "at least 1"),
    ],
)
def test_tags_that_tell_nothing_are_refused(fields: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        Tagged.model_validate({"tags": TAGS} | fields)


def test_it_keeps_the_contract_of_a_curator():
    assert check_block(Tagged.model_validate({"tags": TAGS, "minimum": 0}), sums()) == []
