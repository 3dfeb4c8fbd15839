"""Asserts: test cases out of the assert statements that data sets of programs come with. They are read and never run.

A case is a call with literal arguments and what has to come back: `assert f([1, 2]) == (1, 2)`, `assert f(1)`, `assert
not f(1)`, `assert f(1) is None`, `assert abs(f(1) - 0.5) < 1e-6`, in a list (MBPP) or in a function whose parameter is
what it calls (HumanEval's `check(candidate)`). Everything else (a loop, a helper, random arguments) is no case, and
makes the problem unreadable: a program that passes the rest of its asserts might still be wrong. Statements that
assert nothing are passed over.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from pydantic import JsonValue

MOST_BITS = 64
"""Of an operand, and of what an exponent makes of it: what stands in a data set costs nothing to compute."""


class NoCase(ValueError):
    """The beginning of an assert statement that is no test case."""


@dataclass(frozen=True, slots=True)
class _Assert:
    """The asserted expression, and the parameter of the function that asserts it."""

    test: ast.expr
    parameter: str | None


def as_check(texts: Sequence[str], entry: str | None, setup: str = "", visible: int = 0) -> dict[str, JsonValue]:
    """The `check` of a task: the cases that `texts` assert of the function `entry`, or (None) of the one they all call.

    So many of them, the first ones, are `visible`. Of `setup` the statements before the function count. Raises NoCase
    for an assert that is none, or where there are none.
    """
    read = [_case(each, entry) for text in texts for each in _asserts(text)]
    names = {name for name, _, _ in read}
    if len(names) != 1:
        raise NoCase(f"calls of {' and '.join(sorted(names))}" if names else "no assert statement")
    (name,), cases = names, [case for _, case, _ in read]
    return {
        "type": "tests",
        "entry": name,
        "literals": True,
        "tolerance": max(tolerance for *_, tolerance in read),
        "setup": before(setup, name),
        "visible": cases[:visible],
        "hidden": cases[visible:],
    }


def before(source: str, function: str) -> str:
    """The statements of `source` before the definition of `function`; all, where it defines none. Raises NoCase."""

    def is_other(node: ast.stmt) -> bool:
        return not (isinstance(node, ast.FunctionDef) and node.name == function)

    return "\n".join(map(ast.unparse, takewhile(is_other, _parsed(source))))


def _parsed(source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NoCase(f"not Python ({error.msg if isinstance(error, SyntaxError) else error})") from None


def _asserts(text: str) -> Iterator[_Assert]:
    for node in _parsed(text):
        match node:
            case ast.FunctionDef(args=ast.arguments(args=[ast.arg(arg=parameter)])):
                yield from (_Assert(test, parameter) for each in node.body for test in _tests(each))
            case _:
                yield from (_Assert(test, None) for test in _tests(node))


def _tests(node: ast.stmt) -> Iterator[ast.expr]:
    match node:
        case ast.Assert(test=ast.Constant(value=True)):  # HumanEval's "check some simple cases"
            return
        case ast.Assert(test=test):
            yield test
        case _:
            if any(isinstance(each, ast.Assert) for each in ast.walk(node)):
                raise NoCase(_beginning(node))


def _case(found: _Assert, entry: str | None) -> tuple[str, JsonValue, float]:
    """The function's name, the call with what it has to return, and how far from that a number may be."""
    try:
        call, expected, tolerance = _compared(found.test)
        name, arguments = _called(call)
        ast.literal_eval(repr((arguments, expected)))  # an infinity is no literal
    except (ValueError, TypeError, ArithmeticError):
        raise NoCase(_beginning(found.test)) from None
    if name == found.parameter:
        name = entry or name
    return name, [[repr(argument) for argument in arguments], repr(expected)], tolerance


def _compared(test: ast.expr) -> tuple[ast.expr, Any, float]:
    match test:
        case ast.Call(func=ast.Name(id=name)) if name != "abs":
            return test, True, 0.0
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return call, False, 0.0
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=call, op=ast.Sub(), right=expected)]),
            ops=[ast.Lt() | ast.LtE()],
            comparators=[tolerance],
        ):
            return call, _value(expected), float(_value(tolerance))
        case ast.Compare(left=ast.Call() as call, ops=[ast.Eq() | ast.Is()], comparators=[expected]):
            return call, _value(expected), 0.0
        case ast.Compare(left=expected, ops=[ast.Eq()], comparators=[ast.Call() as call]):
            return call, _value(expected), 0.0
        case _:
            raise ValueError


def _called(call: ast.expr) -> tuple[str, list[Any]]:
    match call:
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return name, [_value(argument) for argument in arguments]
        case _:
            raise ValueError


def _value(node: ast.expr) -> Any:
    """A literal, a list or tuple of values, or arithmetic of small numbers. Raises ValueError."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right) if isinstance(text := _value(left), str):
            return text + _value(right)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_number(left), _number(right))
        case ast.Tuple(elts=elements):
            return tuple(map(_value, elements))
        case ast.List(elts=elements):
            return list(map(_value, elements))
        case _:
            return ast.literal_eval(node)


def _number(node: ast.expr) -> float:
    value = _value(node)
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
