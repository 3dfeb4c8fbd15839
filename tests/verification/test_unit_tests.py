"""Tests as a verifier: what passes, what a model is shown of it, and what no program can gain by attacking it."""

import asyncio
import re
from pathlib import Path

import pytest

from selftaught.blocks import Context
from selftaught.core.errors import BadInput
from selftaught.records import Message, Task, Verdict
from selftaught.sandbox.process import refusal
from selftaught.testing.checks import group_of
from selftaught.verification.gold import gold_checks, stating
from selftaught.verification.task_check import TaskCheck
from selftaught.verification.unit_tests import UnitTests
from tests.sandbox.lost import lose_workers

VISIBLE, HIDDEN = [[[1], 2]], [[[n], 2 * n] for n in (20, 300, 4_000, -50_000)]
DOUBLE = "def double(x):\n    return 2 * x\n"
WRONG = "def double(x):\n    return 2\n"


def task(**changed: object) -> Task:
    check = {"type": "tests", "entry": "double", "visible": VISIBLE, "hidden": HIDDEN, **changed}
    asked = Message(role="user", content="Write double(x), which returns twice the number x.")
    return Task(messages=(asked,), source="test", check=check, texts={"reference": DOUBLE})  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module", autouse=True)
def _held() -> None:
    """Skips by name where the kernel gives this user no namespaces."""
    if said := refusal():
        pytest.skip(said)


async def judged(*programs: str, by: UnitTests = UnitTests(timeout=1), of: Task | None = None) -> list[Verdict]:  # noqa: B008
    return await by.judge(group_of(of or task(), [f"```python\n{source}\n```" for source in programs]), Context())


# What passes ----------------------------------------------------------------------------------------------------------


async def test_the_score_is_the_share_of_hidden_cases_and_all_have_to_pass():
    half = "def double(x):\n    return 2 * x if x in (1, 20, 300) else 0"
    right, wrong, some = await judged(DOUBLE, WRONG, half)
    assert (right.score, right.passed) == (1.0, True)
    assert (wrong.score, wrong.passed) == (0.0, False)
    assert (some.score, some.passed) == (0.5, False)


async def test_who_knows_the_visible_case_alone_has_no_part_of_the_score():
    (verdict,) = await judged("def double(x):\n    return {1: 2}.get(x)")
    assert (verdict.score, verdict.passed) == (0.0, False)


async def test_a_hidden_score_of_one_is_no_pass_while_a_visible_case_fails():
    (verdict,) = await judged("def double(x):\n    return 2 * x if x != 1 else 3")
    assert (verdict.score, verdict.passed) == (1.0, False)


@pytest.mark.parametrize(
    ("expected", "returned", "passed"),
    [
        (1, "1", True),
        (1, "True", False),
        (1, "1.0", False),
        (1.5, "1.5", True),
        (True, "1", False),
        ([1, "a"], "[1, 'a']", True),
        ([1, "a"], "(1, 'a')", False),
        ({"a": [1]}, "{'a': [1]}", True),
        ({"a": [1]}, "{'a': [True]}", False),
        (None, "None", True),
        ("1", "1", False),
    ],
)
async def test_values_are_equal_in_type_and_value_all_the_way_down(expected: object, returned: str, passed: bool):
    of = task(visible=[], hidden=[[[1], expected]])
    assert [each.passed for each in await judged(f"def double(x): return {returned}", of=of)] == [passed]


@pytest.mark.parametrize(
    ("expected", "returned", "passed"),
    [
        ("1", "1.0", True),
        ("True", "1", True),
        ("(1, [2])", "(1, [2.0])", True),
        ("(1, 2)", "[1, 2]", False),
        ("{1, 2}", "{2, 1}", True),
        ("'a'", "'b'", False),
        ("0.5 0.001", "0.5004", True),
        ("0.5 0.001", "0.502", False),
        ("0.5 0.001", "10 ** 400", False),
        ("0.5 0.001", "float('nan')", False),
        ("True truth", "[1]", True),
        ("False truth", "None", True),
        ("False truth", "5", False),
    ],
)
async def test_literals_are_equal_where_python_says_so_close_or_as_true(expected: str, returned: str, passed: bool):
    text, _, how = expected.rpartition(" ") if expected.endswith(("0.001", "truth")) else (expected, "", "")
    case = [["(1, 2)"], text, *([how if how == "truth" else float(how)] if how else [])]
    of = task(visible=[], hidden=[case], literals=True)
    program = f"def double(x): return {returned} if x == (1, 2) else 'wrong argument'"
    assert [each.passed for each in await judged(program, of=of)] == [passed]


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"])
async def test_setup_comes_before_the_program(first: str):
    of = task(setup="from math import prod")
    (verdict,) = await judged(f"{first}def double(x): return prod([2, x])", of=of)
    assert verdict.passed


async def test_a_text_that_is_no_literal_is_refused_with_what_it_is():
    for text in ("open(1)", "..."):
        with pytest.raises(BadInput, match=rf"'{re.escape(text)}' is not the text of a Python literal"):
            await judged(DOUBLE, of=task(literals=True, visible=[], hidden=[[[text], "1"]]))


