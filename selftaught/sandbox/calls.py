"""Calls of a function that a model wrote: the values that it returned, for whoever knows the right ones to compare.

Arguments go in, values come out, and what is expected stays outside: a program can return what it likes, patch what it
likes and end when it likes, and has gained nothing but the values that it names. Every call is made in one process, in
order, on arguments of its own; what was not answered, because the program ended, is `Unanswered`. Random numbers have
one seed, so that a program which guesses guesses the same in every run.
"""

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from selftaught.sandbox import values
from selftaught.sandbox.harness import AS_MODULE
from selftaught.sandbox.protocol import Limits, Outcome, Program

_HARNESS = (
    AS_MODULE
    + """
import os
import random
import values
RESULTS = os.fdopen(os.dup(3), "w", encoding="ascii", buffering=1)
os.close(3)
def main(function):
    with open("calls", encoding="ascii") as file:
        calls = [values.decode(line) for line in file]
    with open("solution.py", encoding="utf-8", errors="surrogateescape") as file:
        source = file.read()
    space = as_module("solution", "solution.py")
    random.seed(0)
    exec(compile(source, "solution.py", "exec", dont_inherit=True), space)
    for arguments in calls:
        try:
            if function not in space:
                raise NameError(f"name {function!r} is not defined")
            said = "= " + values.encode(space[function](*arguments))
        except Exception as error:
            said = "! " + values.encode(f"{type(error).__name__}: {error}"[:1000])
        RESULTS.write(said + "\\n")
main(sys.argv[1])
"""
)


@dataclass(frozen=True, slots=True)
class Returned:
    """The call returned `value`, plain data."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """The call raised, or returned what is not plain data; `error` names the type and says what."""

    error: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nothing that can be read came back for the call: see how the program ended."""


Answer = Returned | Raised | Unanswered


def calling(source: str, function: str, calls: Sequence[Sequence[Any]], limits: Limits | None = None) -> Program:
    """The program that calls `function` of `source` once with each of `calls`, its positional arguments.

    Raises NotPlain for an argument that is not plain data.
    """
    asked = "".join(values.encode(tuple(arguments)) + "\n" for arguments in calls)
    files = {
        "solution.py": source.encode("utf-8", "surrogatepass"),
        "calls": asked.encode("ascii"),
        "values.pyc": _values(),
    }
    return Program(_HARNESS, args=(function,), files=files, limits=limits or Limits())


@cache
def _values() -> bytes:
    """`values`, compiled, as Python reads a module without its source: compiling takes a quarter of a short program."""
    code = compile(Path(values.__file__).read_bytes(), "values.py", "exec", dont_inherit=True, optimize=2)
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(code)


def answers(outcome: Outcome, calls: int) -> list[Answer]:
    """What each of so many `calls` gave; more lines than calls are someone else's, and then none is believed."""
    lines = outcome.results.split(b"\n")[:-1]
    if len(lines) > calls:
        return [Unanswered()] * calls
    return [*map(_answer, lines), *[Unanswered()] * (calls - len(lines))]


def _answer(line: bytes) -> Answer:
    try:
        value = values.decode(line[2:])
    except values.NotPlain:
        return Unanswered()
    if line[:2] == b"= ":
        return Returned(value)
    return Raised(value) if line[:2] == b"! " and isinstance(value, str) else Unanswered()
