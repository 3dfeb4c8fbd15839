"""Tests: does the program in the rollout's last answer return what its task's test cases expect?

The program runs in the sandbox, where no expected value ever is: it is called with each case's arguments, and what it
returned is compared here, equal in type and value all the way down (1 is not True, 1 is not 1.0, a list is no tuple),
or as Python compares where the cases say so. So nothing that it prints, patches or ends with makes a pass. A program
that crashes, ends itself or takes too much has failed its cases; a sandbox that crashes gives an error. It does not
read the program: one that knows the visible cases by heart fails the hidden ones.
"""

import ast
import asyncio
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    ValidationError,
    model_validator,
)

from selftaught.blocks import Context
from selftaught.core.errors import BadInput
from selftaught.records import Group, Task, Verdict
from selftaught.sandbox import shared
from selftaught.sandbox.calls import Answer, Raised, Returned, answers, calling
from selftaught.sandbox.code_blocks import program
from selftaught.sandbox.endings import cut, ending
from selftaught.sandbox.protocol import Outcome, SandboxFailed
from selftaught.sandbox.values import NotPlain, encode, same
from selftaught.verification.sandboxed import Sandboxed


def _complete(written: Any) -> Any:
    """A case of two entries with a third one."""
    entries = cast(Sequence[Any], written) if isinstance(written, list | tuple) else ()
    return (*entries, None) if len(entries) == 2 else cast(Any, written)


How = NonNegativeFloat | Literal["truth"] | None
Written = Annotated[tuple[tuple[JsonValue, ...], JsonValue, How], BeforeValidator(_complete)]


class Case(NamedTuple):
    """The positional arguments of a call, what it has to return, and how: equal (None), less than a number away, as
    true.
    """

    arguments: Sequence[Any]
    expected: Any
    how: float | Literal["truth"] | None = None


