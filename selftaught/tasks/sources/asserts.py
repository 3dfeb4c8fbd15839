"""Asserts: test cases out of the assert statements that data sets of programs come with. They are read and never run.

A case is a call with literal arguments and what has to come back: `assert f([1, 2]) == (1, 2)`, `assert f(1)`, `assert
not f(1)`, `assert f(1) is None`, `assert abs(f(1) - 0.5) < 1e-6`, in a list (MBPP) or in a function whose parameter is
what it calls (HumanEval's `check(candidate)`). Everything else that may test something (a loop, a helper, an `if`) is
no case, and makes the problem unreadable: a program that passes the rest might still be wrong.
"""

import ast
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, cast

from pydantic import JsonValue

MOST_BITS = 64
"""Of an operand, and of what an exponent makes of it: what stands in a data set costs nothing to compute."""

How = float | Literal["truth"] | None
"""What makes a result right: equal (None), less than so far from what is expected, or as true."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_STRANGE = (ValueError, TypeError, ArithmeticError, SyntaxError, RecursionError, MemoryError)
"""What reading text of strangers raises."""


class NoCase(ValueError):
    """The beginning of a statement that is no test case, or why there is none."""


@dataclass(frozen=True, slots=True)
class _Assert:
    """The asserted expression, and the parameter of the function that asserts it."""

    test: ast.expr
    parameter: str | None


def as_check(texts: Sequence[str], entry: str | None, setup: str = "", visible: int = 0) -> dict[str, JsonValue]:
    """The `check` of a task: the cases that `texts` assert of the function `entry`, or (None) of the one they all call.

    So many of them, the first ones, are `visible`. Of `setup` the statements before the function count. Raises NoCase
    for a statement that may test something and is none, or where there are none.
    """
    try:
        return _check(texts, entry, setup, visible)
    except NoCase:
        raise
    except _STRANGE as error:
        raise NoCase(f"cannot be read ({type(error).__name__}: {str(error)[:80]})") from None


def _check(texts: Sequence[str], entry: str | None, setup: str, visible: int) -> dict[str, JsonValue]:
    read = [_case(each, entry) for text in texts for each in _asserts(text)]
    names = {name for name, _ in read}
    if len(names) != 1:
        raise NoCase(f"calls of {' and '.join(sorted(names))}" if names else "no assert statement")
    (name,), cases = names, [case for _, case in read]
    if not _NAME.fullmatch(name) or name != (entry or name):
        raise NoCase(f"calls of {name}" + (f" where {entry} is the function" if entry else ""))
    return {
        "type": "tests",
        "entry": name,
        "literals": True,
        "setup": before(setup, name),
        "visible": cases[:visible],
        "hidden": cases[visible:],
    }


def before(source: str, function: str) -> str:
    """The statements of `source` before the definition of `function`; all, where it defines none."""

    def is_other(node: ast.stmt) -> bool:
        return not (isinstance(node, ast.FunctionDef) and node.name == function)

    return "\n".join(map(ast.unparse, takewhile(is_other, ast.parse(source).body)))


def _asserts(text: str) -> Iterator[_Assert]:
    for node in ast.parse(text).body:
        match node:
            case ast.FunctionDef(args=ast.arguments(args=[ast.arg(arg=parameter)])):
                yield from (_Assert(test, parameter) for each in node.body for test in _tests(each, parameter))
            case _:
                yield from (_Assert(test, None) for test in _tests(node, None))


def _tests(node: ast.stmt, parameter: str | None) -> Iterator[ast.expr]:
    match node:
        case ast.Assert(test=ast.Constant(value=True)):  # HumanEval's "check some simple cases"
            return
        case ast.Assert(test=test):
            yield test
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr(value=ast.Constant() | ast.Name()):
            return
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict()) if name != parameter:
            return  # HumanEval's METADATA
        case ast.Expr(value=ast.Call(func=ast.Name(id="check"))) if parameter is None:
            return
        case _:
            raise NoCase(_beginning(node))


def _case(found: _Assert, entry: str | None) -> tuple[str, JsonValue]:
    """The function's name, and the call with what it has to return, and how."""
    try:
        call, expected, how = _compared(found.test)
        name, arguments = _called(call)
        case: list[JsonValue] = [[_text(argument) for argument in arguments], _text(expected)]
    except _STRANGE:
        raise NoCase(_beginning(found.test)) from None
    if name == found.parameter:
        if entry is None:
            raise NoCase(f"calls of the parameter {name}: name the column of the function's name (tests.entry)")
        name = entry
    return name, case if how is None else [*case, how]


def _text(value: Any) -> str:
    text = _literal(value)
    ast.literal_eval(text)  # an infinity is no literal
    return text


def _literal(value: Any) -> str:
    """`repr`, but that a set's elements have an order: theirs is another one in every process, and task ids are not."""
    if isinstance(value, dict):
        pairs = cast(dict[Any, Any], value).items()
        return f"{{{', '.join(f'{_literal(key)}: {_literal(each)}' for key, each in pairs)}}}"
    if not value or not isinstance(value, list | tuple | set):
        return repr(value)  # pyright: ignore[reportUnknownArgumentType]
    parts = [_literal(each) for each in cast(Iterable[Any], value)]
    if isinstance(value, list):
        return f"[{', '.join(parts)}]"
    if isinstance(value, set):
        return f"{{{', '.join(sorted(parts))}}}"
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _compared(test: ast.expr) -> tuple[ast.expr, Any, How]:
    match test:
        case ast.Call(func=ast.Name(id=name)) if name != "abs":
            return test, True, "truth"
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return call, False, "truth"
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=call, op=ast.Sub(), right=expected)]),
            ops=[ast.Lt() | ast.LtE() as less],
            comparators=[most],
        ):
            return call, _value(expected), _tolerance(_value(most), isinstance(less, ast.LtE))
        case ast.Compare(left=ast.Call() as call, ops=[ast.Eq() | ast.Is()], comparators=[expected]):
            return call, _value(expected), None
        case ast.Compare(left=expected, ops=[ast.Eq()], comparators=[ast.Call() as call]):
            return call, _value(expected), None
        case _:
            raise ValueError


def _tolerance(most: Any, inclusive: bool) -> float:
    tolerance = math.nextafter(float(most), math.inf) if inclusive else float(most)
    if not 0 < tolerance < math.inf:
        raise ValueError
    return tolerance


def _called(call: ast.expr) -> tuple[str, list[Any]]:
    match call:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name, [_value(argument) for argument in arguments]
        case _:
            raise ValueError


def _value(node: ast.expr) -> Any:
    """A literal, a list or tuple of values, or arithmetic of small numbers and texts. Raises ValueError."""
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _computed(type(op), _value(left), _value(right))
        case ast.Tuple(elts=elements):
            return tuple(map(_value, elements))
        case ast.List(elts=elements):
            return list(map(_value, elements))
        case _:
            return ast.literal_eval(node)


def _computed(op: type[ast.AST], left: Any, right: Any) -> Any:
    if op is ast.Add and isinstance(left, str):
        return left + right
    return _OPERATORS[op](_number(left), _number(right))


def _number(value: Any) -> float:
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= MOST_BITS):
        return value
    raise ValueError


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > MOST_BITS:
        raise ValueError
    return base**exponent


_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: _power,
}


def _beginning(node: ast.AST) -> str:
    return ast.unparse(node).partition("\n")[0][:100]
