"""Execution traces: what they say of a line is what a debugger sees after it, and they are of a case that fails."""

import ast
import random
import sys
from types import FrameType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.blocks import Draw
from selftaught.tasks.sources.function_operations import HELD_OUT, TRAINED
from selftaught.tasks.sources.function_programs import composed, mutants, probes
from selftaught.tasks.sources.function_traces import MAX_CHARS, traced
from selftaught.tasks.sources.functions import Functions
from selftaught.verification.unit_tests import cases_of

SEEDS = st.integers(0, 2**63 - 1)


def seen(program: str, argument: Any) -> list[tuple[int, str]]:
    """The lines that run and `x` before each, and how the function ends, as the interpreter's own hook has it."""
    found, space = list[tuple[int, str]](), dict[str, Any]()
    exec(compile(program, "<traced>", "exec"), space)

    def hook(frame: FrameType, event: str, value: Any) -> Any:
        if frame.f_code.co_filename != "<traced>" or frame.f_code.co_name != "solve":
            return None
        said = {"line": lambda: f"x = {frame.f_locals['x']!r}", "return": lambda: f"returns {value!r}"}
        again = event == "line" and found and found[-1][0] == frame.f_lineno  # from 3.12 on behind a comprehension
        if event in said and not again:
            found.append((frame.f_lineno, said[event]()))
        return hook

    before = sys.gettrace()
    sys.settrace(hook)
    try:
        space["solve"](argument)
    except Exception as error:  # noqa: BLE001 (a mistake may raise anything)
        found[-1] = (found[-1][0], f"raises {type(error).__name__}: {error}")
    finally:
        sys.settrace(before)
    return found


@given(SEEDS, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_a_trace_is_what_the_interpreter_does(seed: int, depth: int):
    made = composed(random.Random(seed), (*TRAINED, *HELD_OUT), depth)
    for program in [made.program, *(text for _, text in mutants(made.program))]:
        argument = probes(made.takes)[seed % 32]
        lines = traced(program, argument, "?").splitlines()
        comments = [line.partition("  # ")[2] for line in lines if "  # " in line]
        expected = [said[:MAX_CHARS] for _, said in seen(program, argument)]
        assert [said.removesuffix(", expected '?'")[:MAX_CHARS] for said in comments] == expected
        assert ast.dump(ast.parse("\n".join(lines))) == ast.dump(ast.parse(program))


def test_the_lines_after_an_error_are_left_bare():
    program = "def solve(x):\n    x = x[9]\n    x = x + 1\n    return x\n"
    assert traced(program, [1], 2).splitlines() == [
        "def solve(x):  # x = [1]",
        "    x = x[9]  # raises IndexError: list index out of range, expected 2",
        "    x = x + 1",
        "    return x",
    ]


def test_a_program_to_repair_comes_with_its_trace_on_the_first_case_that_is_shown():
    source = Functions(train=8, gate=4, report=4, guard=4, depth=(1, 2), kinds=("write", "repair"))
    for task in source.draw(Draw(3, 4)):
        if task.question.startswith("Write"):
            assert "trace" not in task.texts
            continue
        trace, ((argument,), expected, _) = task.texts["trace"], cases_of(task).visible[0]
        assert "".join(line.partition("  # ")[0] + "\n" for line in trace.splitlines()) in task.question
        assert trace.startswith(f"def solve(x):  # x = {argument!r}\n")
        assert trace.endswith(f", expected {expected!r}\n") or ", expected " in trace
