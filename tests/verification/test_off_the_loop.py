"""Verifiers beside an event loop: where they run, and what becomes of one that ends its process."""

import asyncio
import os
import re
import time
from pathlib import Path

import pytest

from selftaught.blocks import Context, RolloutVerifier
from selftaught.core.errors import BadInput
from selftaught.records import Group, Message, Rollout, Task, Turn, Verdict
from selftaught.sampling.self_play import SelfPlay
from selftaught.search.votes import grouped
from selftaught.testing import ScriptedModel
from selftaught.verification.answer_match import AnswerMatch
from selftaught.verification.symbolic import symbolically_equal
from selftaught.verification.votes import same_answers

SOURCES = Path(__file__).parents[2] / "selftaught"
HOSTILE = [
    r"\boxed{9^{9^{9}}}",
    r"\boxed{99999999!}",
    r"\boxed{\sum_{k=1}^{10^9} \frac{1}{k^2}}",
    r"\boxed{" + r"\frac{1}{1+" * 14 + "x" + "}" * 15,
    r"\boxed{0." + "1" * 190 + "}",
    r"\begin{align}" * 2_000,
]


def group(answer: str, *texts: str) -> Group:
    task = Task(messages=(Message(role="user", content="Which?"),), answer=answer, source="test")
    rollouts = (
        Rollout(task=task.id, index=i, model="m", turns=(Turn(content=text),), temperature=1.0)
        for i, text in enumerate(texts)
    )
    return Group(task=task, rollouts=tuple(rollouts))


class Process(RolloutVerifier):
    """Says in which process it was asked, and how often it was."""

    type: str = "process"
    _asked: int = 0

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        self._asked += 1
        return Verdict.of(self.name, True, f"{os.getpid()} {self._asked}")


class Waits(RolloutVerifier):
    """Takes as long as it takes somebody to make the file that the rollout names."""

    type: str = "waits"

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        while not Path(rollout.text).exists():
            time.sleep(0.01)
        return Verdict.of(self.name, True)


class Ends(RolloutVerifier):
    """Third-party code that ends its process on some texts."""

    type: str = "ends"

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        if rollout.text == "end":
            os._exit(3)
        return Verdict.of(self.name, True)


async def test_rollouts_are_judged_in_another_process_by_one_verifier_that_is_kept() -> None:
    said = [verdict.reason.split() for verdict in await Process().judge(group("1", "a", "b", "c"), Context())]
    assert {process for process, _ in said} != {str(os.getpid())}
    assert len({process for process, _ in said}) == 1
    assert [int(count) for _, count in said] == [1, 2, 3]


async def test_a_class_that_no_other_process_knows_is_asked_here() -> None:
    class Local(Process):
        pass

    (verdict,) = await Local().judge(group("1", "a"), Context())
    assert verdict.reason.split()[0] == str(os.getpid())


async def test_the_loop_goes_on_while_a_verifier_works(tmp_path: Path) -> None:
    judging = asyncio.ensure_future(Waits().judge(group("1", str(tmp_path / "there")), Context()))
    await asyncio.sleep(0.05)
    (tmp_path / "there").touch()
    async with asyncio.timeout(30):
        assert (await judging)[0].passed


async def test_one_that_ends_its_process_costs_that_rollout_its_verdict_alone() -> None:
    said = await Ends().judge(group("1", "a", "end", "b"), Context())
    assert [verdict.error for verdict in said] == [None, "its process ended with status 3", None]


@pytest.mark.parametrize("gold", [r"\frac{x+1}{2}", "42"])
async def test_no_formula_of_an_answer_is_compared_in_this_process(gold: str) -> None:
    symbolically_equal.cache_clear()
    hostile = group(gold, *HOSTILE, r"\boxed{\frac{1+x}{2}}")
    *refused, right = await AnswerMatch().judge(hostile, Context())
    assert not any(verdict.passed or verdict.error for verdict in refused)
    assert right.passed == (gold != "42")
    assert symbolically_equal.cache_info().currsize == 0


async def test_no_vote_of_a_search_is_counted_in_this_process() -> None:
    symbolically_equal.cache_clear()
    voters = group("1", r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{2x}")
    assert await grouped(voters) == [[0, 1], [2]]
    assert symbolically_equal.cache_info().currsize == 0
    assert same_answers(voters) == [[0, 1], [2]]


async def test_no_vote_of_self_play_is_counted_in_this_process() -> None:
    symbolically_equal.cache_clear()
    model = ScriptedModel("What is x + 1?", r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{2x}")
    found = await SelfPlay(n=1, k=3).sample(group("1", "a").task, Context(models={"policy": model}))
    assert [task.answer for task in found.minted[1:]] == ["x+1"]
    assert symbolically_equal.cache_info().currsize == 0


def test_whoever_asks_a_verifier_asks_where_its_crash_is_contained() -> None:
    asking = re.compile(r"await [\w.]+\.verify\(")
    found = [path for path in SOURCES.rglob("*.py") if asking.search(path.read_text())]
    assert found == [SOURCES / "blocks" / "axes.py"]


async def test_what_a_user_can_mend_is_raised() -> None:
    with pytest.raises(BadInput, match="no sandbox"):
        await Refusing().judge(group("1", "a"), Context())


class Refusing(RolloutVerifier):
    type: str = "refusing"

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        raise BadInput("no sandbox")
