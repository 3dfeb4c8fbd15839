"""Metrics: what each makes of a verified group, and what it asks the sampler for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.majority import Majority, wrong_answer
from selftaught.evaluation.pass_at_k import PassAtK
from selftaught.evaluation.tokens import Tokens
from selftaught.recipe import blocks
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict

iid = blocks("sample")["iid"].model_validate


def group(answers: Sequence[str], right: str = "12", tokens: int = 5) -> Group:
    """A verified group with these texts, of which those equal to `right` passed."""
    task = Task(messages=(Message(role="user", content="?"),), answer=right, source="test")
    return Group(
        task=task,
        rollouts=tuple(
            Rollout(
                task=task.id,
                index=i,
                model="m",
                turns=(Turn(content=text),),
                temperature=1,
                completion_tokens=tokens + i,
            )
            for i, text in enumerate(answers)
        ),
        verdicts=tuple((Verdict.of("match", text == right),) for text in answers),
    )


def test_accuracy_is_the_share_of_rollouts_that_passed():
    assert Accuracy().value(group(["12"])) == 1
    assert Accuracy(greedy=False, k=4).value(group(["12", "7", "12", "12"])) == 0.75


def test_a_rollout_that_could_not_be_verified_did_not_pass():
    errored = group(["12"]).model_copy(update={"verdicts": ((Verdict.errored("match", "died"),),)})
    assert Accuracy().value(errored) == 0


@given(texts=st.lists(st.sampled_from(["12", "7"]), min_size=8, max_size=8))
def test_pass_at_k_lies_between_the_mean_and_whether_any_is_right(texts: list[str]):
    verified = group(texts)
    mean = Accuracy(greedy=False, k=8).value(verified)
    assert mean - 1e-9 <= PassAtK(k=4, n=8).value(verified) <= PassAtK(k=8).value(verified) == float("12" in texts)


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["12", "12", "7", "it is 7.", "3"], 1),
        (["7", "12", "so 7", "12", "7.0"], 0),
        (["12", "7"], 1),
        (["7", "12"], 0),
        (["", "  ", "12", "", ""], 1),
        (["", ""], 0),
        (["7", "8", "9", "12", "12"], 1),
    ],
    ids=[
        "tie, right first",
        "outvoted across formats",
        "tie",
        "tie, wrong first",
        "silence",
        "only silence",
        "plurality",
    ],
)
def test_majority_takes_the_most_common_answer_and_the_first_on_a_tie(texts: list[str], value: float):
    assert Majority(k=len(texts)).value(group(texts)) == value


def test_right_answers_vote_together_however_they_are_written():
    """The verifier said that both are right: 1/2 and 0.5 must not split their vote."""
    split = group(["1/2", "0.5", "7", "7", "1/2"]).model_copy(
        update={"verdicts": tuple((Verdict.of("match", right),) for right in (True, True, False, False, True))}
    )
    assert Majority(k=5).value(split) == 1


@given(number=st.integers(0, 10**12))
def test_wrong_answers_are_told_apart_by_their_last_number_not_its_format(number: int):
    written = [f"I get {number}", f"{number:,} apples", f"first 3, then {number}.0", rf"\boxed{{{number}}} of 5"]
    assert {wrong_answer(text) for text in written} == {str(number)}
    assert wrong_answer(f"{number + 1}") != str(number)


def test_tokens_are_the_engines_count_a_rollout():
    assert Tokens().value(group(["12", "7"], tokens=10)) == 10.5


@pytest.mark.parametrize(
    ("metric", "name", "asked"),
    [
        (Accuracy(), "accuracy", {"k": 1, "temperature": 0, "max_tokens": 96}),
        (Accuracy(greedy=False, k=4, max_tokens=7), "mean@4", {"k": 4, "temperature": 1, "max_tokens": 7}),
        (PassAtK(k=2), "pass@2", {"k": 2, "temperature": 1, "max_tokens": 96}),
        (PassAtK(k=2, n=6, temperature=0.7), "pass@2", {"k": 6, "temperature": 0.7, "max_tokens": 96}),
        (Majority(k=3), "maj@3", {"k": 3, "temperature": 1, "max_tokens": 96}),
        (Tokens(), "tokens", {"k": 1, "temperature": 0, "max_tokens": 96}),
    ],
)
def test_metrics_are_named_and_sampled_as_their_fields_say(metric, name: str, asked: dict[str, float]):
    assert metric.name == name
    assert metric.sampler() == iid(asked)


@pytest.mark.parametrize(
    ("metric", "fields", "told"),
    [
        (PassAtK, {"k": 8, "n": 4}, "n: 4 samples cannot give pass@k with k: 8"),
        (Accuracy, {"k": 8}, "greedy: true takes one answer a task, k: 8 several"),
        (Accuracy, {"greedy": False, "temperature": 0}, "temperature"),
        (Majority, {"k": 0}, "k"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_with_both_values(metric, fields: dict[str, object], told: str):
    with pytest.raises(ValidationError, match=told):
        metric(**fields)