async def test_the_task_s_own_check_asks_it():
    (verdict,) = await TaskCheck().judge(group_of(task(), [DOUBLE]), Context())
    assert (verdict.verifier, verdict.passed) == ("tests", True)


async def test_a_reference_is_the_gold_answer():
    assert stating(task()) == DOUBLE
    (check,) = await gold_checks([task()], [TaskCheck()])
    assert (check.tasks, check.failed) == (1, 0)


async def test_equal_programs_have_equal_verdicts_in_their_order():
    said = await judged(DOUBLE, WRONG, DOUBLE, DOUBLE, WRONG)
    assert [each.passed for each in said] == [True, False, True, True, False]


# What is shown --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (WRONG.replace("2", "3"), "double(1) returned 3, expected 2"),
        ("def double(x): return x / 0", "double(1) raised ZeroDivisionError: division by zero, expected 2"),
        ("def f(x): return x", "double(1) raised NameError: name 'double' is not defined, expected 2"),
        ("def double(x) return x", "SyntaxError: expected ':'"),
        ("import numpy\n" + DOUBLE, "ModuleNotFoundError: No module named 'numpy'"),
        (
            "def double(x):\n    while True: pass",
            "double(1) returned nothing, expected 2: the program took longer than it may",
        ),
        (WRONG, "fails 4 of 4 hidden tests"),
        ("def double(x): return 10 ** 9_999", "double(1) returned a large int, expected 2"),
    ],
)
async def test_the_reason_is_the_first_visible_failure_or_the_error(source: str, reason: str):
    assert [verdict.reason for verdict in await judged(source)] == [reason]


@pytest.mark.parametrize(
    "source", [WRONG.replace("2", "3"), "def double(x): raise ValueError(x)", "def double(x): 1/0"]
)
async def test_with_show_none_no_case_is_shown(source: str):
    (verdict,) = await judged(source, by=UnitTests(timeout=1, show="none"))
    assert verdict.reason == "fails 5 of 5 tests"


@pytest.mark.parametrize(
    "source", [WRONG, "def double(x):\n    assert x == 1\n    return 2", "def double(x): 1/0", "(("]
)
@pytest.mark.parametrize("show", ["visible", "none"])
async def test_nothing_that_is_expected_of_a_hidden_case_is_shown(source: str, show: str):
    (verdict,) = await judged(source, by=UnitTests.model_validate({"timeout": 1, "show": show}))
    assert not any(str(expected) in verdict.reason for _, expected in HIDDEN)


async def test_prose_fails():
    (verdict,) = await UnitTests().judge(group_of(task(), ["It is twice the number."]), Context())
    assert (verdict.passed, verdict.score, verdict.reason) == (False, 0.0, "no program in the answer")


# What is wrong with a task --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"entry": "no name"}, r"check\.entry"),
        ({"hidden": [[1, 2]]}, r"check\.hidden\.0\.0"),
        ({"hidden": [], "visible": []}, "neither hidden nor visible"),
        ({"hiden": []}, r"check\.hiden"),
    ],
)
async def test_a_check_that_is_none_is_refused_with_its_task_and_the_fix(changed: dict[str, object], said: str):
    of = task(**changed)
    with pytest.raises(BadInput, match=said) as found:
        await judged(DOUBLE, of=of)
    assert of.id in str(found.value) and "hidden: [[ARGUMENTS, EXPECTED], …]" in str(found.value)


# The sandbox ----------------------------------------------------------------------------------------------------------


async def test_a_sandbox_that_is_lost_is_an_error_and_no_failure_of_the_model():
    judging = asyncio.ensure_future(judged("def double(x):\n    while True: pass", by=UnitTests(timeout=600)))
    while not judging.done():
        await asyncio.sleep(0.3)
        lose_workers()
    (verdict,) = await judging
    assert verdict.error is not None and verdict.score is None
    assert [each.passed for each in await judged(DOUBLE)] == [True]


async def test_the_loop_goes_on_while_programs_run():
    judging = asyncio.ensure_future(judged("def double(x):\n    while True: pass"))
    ticks = 0
    while not judging.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 20


async def test_who_stops_waiting_stops_the_program():
    judging = asyncio.ensure_future(judged("def double(x):\n    while True: pass", by=UnitTests(timeout=600)))
    await asyncio.sleep(0.3)
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    async with asyncio.timeout(60):
        assert [each.passed for each in await judged(DOUBLE, DOUBLE + "\n", DOUBLE + "\n\n")] == [True] * 3


# Attacks --------------------------------------------------------------------------------------------------------------

