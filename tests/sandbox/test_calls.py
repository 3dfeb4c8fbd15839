"""What a program says that its functions returned, and how little it gains by lying."""

import asyncio
from collections.abc import Callable

import pytest

from selftaught.sandbox.calls import Answer, Raised, Returned, Unanswered, answers, calling
from selftaught.sandbox.process import ProcessSandbox
from selftaught.sandbox.protocol import Limits

Ask = Callable[..., list[Answer]]
WRONG = "def f(x): return 0\n"


@pytest.fixture
def ask(runner: asyncio.Runner, sandbox: ProcessSandbox) -> Ask:
    def ask(source: str, *calls: object, **limits: object) -> list[Answer]:
        program = calling(source, "f", [(each,) for each in calls], Limits(**{"wall_s": 300.0, **limits}))  # pyright: ignore[reportArgumentType]
        return answers(runner.run(sandbox.run(program)), len(calls))

    return ask


def test_values_come_back_for_each_call_in_order(ask: Ask):
    assert ask("def f(x): return [x, {x: (x,)}]", 1, "a", b"\0") == [
        Returned([each, {each: (each,)}]) for each in (1, "a", b"\0")
    ]


def test_a_call_that_raises_is_told_from_the_others(ask: Ask):
    assert ask("def f(x): return 1 / x", 0, 2) == [Raised("ZeroDivisionError: division by zero"), Returned(0.5)]


def test_a_function_that_is_not_there_raises(ask: Ask):
    assert ask("def g(x): return x", 1) == [Raised("NameError: name 'f' is not defined")]


def test_a_program_that_does_not_compile_answers_nothing(ask: Ask):
    assert ask("def f(", 1, 2) == [Unanswered()] * 2


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
import pickle
@dataclass
class Item:
    count: int
def f(x: int) -> int:
    return pickle.loads(pickle.dumps(Item(x))).count
"""


def test_classes_are_found_in_their_module_as_in_any_other(ask: Ask):
    assert ask(DATACLASS, 4) == [Returned(4)]


def test_a_program_that_guesses_guesses_the_same_in_every_run(ask: Ask):
    source = "import random\ndef f(x): return random.random()"
    assert ask(source, 1, 2) == ask(source, 1, 2)


def test_what_it_changes_in_its_argument_is_its_own(ask: Ask):
    argument = [1]
    assert ask("def f(x): x.append(2); return x", argument, argument) == [Returned([1, 2])] * 2
    assert argument == [1]


def test_a_loop_in_the_second_call_leaves_the_first_answered(ask: Ask):
    source = "def f(x):\n    while x: pass\n    return x"
    assert ask(source, 0, 1, 0, cpu_s=1) == [Returned(0), Unanswered(), Unanswered()]


@pytest.mark.parametrize("when", ["import os; os._exit(0)\n", "raise SystemExit(0)\n"])
def test_ending_before_the_first_call(ask: Ask, when: str):
    assert ask(when + WRONG, 1, 2) == [Unanswered()] * 2


def test_ending_within_a_call(ask: Ask):
    assert ask("import sys\ndef f(x): sys.exit(0)", 1, 2) == [Unanswered()] * 2


def test_an_object_that_equals_everything_is_no_value(ask: Ask):
    source = "class E(int):\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x): return E()"
    assert ask(source, 1) == [Raised("NotPlain: E is not plain data")]


def test_an_object_that_unpickles_as_something_is_no_value(ask: Ask):
    source = "import os\nclass P:\n    def __reduce__(self): return os.system, ('touch /tmp/x',)\ndef f(x): return P()"
    assert ask(source, 1) == [Raised("NotPlain: P is not plain data")]


@pytest.mark.parametrize(
    "patch",
    [
        "import builtins; builtins.isinstance = lambda *_: True; builtins.type = lambda x: int",
        "import values; values.encode = lambda value: 'true'",
        "import values, json; json.dumps = lambda *a, **k: '\"right\"'",
        "import sys; sys.modules['__main__'].RESULTS.write('passed\\n')",
    ],
    ids=["builtins", "encode", "json", "the file"],
)
def test_patching_what_it_runs_in_gives_no_value_that_it_did_not_name(ask: Ask, patch: str):
    """It cannot name what it does not know: expected values are not in the sandbox."""
    for answer in ask(patch + "\n" + WRONG, 41, 42):
        assert answer not in (Returned(41), Returned(42))


def test_forged_results_beside_the_real_ones_are_not_believed(ask: Ask):
    source = "import os\nfor n in range(3, 64):\n    try: os.write(n, b'= true\\n')\n    except OSError: pass\n" + WRONG
    assert ask(source, 1, 2) == [Unanswered()] * 2


def test_closing_every_descriptor(ask: Ask):
    assert ask("import os; os.closerange(3, 64)\n" + WRONG, 1) == [Unanswered()]


def test_results_that_are_cut_off_are_not_half_believed(ask: Ask):
    assert ask("def f(x): return 'x' * x", 10, 100_000, output=1000) == [Returned("x" * 10), Unanswered()]


def test_text_that_is_no_unicode_comes_through(ask: Ask):
    assert ask("def f(x): return x + '\\ud800'", "\udcff") == [Returned("\udcff\ud800")]
