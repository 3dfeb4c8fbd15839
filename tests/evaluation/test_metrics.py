"""Metrics: what each makes of a verified group, and what it asks the sampler for."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.majority import Majority
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


def maj(right: Sequence[str], wrong: Sequence[str], **endings: str) -> float:
    """maj@k of samples of which `right` passed; `endings` are finish reasons by position."""
    texts = [*right, *wrong]
    made = group(texts, right="")
    rollouts = [
        rollout.model_copy(update={"finish_reason": endings.get(f"_{i}", "stop")})
        for i, rollout in enumerate(made.rollouts)
    ]
    verdicts = tuple((Verdict.of("match", i < len(right)),) for i in range(len(texts)))
    return Majority(k=len(texts)).value(made.model_copy(update={"rollouts": tuple(rollouts), "verdicts": verdicts}))


@pytest.mark.parametrize(
    "wrong",
    [
        ["1/3", "2/3", "4/3"],
        ["2x+3", "4/3", "3"],
        ["1/2", "3/2", r"\frac52"],
        [r"\frac12", r"\frac32", "2"],
        [".5", "5", "50"],
        ["The answer is 12 m^2.", "It is 2.", "So 2^12."],
        ["-3", "3", r"\frac{3}{-4}"],
        ["3:30 PM", "30", "3"],
        ["I cannot say.", "I really cannot say that, sorry.", "There is no answer to this at all."],
        [r"\boxed{7} or \boxed{8}"] * 3,
        ["<think>maybe 7", "<think>maybe 7, or", "<think>it is 7"],
        [""] * 5,
    ],
)
def test_wrong_answers_that_differ_do_not_vote_together(wrong: list[str]):
    assert maj(["12", "The answer is 12."], wrong) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["Rome", "**Rome**", "The answer is rome.", r"\boxed{\text{Rome}}"],
        ["1/2", "0.5", r"So \boxed{\frac12}"],
        ["0", "-0", "0.0"],
        ["7", "7.0 apples", "The answer is $7$."],
        [r"2\sqrt{3}", r"\sqrt{12}", "The answer is 2√3."],
        ["x^2+2x+1", "(x+1)^2", "1+2x+x^2"],
        ["10-12", "10–12 days", "The answer is 10-12."],
    ],
)
def test_one_wrong_answer_outvotes_the_right_one_however_it_is_written(wrong: list[str]):
    assert maj(["Paris", "Paris"], wrong) == 0


def test_what_was_cut_off_does_not_vote():
    assert maj(["12"], ["It is 7", "It is 7"], _1="length", _2="abort") == 1
    assert maj(["12"], ["It is 7", "It is 7"]) == 0


def test_an_answer_is_right_that_passed_once():
    """Another verifier may have failed the other samples with it: they are votes for it all the same."""
    assert maj(["The answer is 12."], ["12", "7", "7", "12.0"]) == 1


@given(
    right=st.integers(0, 99),
    others=st.lists(st.integers(100, 120), min_size=1, max_size=8),
    votes=st.integers(1, 5),
    writing=st.sampled_from(
        ["{}", "The answer is {}.", r"\boxed{{{}}}", "{}.0", "so {} apples", r"$\frac{{{}}}{{1}}$"]
    ),
)
def test_majority_is_a_plurality_of_values(right: int, others: list[int], votes: int, writing: str):
    most = max(others.count(other) for other in others)
    said = [writing.format(right)] * votes
    assert maj(said, list(map(str, others))) == float(votes >= most)


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
    ("metric", "fields", "text"),
    [
        (PassAtK, {"k": 8, "n": 4}, "n: 4 samples cannot give pass@k with k: 8"),
        (Accuracy, {"k": 8}, "greedy: true takes one answer a task, k: 8 several"),
        (Accuracy, {"greedy": False, "temperature": 0}, "temperature"),
        (Majority, {"k": 0}, "k"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_with_both_values(metric, fields: dict[str, object], text: str):
    with pytest.raises(ValidationError, match=text):
        metric(**fields)


def test_a_right_answer_that_cannot_be_read_has_its_own_vote():
    """A program, a proof: it passed by what another verifier found, and no short answer can be read in it."""
    proof = "it holds for all of them by induction on the length"
    assert Majority(k=3).value(group([proof, proof, "7"], right=proof)) == 1
    assert Majority(k=3).value(group([proof, "7", "7"], right=proof)) == 0
