"""Noisy: the share of verdicts that is reversed, which ones, and that errors stay errors."""

import asyncio
from collections.abc import Sequence

import pytest

from selftaught.blocks import Context, RolloutVerifier
from selftaught.records import Rollout, Task, Verdict
from selftaught.testing import check_block, sums
from selftaught.testing.checks import group_of
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.noisy import Noisy

TASK = sums(2)[0]
TEXTS = [f"It is {n}. The answer is {5 if n % 2 else 6}." for n in range(1000)]


class Graded(RolloutVerifier):
    """Scores .25, and cannot judge an answer that is empty."""

    type: str = "graded"

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        return Verdict(verifier="graded", score=0.25) if rollout.text else Verdict.errored("graded", "empty")


def heard(noisy: Noisy, texts: Sequence[str] = TEXTS, task: Task = TASK) -> list[Verdict]:
    return asyncio.run(noisy.judge(group_of(task, texts), Context()))


def passed(noisy: Noisy, texts: Sequence[str] = TEXTS, task: Task = TASK) -> list[bool]:
    return [verdict.passed for verdict in heard(noisy, texts, task)]


def test_without_noise_it_is_the_verifier_and_with_noise_1_its_opposite():
    true = [verdict.passed for verdict in asyncio.run(AnswerMatch().judge(group_of(TASK, TEXTS), Context()))]
    assert passed(Noisy(noise=0)) == true
    assert passed(Noisy(noise=1)) == [not each for each in true]
    assert sum(true) == 500


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_the_share_that_is_reversed_is_the_noise(noise: float):
    true = passed(Noisy(noise=0))
    wrong = sum(a != b for a, b in zip(true, passed(Noisy(noise=noise)), strict=True))
    assert wrong / len(TEXTS) == pytest.approx(noise, abs=0.05)


def test_equal_answers_get_equal_verdicts_whatever_stands_beside_them():
    noisy = Noisy(noise=0.3)
    assert passed(noisy, TEXTS[::-1]) == passed(noisy)[::-1]
    assert [passed(noisy, [text])[0] for text in TEXTS[:50]] == passed(noisy)[:50]


def test_another_seed_or_task_reverses_others():
    base = passed(Noisy(noise=0.3))
    assert passed(Noisy(noise=0.3, seed=1)) != base
    other = TASK.model_copy(update={"source": "other", "messages": sums(2)[1].messages})
    assert passed(Noisy(noise=0.3), task=other) != base


def test_scores_are_reversed_and_errors_are_not():
    [graded, error] = heard(Noisy(noise=1).model_copy(update={"verifier": Graded()}), ["some", ""])
    assert (graded.verifier, graded.score, graded.passed, graded.reason) == ("noisy", 0.75, True, "reversed: ")
    assert (error.verifier, error.error) == ("graded", "empty")


def test_it_holds_to_what_every_verifier_does():
    assert check_block(Noisy(noise=0.5), sums()) == []
