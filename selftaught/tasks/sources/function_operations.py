"""The operations that functions are composed of: data alone, read by `functions`.

Each is an expression over `x` that has a value whatever `x` of its type is, in words that do not name Python's own. A
held-out operation is in functions of the guard set, and never trained on.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["list", "str", "int"]
"""The type of a value: a list of integers, a string, an integer."""

KINDS: dict[Kind, str] = {"list": "a list of integers", "str": "a string", "int": "an integer"}


@dataclass(frozen=True, slots=True)
class Operation:
    """`code` computes a value of type `gives` from `x`, of type `takes`; `{k}` stands for one of `constants`."""

    takes: Kind
    gives: Kind
    code: str
    text: str
    constants: tuple[int, ...] = (0,)


TRAINED = (
    Operation("list", "list", "[n for n in x if n % 2 == 0]", "keeps only the even numbers"),
    Operation("list", "list", "[n for n in x if n > {k}]", "keeps only the numbers greater than {k}", (0, 2, 5, 7)),
    Operation("list", "list", "[n for n in x if n < {k}]", "keeps only the numbers less than {k}", (3, 6, 9, 12)),
    Operation("list", "list", "[n for n in x if n != {k}]", "removes every {k}", (1, 2, 3)),
    Operation("list", "list", "[n + {k} for n in x]", "adds {k} to each number", (1, 2, 3, 5, 10)),
    Operation("list", "list", "[n * {k} for n in x]", "multiplies each number by {k}", (2, 3, 4, 10)),
    Operation("list", "list", "[n * n for n in x]", "squares each number"),
    Operation("list", "list", "[abs(n) for n in x]", "drops the minus sign of each negative number"),
    Operation("list", "list", "x[::-1]", "turns the order around"),
    Operation("list", "list", "sorted(x)", "puts the numbers in order, smallest first"),
    Operation("list", "list", "sorted(x, reverse=True)", "puts the numbers in order, largest first"),
    Operation("list", "list", "x[:{k}]", "keeps only the first {k} numbers", (2, 3, 4)),
    Operation("list", "list", "x[{k}:]", "leaves out the first {k} numbers", (2, 3)),
    Operation("list", "list", "list(dict.fromkeys(x))", "keeps of equal numbers only the first"),
    Operation("list", "int", "sum(x)", "adds the numbers up"),
    Operation("list", "int", "len(x)", "counts the numbers"),
    Operation("list", "int", "max(x, default={k})", "takes the largest number, or {k} if there is none", (0, 1)),
    Operation("list", "int", "min(x, default={k})", "takes the smallest number, or {k} if there is none", (0, 1)),
    Operation("list", "int", "x[0] if x else {k}", "takes the first number, or {k} if there is none", (0, 1)),
    Operation("list", "int", "x.count({k})", "counts how often {k} occurs", (1, 2, 3)),
    Operation("list", "str", "'-'.join([str(n) for n in x])", "writes the numbers with a - between them"),
    Operation("str", "str", "x.upper()", "makes all letters capitals"),
    Operation("str", "str", "x.lower()", "makes all letters small"),
    Operation("str", "str", "x[::-1]", "turns the order of the characters around"),
    Operation("str", "str", "x[:{k}]", "keeps only the first {k} characters", (2, 3, 4, 5)),
    Operation("str", "str", "x[{k}:]", "leaves out the first {k} characters", (1, 2, 3)),
    Operation("str", "str", "x * {k}", "repeats the string {k} times", (2, 3)),
    Operation("str", "str", "x.replace(' ', '')", "removes the spaces"),
    Operation("str", "str", "x.replace(' ', '_')", "puts a _ in place of each space"),
    Operation("str", "str", "''.join([c for c in x if c not in 'aeiou'])", "removes each a, e, i, o and u"),
    Operation("str", "str", "' '.join(x.split()[::-1])", "turns the order of the words around"),
    Operation("str", "list", "[len(w) for w in x.split()]", "lists the length of each word"),
    Operation("str", "int", "len(x)", "counts the characters"),
    Operation("str", "int", "len(x.split())", "counts the words"),
    Operation("str", "int", "len([c for c in x if c in 'aeiou'])", "counts how many characters are a, e, i, o or u"),
    Operation("int", "int", "x + {k}", "adds {k}", (1, 2, 3, 4, 5, 7, 10)),
    Operation("int", "int", "x - {k}", "subtracts {k}", (1, 2, 3, 4, 6, 8)),
    Operation("int", "int", "x * {k}", "multiplies by {k}", (2, 3, 4, 5, 10)),
    Operation("int", "int", "x // {k}", "divides by {k} and rounds down", (2, 3, 4, 5)),
    Operation("int", "int", "x % {k}", "takes the remainder after dividing by {k}", (5, 7, 9, 10)),
    Operation("int", "int", "x * x", "multiplies the number by itself"),
    Operation("int", "int", "abs(x)", "drops the minus sign of a negative number"),
    Operation("int", "list", "[int(d) for d in str(abs(x))]", "lists the digits"),
    Operation("int", "str", "str(x)", "writes the number as a string"),
)  # fmt: skip
"""The operations of the train, gate and report sets."""

HELD_OUT = (
    Operation("list", "list", "[n for n in x if n % 2 == 1]", "keeps only the odd numbers"),
    Operation("list", "list", "[b - a for a, b in zip(x, x[1:])]",
        "subtracts from each number the one before it, and drops the first"),
    Operation("list", "list", "x[1:] + x[:1]", "moves the first number to the end"),
    Operation("list", "list", "[sum(x[:i + 1]) for i in range(len(x))]", "replaces each number by the sum so far"),
    Operation("list", "int", "max(x, default=0) - min(x, default=0)",
        "takes the largest number minus the smallest, or 0 if there is none"),
    Operation("list", "int", "len([n for n in x if n > {k}])", "counts the numbers greater than {k}", (0, 3, 6)),
    Operation("str", "str", "x.swapcase()", "makes small letters capitals, and capitals small"),
    Operation("str", "str", "''.join([c * 2 for c in x])", "writes each character twice"),
    Operation("str", "str", "x[::2]", "keeps the first character and every second one after it"),
    Operation("int", "int", "{k} - x", "subtracts the number from {k}", (10, 50, 100)),
    Operation("int", "int", "sum([int(d) for d in str(abs(x))])", "adds the digits up"),
)  # fmt: skip
"""The operations that only the guard set has."""