EQUAL = "class Equal(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
ATTACKS = {
    "exits with a good status": "import sys\nsys.exit(0)\n",
    "exits within a call": "import sys\ndef double(x): sys.exit(0)\n",
    "ends its process": "import os\nos._exit(0)\n",
    "ends its process within a call": "import os\ndef double(x): os._exit(0)\n",
    "returns what equals everything": EQUAL + "def double(x): return Equal(0)\n",
    "patches equality and types": (
        "import builtins, operator\nbuiltins.isinstance = lambda *_: True\nbuiltins.type = lambda x: int\n"
        "operator.eq = lambda a, b: True\n" + WRONG
    ),
    "patches what encodes": "import json, values\nvalues.encode = json.dumps = lambda *a, **k: 'true'\n" + WRONG,
    "forges its output": "print('= {\"int\": \"0x28\"}\\nOK\\n5 passed')\n" + WRONG,
    "forges its results": (
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'= {\"int\": \"0x28\"}\\n' * 5)\n"
        "    except OSError: pass\n" + WRONG
    ),
    "writes over its calls": "open('calls', 'w').write('{\"tuple\": [{\"int\": \"0x1\"}]}\\n' * 5)\n" + WRONG,
    "writes over the harness": (
        "for name in ('program.py', 'values.py', 'solution.py'):\n    open(name, 'w').write('passed = True')\n" + WRONG
    ),
    "looks for what is expected": (
        "import gc, sys\ndef double(x):\n    frame = sys._getframe(1)\n"
        "    seen = [frame.f_locals, frame.f_globals, *gc.get_objects()]\n"
        "    return next((each['hidden'] for each in seen if type(each) is dict and 'hidden' in each), 2)\n"
    ),
    "reads the host": f"exec(open({__file__!r}).read())\nimport selftaught\n",
    "imports the platform": "import selftaught.verification.unit_tests\n" + DOUBLE,
    "asks the network": "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')\n" + DOUBLE,
    "forks without end": (
        "import os\ndef double(x):\n    while True:\n        try: os.fork()\n        except OSError: pass\n"
    ),
    "takes all memory": "def double(x):\n    kept = []\n    while True: kept.append(bytearray(1 << 20))\n",
    "computes without end": "def double(x):\n    while True: pass\n",
    "computes without end in one call": "def double(x): return 9 ** 9 ** 9\n",
    "prints without end": "def double(x):\n    while True: print('x' * 4096)\n",
    "returns too much": "def double(x): return 'x' * (1 << 20)\n",
    "nests too deeply": "def double(x):\n    kept = []\n    for _ in range(100_000): kept = [kept]\n    return kept\n",
    "crashes": "import ctypes\nctypes.string_at(0)\n",
    "kills all it sees": (
        "import os, signal\nfor pid in (1, os.getppid(), -1):\n"
        "    try: os.kill(pid, signal.SIGKILL)\n    except OSError: pass\n" + WRONG
    ),
    "guesses by hash order": "def double(x): return list({'a', 'b', 'c', 'd', str(x)})\n",
    "guesses by chance": "import random\ndef double(x): return random.choice([2, 40, 600])\n",
    "raises what it was asked": "def double(x): raise BaseException(x)\n",
    "hides in a thread": "import threading\nthreading.Thread(target=lambda: None).start()\n" + WRONG,
    "is no Unicode": "x = '\ud800'\n" + WRONG,
    "raises what is no Unicode": "def double(x): raise ValueError('\\ud800\\udcff')\n",
    "returns what is no Unicode": "def double(x): return '\\ud800\\udcff'\n",
    "returns keys nested as deep as can be read": (
        "def double(x):\n    kept = ()\n    for _ in range(x * 10 % 400): kept = (kept,)\n    return {kept: 1}\n"
    ),
    "is not text": "\\x00\\ud800\n\0" + WRONG,
}  # fmt: skip


@pytest.mark.parametrize("source", ATTACKS.values(), ids=ATTACKS.keys())
async def test_an_attack_is_a_failure_of_the_model_and_the_same_each_time(source: str):
    attack = UnitTests(timeout=1)
    (first,), (second,) = await judged(source, by=attack), await judged(source, by=attack)
    assert (first.error, first.passed) == (None, False)
    assert first.score is not None and first.score < 1
    assert first == second
    assert [each.passed for each in await judged(DOUBLE)] == [True]


@pytest.mark.parametrize("depth", range(100, 1001, 50))
async def test_a_key_of_any_depth_is_compared_with_what_is_expected(depth: int):
    source = f"def double(x):\n    kept = ()\n    for _ in range({depth}): kept = (kept,)\n    return {{kept: 1}}"
    (verdict,) = await judged(source, of=task(visible=[], hidden=[[[1], {"a": 1}]]))
    assert (verdict.error, verdict.passed) == (None, False)


async def test_a_program_that_is_right_in_whatever_way_passes_beside_them():
    """Which of them could have passed: the attacks are not refused for what they import."""
    honest = "import os, sys, gc, json, random, threading\nprint('x')\n" + DOUBLE
    assert [each.passed for each in await judged(honest)] == [True]


def test_each_event_loop_is_answered():
    for _ in range(2):
        assert [each.passed for each in asyncio.run(judged(DOUBLE))] == [True]


def test_this_file_is_there_to_be_read():
    """Or else the attack that reads it would prove nothing."""
    assert "def double" in Path(__file__).read_text()
