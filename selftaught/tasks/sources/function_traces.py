"""Execution traces: what each line of a function makes of its argument, as comments in the program.

Models that repair programs read them (NExT, arXiv 2404.14662). As in `function_programs`, programs are composed of our
own operations, one a line, so they run in this process; what a model writes does not.
"""

import ast
from collections.abc import Iterator
from typing import Any

MAX_CHARS = 80
"""Of a value in a comment."""


def traced(program: str, given: Any, expected: Any) -> str:
    """`program`, called with `given`: each line that ran has the value of `x` after it, the last one how it ended.

    >>> print(traced("def solve(x):\\n    x = x + 1\\n    return x * 2\\n", 3, 10), end="")
    def solve(x):  # x = 3
        x = x + 1  # x = 4
        return x * 2  # returns 8, expected 10
    """
    (function,) = ast.parse(program).body
    assert isinstance(function, ast.FunctionDef)
    comments = dict(_comments(function, given, _shown(expected)))
    lines = enumerate(program.splitlines(), 1)
    return "".join(f"{line}  # {comments[at]}\n" if at in comments else f"{line}\n" for at, line in lines)


def _comments(function: ast.FunctionDef, x: Any, expected: str) -> Iterator[tuple[int, str]]:
    """The line numbers, from 1, and what there is to say of each line that runs."""
    yield function.lineno, f"x = {_shown(x)}"
    space = {"x": x}
    for statement in function.body:
        try:
            value = _value(statement, space)
        except Exception as error:  # noqa: BLE001 (a mistake may raise anything)
            yield statement.lineno, f"raises {type(error).__name__}: {error}, expected {expected}"
            return
        if statement is function.body[-1]:
            yield statement.lineno, f"returns {_shown(value)}, expected {expected}"
        else:
            yield statement.lineno, f"x = {_shown(space['x'])}"


def _value(statement: ast.stmt, space: dict[str, Any]) -> Any:
    """What `statement` returns; what it assigns is in `space` afterwards."""
    if isinstance(statement, ast.Return) and statement.value is not None:
        return eval(compile(ast.Expression(statement.value), "function", "eval"), space)  # noqa: S307 (our own)
    exec(compile(ast.Module([statement], []), "function", "exec"), space)  # noqa: S102 (our own)
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
