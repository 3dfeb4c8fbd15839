"""Programs of operations: how they are written, what they do on fixed inputs, and what one mistake makes of them.

All programs here are composed of our own operations and cannot run for long, so they run in this process; what a model
writes does not.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, cycle
from random import Random
from typing import Any

from selftaught.sandbox.values import encode
from selftaught.tasks.sources.function_operations import Kind, Operation
from selftaught.tasks.splits import seeded

ENTRY = "solve"
PROBES = 32
"""Inputs of each type: two functions that agree on all of them are the same."""

_WORDS = "apple Bird cat Door east fig green Hat ice Jam kite lion Moon nut Oak pen queen Red sun tea Up vine".split()

Outputs = tuple[str, ...]
"""What a program does on each probe: the text of the value that it returns, or what it raises."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Operations with their constants, applied one after the other."""

    operations: tuple[tuple[Operation, int], ...]

    @property
    def takes(self) -> Kind:
        """The type of its argument."""
        return self.operations[0][0].takes

    @property
    def program(self) -> str:
        """The function, one line an operation, as `ast.unparse` writes it."""
        *steps, last = [operation.code.format(k=k) for operation, k in self.operations]
        lines = [*(f"x = {step}" for step in steps), f"return {last}"]
        return "\n    ".join([f"def {ENTRY}(x):", *lines]) + "\n"

    @property
    def text(self) -> str:
        """What it does, in words."""
        return ", then ".join(operation.text.format(k=k) for operation, k in self.operations)

    def shorter(self) -> Iterator["Composition"]:
        """It without some of its operations, wherever what is left fits together."""
        for count in range(1, len(self.operations)):
            for left in combinations(self.operations, count):
                types = [self.takes, *(operation.gives for operation, _ in left)]
                fits = all(operation.takes == given for (operation, _), given in zip(left, types, strict=False))
                if fits and types[-1] == self.operations[-1][0].gives:
                    yield Composition(left)


def composed(random: Random, operations: Sequence[Operation], depth: int) -> Composition:
    """`depth` random `operations`, each of which takes what the one before gives."""
    chosen = [random.choice(operations)]
    while len(chosen) < depth:
        chosen.append(random.choice([each for each in operations if each.takes == chosen[-1].gives]))
    return Composition(tuple((each, random.choice(each.constants)) for each in chosen))


# What a program does --------------------------------------------------------------------------------------------------


@cache
def probes(kind: Kind) -> tuple[Any, ...]:
    """The inputs of a type, the same for ever: the pools of functions follow from them."""
    random = seeded("functions", kind)
    if kind == "int":
        return (0, *random.sample(range(1, 100), PROBES - 9), *random.sample(range(-30, 0), 8))
    made = list[Any]([[] if kind == "list" else ""])
    for size in cycle(range(1, 8)):
        new = [random.randint(-5, 15) for _ in range(size)]
        if kind == "str":
            new = " ".join(random.choices(_WORDS, k=(size + 1) // 2))
        if new not in made:
            made.append(new)
        if len(made) == PROBES:
            break
    return tuple(made)


@lru_cache(maxsize=1 << 14)
def outputs(program: str, kind: Kind) -> Outputs:
    """What `program` does on the probes of a type."""
    space = dict[str, Any]()
    exec(compile(program, "function", "exec"), space)  # noqa: S102 (made of our own operations)
    return tuple(_output(space[ENTRY], probe) for probe in probes(kind))


def _output(function: Callable[[Any], Any], probe: Any) -> str:
    try:
        return encode(function(probe))
    except Exception as error:  # noqa: BLE001 (a mistake may raise anything)
        return type(error).__name__


# Mistakes -------------------------------------------------------------------------------------------------------------

_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.FloorDiv,
    ast.FloorDiv: ast.Mod,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Gt: ast.GtE,
    ast.Lt: ast.LtE,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def mutants(program: str) -> list[tuple[str, str]]:
    """Each program that is one mistake away: a wrong operator, constant or index, or no return; by kind and text."""
    count = sum(1 for _ in ast.walk(ast.parse(program)))
    return [made for at in range(count) if (made := _mutated(ast.parse(program), at))]


def _mutated(tree: ast.Module, at: int) -> tuple[str, str] | None:
    node = list(ast.walk(tree))[at]
    kind = _change(node)
    return (kind, ast.unparse(ast.fix_missing_locations(tree)) + "\n") if kind else None


def _change(node: ast.AST) -> str:
    """Make the mistake that there is to make at `node`; its kind, empty where there is none."""
    kind = ""
    match node:
        case ast.BinOp(op=operator) if type(operator) in _OPERATORS:
            node.op = _OPERATORS[type(operator)]()  # pyright: ignore[reportAttributeAccessIssue]
            kind = "operator"
        case ast.Compare(ops=[operator]) if type(operator) in _OPERATORS:
            node.ops = [_OPERATORS[type(operator)]()]  # pyright: ignore[reportAttributeAccessIssue]
            kind = "operator"
        case ast.Constant(value=bool(value)):
            node.value = not value
            kind = "constant"
        case ast.Constant(value=int(value)):
            node.value = value + 1
            kind = "constant"
        case ast.Slice(lower=lower, upper=upper) if (lower is None) != (upper is None):
            node.lower, node.upper = upper, lower
            kind = "index"
        case ast.FunctionDef(body=[*_, ast.Return(value=ast.expr() as value)]):
            node.body[-1] = ast.Expr(value)
            kind = "return"
        case _:
            pass
    return kind
