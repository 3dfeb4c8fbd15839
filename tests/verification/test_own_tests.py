"""Own tests as a verifier: what passes, and what a program cannot leave out on its way."""

import pytest

from selftaught.blocks import Context
from selftaught.records import Verdict
from selftaught.sandbox.process import refusal
from selftaught.testing import sums
from selftaught.testing.rows import group_of
from selftaught.verification.own_tests import OwnTests

DOUBLE = "def double(x):\n    return 2 * x\n"


@pytest.fixture(scope="module", autouse=True)
def _held() -> None:
    """Skips by name where the kernel gives this user no namespaces."""
    if said := refusal():
        pytest.skip(said)


async def judged(*programs: str, at_least: int = 1) -> list[Verdict]:
    block = OwnTests(at_least=at_least, timeout=1)
    return await block.judge(group_of(sums()[0], [f"Here:\n```python\n{each}\n```" for each in programs]), Context())


async def test_a_program_passes_that_holds_to_what_it_asserts():
    right = DOUBLE + "assert double(2) == 4\nassert double(0) == 0\n"
    wrong = DOUBLE + "assert double(2) == 5\n"
    assert [each.passed for each in await judged(right, wrong)] == [True, False]
    (few,), (enough,) = await judged(right, at_least=3), await judged(right, at_least=2)
    assert (few.passed, enough.passed) == (False, True)
    assert few.reason == "holds to 2 assertions of its own"


@pytest.mark.parametrize(
    "source",
    [
        DOUBLE,
        DOUBLE + "assert True\n",
        DOUBLE + "def test():\n    assert double(2) == 4\n",
        DOUBLE + "raise SystemExit(0)\nassert double(2) == 5\n",
        DOUBLE + "import os; os._exit(0)\nassert double(2) == 5\n",
        DOUBLE + "while True: pass\nassert double(2) == 4\n",
        "Sure, I can write that.",
        "",
    ],
)
async def test_what_asserts_nothing_or_does_not_come_to_its_end_fails(source: str):
    (verdict,) = await judged(source)
    assert (verdict.passed, verdict.error) == (False, None)
    assert verdict.reason


async def test_equal_programs_have_equal_verdicts_and_each_its_own():
    right, wrong = DOUBLE + "assert double(2) == 4", DOUBLE + "assert double(2) == 5"
    assert [each.passed for each in await judged(right, wrong, right)] == [True, False, True]
