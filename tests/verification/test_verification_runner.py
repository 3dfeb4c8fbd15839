"""The verification runner: alignment, attribution of crashes, what stops the step, the funnel."""

import asyncio
import gc
import time

import pytest

from selftaught.blocks import Context, RolloutVerifier, Verifier
from selftaught.core.computing_time import limited, share
from selftaught.core.errors import BadInput, NoAnswer, Unavailable
from selftaught.records import Control, Group, Message, Node, Rollout, Task, Tree, Turn, Verdict
from selftaught.verification import runner
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.format_rules import Rules
from selftaught.verification.runner import IN_FLIGHT, Funnel, funnel, verify


class Crashing(RolloutVerifier):
    """Third-party code with a bug that some tasks hit."""

    type: str = "crashing"
    on: str = "2"

    def verdict(self, task, rollout):
        if task.answer == self.on:
            raise ZeroDivisionError("no denominator")
        return Verdict.of(self.name, True)


class Dead(Verifier):
    type: str = "dead"

    async def verify(self, group, context):
        raise Unavailable("http://judge: connection refused")


class Short(Verifier):
    """Forgets a rollout of the groups with more than one."""

    type: str = "short"

    async def verify(self, group, context):
        return [Verdict.of(self.name, True)]


def group(answer, *texts, finish_reason="stop"):
    task = Task(messages=(Message(role="user", content=f"Say {answer}"),), answer=answer, source="test")
    return Group(
        task=task,
        rollouts=tuple(
            Rollout(
                task=task.id,
                index=i,
                model="m",
                turns=(Turn(content=text),),
                temperature=1.0,
                finish_reason=finish_reason,
            )
            for i, text in enumerate(texts)
        ),
    )


async def verified(groups, *verifiers):
    return await verify(groups, verifiers, Context(), lambda *_, **__: None)


async def test_each_rollout_gets_one_verdict_a_verifier_in_their_order():
    groups = [group("1", "1", "2", "1"), group("5", "5"), group("7")]
    done = await verified(groups, AnswerMatch(), Rules(max_chars=1))
    assert [g.task for g in done] == [g.task for g in groups]
    assert [[v.verifier for v in on_one] for on_one in done[0].verdicts] == [["answer_match", "rules"]] * 3
    assert [done[0].passed(i) for i in range(3)] == [True, False, True]
    assert done[2].verdicts == ()


class Counting(Verifier):
    """Says how many rollouts it was shown at once, and whether with a tree."""

    type: str = "counting"

    async def verify(self, group, context):
        return [Verdict.of(self.name, True, f"{len(group.rollouts)}, {group.tree is not None}") for _ in group.rollouts]


async def test_a_control_is_verified_as_a_group_of_its_own():
    """A vote among both would let the one decide what is right of the other."""
    searched, apart = group("1", "1", "2"), group("1", "1", "3", "1")
    searched = searched.model_copy(update={"tree": Tree(nodes=(Node(index=0),), ended="nodes")})
    control = Control(budget=3, rollouts=apart.rollouts)
    (done,) = await verified([searched.model_copy(update={"control": control})], AnswerMatch(), Counting())
    assert done.control
    assert [done.control.passed(i) for i in range(3)] == [True, False, True]
    assert [on_one[1].reason for on_one in done.control.verdicts] == ["3, False"] * 3
    assert [on_one[1].reason for on_one in done.verdicts] == ["2, True"] * 2
    assert funnel([done]) == funnel(await verified([searched], AnswerMatch(), Counting()))


async def test_verifying_again_replaces_the_verdicts():
    once = await verified([group("1", "1")], AnswerMatch())
    assert await verified(once, AnswerMatch()) == once


async def test_a_crash_is_an_error_of_that_group_and_verifier_alone():
    done = await verified([group("1", "1"), group("2", "2", "2")], Crashing(), AnswerMatch())
    assert done[0].passed(0)
    crash, match = done[1].verdicts[1]
    assert crash.error.startswith("ZeroDivisionError: no denominator (Crashing, test_verification_runner.py:")
    assert match.passed
    assert not done[1].passed(1)


async def test_a_crash_on_one_rollout_leaves_its_siblings_their_verdicts():
    class Picky(RolloutVerifier):
        type: str = "picky"

        def verdict(self, task, rollout):
            return Verdict.of(self.name, 1 / int(rollout.text) > 0)

    done = await verified([group("1", "1", "0", "x", "2")], Picky())
    assert [done[0].passed(index) for index in range(4)] == [True, False, False, True]
    assert [on_one[0].error is None for on_one in done[0].verdicts] == [True, False, False, True]
    assert "ValueError: invalid literal" in done[0].verdicts[2][0].error


async def test_a_wrong_number_of_verdicts_is_an_error():
    done = await verified([group("1", "1"), group("2", "2", "2")], Short())
    assert done[0].passed(0)
    assert [on_one[0].error for on_one in done[1].verdicts] == ["gave 1 verdicts on 2 rollouts"] * 2


async def test_a_verifier_that_never_ran_is_named():
    with pytest.raises(BadInput, match=r"'crashing' could not run on any of 2 rollouts.*no denominator"):
        await verified([group("2", "1", "2")], AnswerMatch(), Crashing())


