"""Gold check: what is tried, in which form, what is skipped, and what stops a run."""

import pytest

from selftaught.blocks import RolloutVerifier, Verifier
from selftaught.core.errors import BadInput
from selftaught.records import Message, Task, Verdict
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.equations import Equations
from selftaught.verification.format_rules import Rules
from selftaught.verification.gold import MOST_TRIED, gold_checks, require_gold, stating

SOLUTION = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 48+24 = <<48+24=72>>72 clips in all.\n#### {}"


def task(answer, asked="How many clips?", split="train"):
    return Task(messages=(Message(role="user", content=asked),), answer=answer, source="jsonl", split=split)


class Judge(Verifier):
    type: str = "judge"

    async def verify(self, group, context):
        await context.model("judge").chat([])
        return [Verdict.of(self.name, True) for _ in group.rollouts]


class Crashing(RolloutVerifier):
    type: str = "crashing"

    def verdict(self, task, rollout):
        raise ZeroDivisionError("no denominator")


async def checked(tasks, verifier=AnswerMatch()):  # noqa: B008
    (check,) = await gold_checks(tasks, [verifier])
    return check


@pytest.mark.parametrize(
    "gold",
    [
        "72",
        "-7",
        "1,234",
        "$5.50",
        "50%",
        r"\frac{3}{4}",
        "(1, 2]",
        "Paris",
        "3/4",
        "2.5",
        "x^2+1",
        r"$2\sqrt{3}$",
        "C",
        "0.5",
        "-1/2",
        "12 apples",
        "3:30 PM",
        r"\boxed{72}",
        "1e-7",
        "9" * 5000,
        "A. Paris",
        "5 m/s",
        "Apollo 11",
        "May 5, 2024",
        "10-12",
        "3:2",
    ],
)
@pytest.mark.parametrize("asked", ["How many?", r"How many? Put it in \boxed{}.", "How many? End with '#### N'."])
async def test_an_answer_alone_passes_in_the_form_asked_for(gold, asked):
    check = await checked([task(gold, asked)])
    assert (check.tasks, check.failed) == (1, 0), check.said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("How many?", "The answer is 72."),
        (r"Box it: \boxed{}", r"\boxed{72}"),
        ("End with #### and the number", "#### 72"),
    ],
)
def test_the_prompt_says_in_which_form(asked, said):
    assert stating(task("72", asked)) == said


@pytest.mark.parametrize("asked", ["How many?", r"How many? Put it in \boxed{}.", "How many? End with '#### N'."])
@pytest.mark.parametrize(
    ("gold", "pattern"),
    [
        (SOLUTION, "#### (.+)"),
        (r"So it is $\boxed{{{}}}$.", r"\\boxed\{(.+)\}"),
        ("He has 3 and 4.\nThe answer is {}.", r"(?i)answer(?: is|:)\s*(.+?)\.?\s*$"),
    ],
)
async def test_worked_solutions_stop_the_run_with_the_pattern_that_would_do(gold, pattern, asked):
    checks = await gold_checks([task(gold.format(n), asked) for n in range(60)], [AnswerMatch()])
    assert (checks[0].tasks, checks[0].failed, checks[0].pattern) == (60, 60, pattern)
    with pytest.raises(BadInput, match=r"'answer_match' fails 60 of the tasks' own 60 gold answers") as found:
        require_gold(checks)
    assert f"answer_pattern: '{pattern}'" in str(found.value)


async def test_one_row_in_twenty_may_be_wrong_and_no_more():
    right = [task(str(n)) for n in range(38)]
    few = await checked([*right, task(SOLUTION.format(1)), task(SOLUTION.format(2))])
    require_gold([few])
    assert few.text() == "answer_match passes 38 of 40 gold answers"
    more = await checked([*right, *(task(SOLUTION.format(n)) for n in range(3))])
    with pytest.raises(BadInput, match="fails 3 of the tasks' own 41"):
        require_gold([more])


@pytest.mark.parametrize("verifier", [Rules(require_boxed=True, min_chars=500), Equations(at_least=3), Judge()])
async def test_what_looks_at_form_and_what_asks_a_model_is_not_tried(verifier):
    check = await checked([task("72")], verifier)
    assert (check.tasks, check.failed) == (0, 0)
    assert check.skipped in check.text()


async def test_a_crash_on_gold_answers_is_told():
    check = await checked([task("72")], Crashing())
    with pytest.raises(BadInput, match=r"could not judge 1 .*denominator \(Crashing, \w+\.py:\d+\)\. Fix the verifier"):
        require_gold([check])


async def test_every_set_is_tried_and_of_large_ones_a_part():
    many = [task(str(n)) for n in range(MOST_TRIED + 50)]
    few = [task(SOLUTION.format(n), split="guard") for n in range(30)]
    check = await checked([*many, *few, task(None)])
    assert (check.tasks, check.failed) == (MOST_TRIED + 30, 30)
    assert check.first.split == "guard"
