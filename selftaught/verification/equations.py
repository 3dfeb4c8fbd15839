r"""Equations: does every calculation that a rollout writes down hold?

`12 + 7 = 19` passes, `15 + 6 = 11` fails, whatever the task: a right answer that came of wrong steps is found out
without a model, and so is a wrong step of a partial solution. List marks, labels, emphasis and boxes are taken off, and
words between the numbers (units, names) passed over. Both sides are read as expressions up to where they end; where one
continues in another way (an unknown, a percentage, a remainder, a million) the equation is not judged. Whether a
calculation was the one to make is another verifier's business.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, NonNegativeInt

from selftaught.blocks import RolloutVerifier
from selftaught.records import Rollout, Task, Verdict
from selftaught.verification.answers import equal, final_answer
from selftaught.verification.numbers import FRAC
from selftaught.verification.writing import plain

MAX_CHARS = 200
"""A side of an equation that is longer is prose."""
MAX_POWER = 64

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b,
}

# How it is written --------------------------------------------------------------------------------------------------

_COMMANDS = (
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}"), r"(\1)"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[][(),;! ]|\\quad|&|\{,\}(?=\D)"), " "),
    (re.compile(r"\^\s*(?:\{\s*(\d{1,2})\s*\}|(\d{1,2})(?!\d))"), r"**\1\2"),
)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_TIMES = re.compile(r"(?<=[\w)])\s+[xX]\s+(?=[\d$€£(])|(?<=[\d)])[xX](?=[\d$€£(])")
_MIXED = re.compile(r"(?<![\d./*+-])(?<![\d./*+-] )\b(\d+) (\d+)/(\d+)(?![\d/])")
_EMPHASIS = re.compile(
    r"(?<!\d)\*\*|\*\*(?!\d)|__|~~|`|(?<!\w)_(?=\d)|(?<=\d)_(?!\w)"
    r"|(?<![\w*)] )(?<![\w*)])\*(?=\d)|(?<=\d)\*(?=[\s.,;]*$)"
)
_MARKS = re.compile(
    r"\s*(?:(?:[-*+•>#→⇒]+|=>|->)\s+|\(?(?:\d{1,2}|[a-zA-Z])[.)]\s+|(?:step|part|case)\s+\d+\s*[-.)]\s+)*", re.I
)
_BESIDE = re.compile(r"(?<=\d)(?=\(-?\d)|(?<=\))(?=\()")
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")
_GOES_ON = re.compile(r"=\s*\n\s*")
_SIGN = re.compile(r"(?<![<>!:=])==?(?![=>])")

# What is read of it -------------------------------------------------------------------------------------------------

_MONEY = r"[$€£¥₹]"
_VALUE = rf"(?>[$€£¥₹(]*+\s*+-?{_MONEY}?(?:\d++(?:\.\d++)?|(?<!\d)\.\d++)(?:\s?\)|€)*+(?:\*\*-?\d++)?)"
_OPERATOR = r"\s*[-+*/](?![^\W\d_])\s*+"
_ONE_WORD = r"(?>[^\W\d_]{2,}+(?:['-][^\W\d_]++)*+\.?|(?<=\s)[aAI](?=\s)|(?<=\d\s)[mgshlLNJ]\b)"
_WORDS = rf"(?>\s*+{_ONE_WORD})*+\s*+"
_LEFT = re.compile(rf"(?<![\w.])(?>{_VALUE}{_WORDS}{_OPERATOR}(?![A-Z]){_WORDS})*+{_VALUE}{_WORDS}$")
_RIGHT = re.compile(rf"\s*({_VALUE}(?:{_OPERATOR}{_VALUE})*)(.*)$", re.DOTALL)
_WORD = re.compile(rf"{_ONE_WORD}|{_MONEY}")
_CLAUSE = re.compile(r"(?<!\d)[!?](?=\s|$)|\.(?=\s|$)|[,;:]\s|[|\"“”\[\]]")
_SCALES = r"hundred|thousand|million|billion|percent|per\s?cent|dozen|half|squared|cubed|remainder|rem|mod|r"
_CHANGES_VALUE = re.compile(rf"\b(?:{_SCALES}|times|plus|minus|divided|multiplied)\b|%", re.IGNORECASE)
_JOINS = re.compile(
    r"\b(?:(?:half|third|quarter|fourth|fifth|tenth)s?\s+of|(?:divided|multiplied)\s+by|over|times|plus|minus|mod|half|twice|double|triple)$"
    r"|[\d%]\s+of$",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(rf"\s*(?:(?:{_SCALES})\b|and\s+(?:\d|a\b))|.*\bremainder\b|\s*[%¢]", re.IGNORECASE)
"""What may not follow an outcome: it is more or less than its number."""
_AMBIGUOUS = re.compile(r"/\s+\d+/\d")
_UNREAD = re.compile(r"(?:[\d+*/^%\\}=<>_-]|\d:|(?<![^\W\d_])[^\W\d_])$")
"""What may not stand right before a calculation: it would be a part of it."""
_ENDS = re.compile(
    r"(?:kg|g|mg|cm|mm|km|m|lbs?|oz|ml|L|hrs?|min|s|mph)?[\s.)\]*_]*(?:$|[.!?,;:|\"'\]](?!\d)|\s+\(?[^\W\d_]{2,}|\s+[aAI]\s|\s*/\s*[^\W\d_]{2,}|\s[mgshlLNJ]\b)"
)
_THEN_ON = re.compile(rf"(?:\s*{_ONE_WORD})*\s*[-+*/]\s*{_MONEY}?[\d(]")


class Equation(NamedTuple):
    """Two expressions that are said to be equal, in plain arithmetic."""

    left: str
    right: str

    def holds(self) -> bool | None:
        """Whether it is true, to the decimals of a side that is a number alone; None where it cannot be judged."""
        try:
            left, right = _value(_tree(self.left)), _value(_tree(self.right))
        except ZeroDivisionError:
            return False
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        rounding = max(_rounding(self.left), _rounding(self.right))
        return abs(left - right) <= rounding


class Equations(RolloutVerifier, type="equations"):
    """Pass a rollout without a false equation, and with `at_least` so many true ones; the reason shows the false.

    With `last: answer` what the last one comes to is the rollout's final answer as well: an answer that stands below a
    calculation of something else has come of none. For complete answers, not for partial solutions.
    """

    reads_answer: ClassVar[bool] = False

    at_least: Annotated[NonNegativeInt, Field(description="equations that have to be there")] = 0
    last: Annotated[Literal["answer"] | None, Field(description="what the last one has to come to")] = None

    def verdict(self, task: Task, rollout: Rollout) -> Verdict:
        """Passed, or failed with every false equation in the reason."""
        judged = [(each, each.holds()) for each in equations(rollout.text)]
        wrong = [f"{each.left} is not {each.right}" for each, holds in judged if holds is False]
        right = sum(holds is True for _, holds in judged)
        if not wrong and right < self.at_least:
            wrong = [f"{right} equations, fewer than at_least: {self.at_least}"]
        if not wrong and self.last:
            wrong = list(_other_end(rollout, [each for each, holds in judged if holds]))
        return Verdict.of(self.name, not wrong, "; ".join(wrong) or f"{right} equations hold")


def _other_end(rollout: Rollout, held: Sequence[Equation]) -> Iterator[str]:
    """Why the last of the equations `held` does not come to the final answer, if so."""
    answer = final_answer(rollout.text, finished=rollout.finish_reason == "stop")
    come = held[-1].right if held else None
    if answer is None or come is None or not equal(come, answer):
        yield f"the last equation comes to {come or 'nothing'}, the answer is {answer or 'missing'}"


def equations(text: str) -> Iterator[Equation]:
    """The equations in `text` of which both sides can be read and one at least is a calculation, in order."""
    for line in _GOES_ON.sub("= ", plain(text)).splitlines():
        if "=" not in line:
            continue
        for left, right in pairwise(_SIGN.split(_written(line))):
            said, come = _calculation(left), _outcome(right)
            if said and come and (_is_calculation(said) or _is_calculation(come)):
                yield Equation(said, come)


def _written(line: str) -> str:
    """`line` in plain arithmetic, without its mark, emphasis and LaTeX."""
    if "\\" in line or "^" in line or "&" in line:
        line = re.sub(FRAC, _as_fraction, line.replace("\\$", "$"))
        for pattern, becomes in _COMMANDS:
            line = pattern.sub(becomes, line)
    line = _MARKS.sub("", _EMPHASIS.sub("", _THOUSANDS.sub("", line)), count=1)
    return _BESIDE.sub("*", _MIXED.sub(r"(\1+\2/\3)", _TIMES.sub(" * ", line)))


def _as_fraction(found: re.Match[str]) -> str:
    over, under = (part for part in found.groups() if part is not None)
    return f"(({over})/({under}))"


def _calculation(left: str) -> str:
    """What is calculated at the end of a left side, words dropped; empty where it cannot be read."""
    clause = _CLAUSE.split(left[-MAX_CHARS:])[-1]
    found = _LEFT.search(clause)
    if found is None:
        return ""
    before, run = clause[: found.start()].rstrip("( "), _without_words(found[0])
    # A number alone is a side where nothing else is there: 4 gallons = 4 * 8 pints is a conversion.
    is_calculation = _is_calculation(run) or found[0].strip(" $()") == clause.strip(" $()") == run.strip(" $()")
    stops = (_UNREAD.search(before), _JOINS.search(before), _CHANGES_VALUE.search(found[0]), _AMBIGUOUS.search(run))
    return _balanced(run) if is_calculation and not any(stops) else ""


def _outcome(right: str) -> str:
    """What is said to come of it at the begin of a right side; empty where it continues in another way."""
    found = _RIGHT.match(right.strip(" *_$")[:MAX_CHARS]) if len(right) <= MAX_CHARS else None
    if found is None or not _ENDS.match(found[2]) or _THEN_ON.match(found[2]):
        return ""
    return "" if _OTHERWISE.match(_CLAUSE.split(found[2])[0]) else _balanced(_without_words(found[1]))


def _without_words(run: str) -> str:
    return " ".join(_WORD.sub(" ", run).split())


def _is_calculation(run: str) -> bool:
    return re.search(r"[\d)]\s*(?:\*\*|[-+*/])", run) is not None


def _balanced(run: str) -> str:
    """`run` without the brackets around more than it: of "(12 + 7" the sum."""
    while run.count("(") > run.count(")") and run.startswith("("):
        run = run[1:].lstrip()
    while run.count(")") > run.count("(") and run.endswith(")"):
        run = run[:-1].rstrip()
    return run


def _rounding(side: str) -> Fraction:
    """Half of the last decimal where `side` is a number with decimals, and nothing else."""
    found = re.fullmatch(r"\(?-?\d*\.(\d+)\)?", side)
    return Fraction(1, 2 * 10 ** len(found[1])) if found else Fraction(0)


def _tree(side: str) -> ast.expr:
    return ast.parse(_ZEROS.sub("", side), mode="eval").body


def _value(node: ast.expr) -> Fraction:
    """The exact value of an expression of numbers. Raises ValueError where it holds anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(_value(node.left), _value(node.right))
    if isinstance(node, ast.BinOp) and (compute := _OPERATORS.get(type(node.op))):
        return compute(_value(node.left), _value(node.right))
    raise ValueError(ast.dump(node))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator > 1 or abs(exponent) > MAX_POWER or max(abs(base.numerator), base.denominator) > 10**9:
        raise ValueError(f"{base} ** {exponent}")
    return base ** int(exponent)
