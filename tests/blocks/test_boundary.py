"""The boundary to other people's blocks: what they may not do is said with their name, the method and their code."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from selftaught.blocks import Context, Draw
from selftaught.blocks.boundary import awaited, called, iterated
from selftaught.core.errors import BadInput, NoAnswer
from selftaught.records import Group, Verdict
from selftaught.sampling.iid import IID
from selftaught.tasks.draw import prepare
from selftaught.tasks.sources.word_problems import WordProblems
from selftaught.testing import sums
from selftaught.testing.rows import group_of
from selftaught.verification.answer_match import AnswerMatch

NAMED = r"sample 'iid' \(tests\.blocks\.test_boundary\.Mine\): "


class Mine(IID):
    """A sampler of this file, which is no built-in one."""


def test_what_is_returned_is_passed_on():
    assert called(Mine(), "cost", int, lambda: 3) == 3
    assert called(Mine(), "value", float, lambda: True) == 1
    assert list(iterated(Mine(), "draw", int, lambda: iter([1, 2]))) == [1, 2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: called(Mine(), "decide", str, lambda: None), "decide returned None, and has to return a str"),
        (
            lambda: list(iterated(Mine(), "draw", int, lambda: None)),
            "draw returned None, and has to return an iterable",
        ),
        (lambda: list(iterated(Mine(), "draw", int, lambda: ["one"])), "draw returned str 'one', and has to"),
    ],
)
def test_what_is_returned_and_is_something_else_is_refused(call: Callable[[], object], words: str):
    with pytest.raises(BadInput, match=f"{NAMED}{words}.*Fix the block"):
        call()


def fails() -> Any:
    return {}["missing"]


def fails_later() -> Any:
    yield 1
    fails()


@pytest.mark.parametrize("call", [fails, lambda: list(iterated(Mine(), "draw", int, fails_later))])
def test_what_is_raised_names_the_block_and_the_lines_of_its_file(call: Callable[[], object]):
    with pytest.raises(BadInput, match=rf"(?s){NAMED}draw raised KeyError: 'missing'.*test_boundary.py:\d+ in fails"):
        called(Mine(), "draw", int, call)


def test_an_iterator_that_ends_too_early_is_named_where_it_did():
    def none_left() -> Any:
        return next(iter([]))

    def draws() -> Any:
        yield none_left()

    with pytest.raises(BadInput, match=rf"(?s){NAMED}draw raised StopIteration.*test_boundary.py:\d+ in none_left"):
        list(iterated(Mine(), "draw", int, draws))


async def test_so_is_what_is_raised_while_it_is_awaited():
    async def sampled() -> object:
        return fails()

    with pytest.raises(BadInput, match=f"{NAMED}sample raised KeyError"):
        await awaited(Mine(), "sample", Group, sampled)


def test_a_bug_of_a_built_in_block_keeps_its_traceback():
    with pytest.raises(KeyError):
        called(IID(), "sample", Group, fails)


def test_a_machine_that_has_no_room_is_no_fault_of_a_block():
    def writes() -> object:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        called(Mine(), "sample", Group, writes)


def test_what_comes_about_elsewhere_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        called(Mine(), "sample", Group, partial(divmod, 1, 0))


def test_a_number_of_numpy_is_a_number():
    assert called(Mine(), "value", float, lambda: np.float32(0.5)) == 0.5


def test_errors_that_say_what_to_do_pass():
    def refuses() -> object:
        raise NoAnswer("nothing came")

    with pytest.raises(NoAnswer, match=r"^nothing came$"):
        called(Mine(), "sample", Group, refuses)


# Where runners call blocks --------------------------------------------------------------------------------------------


class Forgets(WordProblems):
    def draw(self, draw: Draw) -> Any:
        return None


def test_a_source_that_returns_nothing_is_named_before_anything_is_sampled():
    with pytest.raises(BadInput, match=r"tasks 'word_problems' \(.*Forgets\): draw returned None"):
        prepare(Forgets(train=1, gate=1, report=1), Draw(1, 1))


class Says(AnswerMatch):
    """A verifier whose verdict is whatever is said here."""

    said: Any = None

    def verdict(self, task: object, rollout: object) -> Any:
        return self.said


class SaysAll(Says):
    async def verify(self, group: Group, context: Context) -> Any:
        return self.said


@pytest.mark.parametrize(
    ("verifier", "error"),
    [
        (Says(), "verdict returned None, and has to return a Verdict"),
        (Says(said=True), "verdict returned bool True, and has to return a Verdict"),
        (SaysAll(), "verify returned None, and has to return one verdict a rollout"),
        (SaysAll(said=[True, False]), "gave bool True for a verdict"),
        (SaysAll(said=[Verdict.of("says", True)]), "gave 1 verdicts on 2 rollouts"),
    ],
)
async def test_a_verifier_that_says_something_else_has_judged_nothing(verifier: Says, error: str):
    (task,) = sums(1)
    verdicts = await verifier.judge(group_of(task, ["1", "2"]), Context())
    assert [each.error for each in verdicts] == [error, error]