class Cases(BaseModel):
    """The `check` of a task whose answers are programs: they define the function `entry`.

    The prompt shows the `visible` cases. A program that passes has to pass the `hidden` ones too, which are its score.
    A case is its arguments and what has to come back, equal in type and value. With `literals` both are texts of Python
    literals, such as '(1, 2)', and equal is what Python calls so (1 == 1.0 == True). A third entry says otherwise: a
    number that it may differ by less than, or `truth`, as true or false as that. `setup` comes before a program.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["tests"] = "tests"
    entry: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    hidden: tuple[Written, ...] = ()
    visible: tuple[Written, ...] = ()
    literals: bool = False
    setup: str = ""

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.hidden and not self.visible:
            raise ValueError("has neither hidden nor visible cases, so every program would pass")
        return self

    @model_validator(mode="after")
    def _literal(self) -> Self:
        _ = self.cases
        return self

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """All of them, in the order in which they are called, with the values that they stand for."""
        given = (Case(*written) for written in self.visible + self.hidden)
        return tuple(map(_read, given)) if self.literals else tuple(given)

    def prepared(self, source: str) -> str:
        """`source`, a program, behind the `setup`: what it imports from the future stays first."""
        if not self.setup:
            return source
        lines = source.splitlines(keepends=True)
        first = [line for line in lines if line.startswith("from __future__ import")]
        return "".join([*first, self.setup, "\n", *(line for line in lines if line not in first)])

    def passes(self, case: Case, value: Any) -> bool:
        """Whether `value`, plain data, is what has to come back in `case`."""
        try:
            return self._passes(case, value)
        except (NotPlain, RecursionError, OverflowError):  # it could be read, and is too deep or large to be compared
            return False

    def _passes(self, case: Case, value: Any) -> bool:
        expected, how = case.expected, case.how
        if how == "truth":
            return bool(expected) is bool(value)
        if how is not None:
            numbers = isinstance(expected, int | float) and isinstance(value, int | float)
            return numbers and abs(expected - value) < how
        return bool(expected == value) if self.literals else same(expected, value)


class UnitTests(Sandboxed, type="tests"):
    """Pass a rollout whose last answer has a program that passes the test cases of its task's `check`.

    The score is the share of hidden cases that it passes (of the visible ones, where there are no others).
    """

    show: Annotated[
        Literal["visible", "none"], Field(description="whether a reason shows the first visible case that fails")
    ] = "visible"

    async def verify(self, group: Group, context: Context) -> list[Verdict]:
        """The verdicts; equal programs run once. Raises BadInput where the task's check is none of test cases."""
        tests = cases_of(group.task)
        found = [program(rollout.text, tests.entry) for rollout in group.rollouts]
        sources = [source and tests.prepared(source) for source in found]
        calls = [case.arguments for case in tests.cases]
        outcomes = await shared.outcomes(
            (source for source in sources if source is not None),
            lambda source: calling(source, tests.entry, calls, self.limits),
        )
        # what came back may take its time to read
        said = await asyncio.to_thread(
            lambda: {each: self._verdict(tests, outcome) for each, outcome in outcomes.items()}
        )
        none = Verdict.of(self.name, False, "no program in the answer")
        return [none if source is None else said[source] for source in sources]

    def _verdict(self, tests: Cases, outcome: Outcome | SandboxFailed) -> Verdict:
        if isinstance(outcome, SandboxFailed):
            return Verdict.errored(self.name, str(outcome))
        said = answers(outcome, len(tests.cases))
        right = [
            isinstance(answer, Returned) and tests.passes(case, answer.value)
            for case, answer in zip(tests.cases, said, strict=True)
        ]
        counted = right[len(tests.visible) :] or right
        score = sum(counted) / len(counted)
        reason = self._reason(tests, said, right, outcome)
        return Verdict(verifier=self.name, score=score, passed=all(right), reason=reason)

    def _reason(self, tests: Cases, said: Sequence[Answer], right: Sequence[bool], outcome: Outcome) -> str:
        """What a model may know of it: nothing that is expected of a hidden case."""
        if all(right):
            return f"passes {len(right)} tests"
        if outcome.exit and not any(isinstance(answer, Returned | Raised) for answer in said):
            return ending(outcome)  # it could not even be read
        visible = len(tests.visible) if self.show == "visible" else 0
        for case, answer, passed in zip(tests.cases[:visible], said, right, strict=False):
            if not passed:
                return _failed(tests.entry, case, answer, outcome)
        kind = "hidden tests" if visible == len(tests.visible) else "tests"
        return f"fails {right[visible:].count(False)} of {len(right) - visible} {kind}"


def cases_of(task: Task) -> Cases:
    """The test cases of `task`. Raises BadInput, with the fix, where its check holds none."""
    try:
        return Cases.model_validate(task.check)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, ("check", *first["loc"])))
        raise BadInput(
            f"task {task.id} ({task.source}): {where}: {first['msg']}. Give it check = {{type: tests, entry: NAME, "
            "hidden: [[ARGUMENTS, EXPECTED], …], visible: […]}}, or judge it by another verifier."
        ) from None


def _read(case: Case) -> Case:
    return Case(tuple(map(_literal, case.arguments)), _literal(case.expected), case.how)


def _literal(text: JsonValue) -> Any:
    try:
        value = ast.literal_eval(cast(Any, text))
        encode(value)  # Python's literals have one value more, `...`
        return value
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{cut(repr(text))} is not the text of a Python literal") from None


# Reasons --------------------------------------------------------------------------------------------------------------


def _failed(entry: str, case: Case, answer: Answer, outcome: Outcome) -> str:
    expected = case.expected
    call = f"{entry}({', '.join(map(_shown, case.arguments))})"
    match answer:
        case Returned(value):
            return f"{call} returned {_shown(value)}, expected {_shown(expected)}"
        case Raised(error):
            return f"{call} raised {cut(error)}, expected {_shown(expected)}"
        case _:
            return f"{call} returned nothing, expected {_shown(expected)}: {ending(outcome)}"


def _shown(value: Any) -> str:
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits, or lists in lists in lists
        return f"a large {type(value).__name__}"