async def test_a_verifier_that_is_not_required_decides_nothing():
    (judged,) = await verified([group("2", "2", "3")], AnswerMatch(), Rules(min_chars=9, required=False))
    assert [verdict.passed for _, verdict in judged.verdicts] == [False, False]
    assert [judged.passed(at) for at in range(2)] == [True, False]
    assert funnel([judged]).passed == 1


async def test_an_error_of_one_that_is_not_required_leaves_the_rollout_judged():
    (judged, _) = await verified([group("2", "2"), group("3", "3")], AnswerMatch(), Crashing(required=False))
    assert judged.verdicts[0][1].error and judged.passed(0)
    assert funnel([judged]).errors == 0


async def test_a_dead_judge_stops_the_step():
    with pytest.raises(Unavailable, match="connection refused"):
        await verified([group("1", "1")], Dead())


@pytest.mark.parametrize("failures", [1, 2])
async def test_a_judge_that_has_no_answer_is_asked_once_more(failures: int):
    asked = list[str]()

    class Breaking(Verifier):
        type: str = "breaking"

        async def verify(self, group, context):
            asked.append(group.id)
            if group.task.answer == "2" and asked.count(group.id) <= failures:
                raise NoAnswer("http://judge: not an OpenAI-compatible response")
            return [Verdict.of(self.name, True) for _ in group.rollouts]

    lost, other = await verified([group("2", "a", "b"), group("3", "c")], Breaking())
    assert other.verdicts[0][0].passed
    if failures == 1:
        assert [verdict.passed for (verdict,) in lost.verdicts] == [True, True]
    else:
        assert {verdict.error for (verdict,) in lost.verdicts} == {"http://judge: not an OpenAI-compatible response"}
    assert asked.count(lost.id) == 2


async def test_the_funnel_counts():
    groups = [group("1", "1", "3", "1"), group("2", "2"), group("5", "6", finish_reason="length")]
    done = await verified(groups, AnswerMatch(), Crashing())
    assert funnel(done) == Funnel(tasks=3, rollouts=5, passed=2, solved=1, errors=1, truncated=1)


@pytest.mark.parametrize("ending", ["stop", "abort", "error", "content_filter", "unknown"])
def test_only_what_ran_into_max_tokens_is_truncated(ending):
    """The funnel's advice is to raise max_tokens, which helps nothing else."""
    assert funnel([group("1", "1", finish_reason=ending)]).truncated == 0


def test_what_is_compared_takes_of_every_share_around_it():
    with share(10) as step, share(5) as answer, limited():
        begin = time.process_time()
        while time.process_time() - begin < 0.05:
            pass
    assert step.left <= 9.95
    assert answer.left <= 4.95


def test_garbage_is_collected_between_comparisons():
    """A collection of all that the process has would be the answer's time: seconds, where much is loaded."""
    with limited():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with limited():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


# One after the other --------------------------------------------------------------------------------------------------


class Together(Verifier):
    """A judge that answers once it was asked about `groups` groups: never, where one waits for another."""

    type: str = "together"
    groups: int

    async def verify(self, group, context):
        WAITING.append(group.task.answer)
        if len(WAITING) == self.groups:
            ENOUGH[-1].set()
        await ENOUGH[-1].wait()
        return [Verdict.of(self.name, True) for _ in group.rollouts]


WAITING: list[str] = []
ENOUGH: list[asyncio.Event] = []


async def test_a_judge_is_asked_about_many_groups_at_once_and_their_order_stays():
    WAITING.clear()
    ENOUGH.append(asyncio.Event())
    groups = [group(str(n), "1") for n in range(2 * IN_FLIGHT)]
    async with asyncio.timeout(30):
        done = await verified(groups, Together(groups=IN_FLIGHT))
    assert [g.task for g in done] == [g.task for g in groups]


async def test_groups_are_taken_as_they_are_needed():
    """A million rollouts are not in memory because the first is verified."""
    taken: list[int] = []
    endless = (taken.append(n) or group(str(n), str(n)) for n in iter(lambda: len(taken), -1))
    said = runner.verified(endless, 10**6, [AnswerMatch()], Context(), lambda *_, **__: None)
    for n in range(3):
        assert (await anext(said)).task.answer == str(n)
        assert len(taken) == IN_FLIGHT + n
    await said.aclose()


async def test_what_was_begun_ends_with_the_step():
    WAITING.clear()
    ENOUGH.append(asyncio.Event())
    groups = [group("2", "1"), *(group(str(n), "1") for n in range(9, 9 + IN_FLIGHT))]
    with pytest.raises(Unavailable):
        await verified(groups, Dead(), Together(groups=10**6))
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_verifier_that_ran_on_no_rollout_is_told_after_any_number_of_groups():
    groups = [group("2", "1", "1") for _ in range(3 * IN_FLIGHT)]
    with pytest.raises(BadInput, match=rf"'crashing' could not run on any of {6 * IN_FLIGHT} rollouts\..*denominator"):
        await verified(groups, Crashing())
    one_that_ran = [*groups, group("3", "1")]
    assert len(await verified(one_that_ran, Crashing())) == len(one_that_ran)
