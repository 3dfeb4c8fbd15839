"""What a script that a model wrote prints: as text for a model, whatever the script does."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.process import ProcessSandbox
from selftaught.sandbox.protocol import Outcome, Termination
from selftaught.sandbox.scripts import MAX_PRINTED, printed, running

Prints = Callable[[str], str]


@pytest.fixture
def prints(runner: asyncio.Runner, sandbox: ProcessSandbox) -> Prints:
    return lambda source: printed(runner.run(sandbox.run(running(source))))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("print(3 * 4)", "12"),
        ("17 * 3 - 1", "50"),
        ("x = 'a'\nx * 2", "'aa'"),
        ("print('one')\n2", "one\n2"),
        ("x = 5", "(no output)"),
        ("", "(no output)"),
        ("None", "(no output)"),
        ("print(1)\n1 / 0", "1\nZeroDivisionError: division by zero"),
        ("if __name__ == '__main__':\n    print(__name__)", "__main__"),
        ("raise SystemExit(3)", "the program ended itself with status 3"),
        ("import os; os._exit(0)", "(no output)"),
    ],
)
def test_what_an_interpreter_would_show(prints: Prints, source: str, said: str):
    assert prints(source) == said


def test_a_script_is_the_main_module_and_has_no_name_of_the_harness(prints: Prints):
    assert prints("import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))).__name__") == "'A'"
    assert "NameError" in prints("ast")


def test_what_does_not_compile_is_the_scripts_error(prints: Prints):
    assert prints("Sure! 12 times 4 is 48.").startswith("SyntaxError")
    assert "Error" in prints("x = '\ud800'")


def test_a_script_that_guesses_guesses_the_same_in_every_run(prints: Prints):
    source = "import random\nprint(random.random(), {'a', 'b', 'c'})"
    assert prints(source) == prints(source)


def test_a_script_that_takes_too_long_or_prints_too_much_is_ended(prints: Prints):
    assert prints("while True: pass") == "the program took longer than it may"
    assert prints("while True: print('x' * 1000)").endswith("\nthe program wrote more than it may")


def test_a_script_sees_no_file_and_no_variable_of_the_step(prints: Prints):
    assert prints("import os\nprint([k for k in os.environ if 'SELFTAUGHT' in k or 'KEY' in k])") == "[]"
    assert "Error" in prints("open('/etc/hostname').read()")
    assert "Error" in prints("import socket\nsocket.create_connection(('127.0.0.1', 80), 1)")


@given(st.binary(max_size=3 * MAX_PRINTED), st.binary(max_size=300), st.sampled_from(Termination), st.integers(0, 255))
def test_whatever_it_wrote_is_short_unicode_and_never_empty(out: bytes, err: bytes, ended: Termination, exit: int):
    said = printed(Outcome(ended, exit, None, out, err, b"", 0.0, 0.0))
    assert said and len(said.encode()) and len(said) <= MAX_PRINTED + 300
