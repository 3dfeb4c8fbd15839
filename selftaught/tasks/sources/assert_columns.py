"""Columns of tests: which columns of a row say what its answer, a program, has to do."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt

from selftaught.tasks.sources import cells
from selftaught.tasks.sources.asserts import NoCase, as_check


class AssertColumns(BaseModel):
    """The columns of assert statements (MBPP's `test_list`, HumanEval's `test`), which become test cases."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    asserts: str
    """Column of the statements: one text, or a list of them."""
    entry: str | None = None
    """Column of the function's name; without one it is what the statements call."""
    setup: str | None = None
    """Column of code that comes before every program. Of a column that defines the function, as HumanEval's `prompt`,
    it is what stands before it."""
    shown: NonNegativeInt = 0
    """So many of the tests, the first ones, are the visible ones and stand in the prompt. MBPP's problems do not name
    their function otherwise."""
    unreadable: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of rows with statements that are no calls on literals: the file is refused, or they are left out."""

    @property
    def columns(self) -> Mapping[str, str | None]:
        """The columns by the field that names them."""
        return {f"tests.{name}": getattr(self, name) for name in ("asserts", "entry", "setup")}

    def check(self, row: Mapping[str, Any]) -> dict[str, JsonValue] | None:
        """The row's `check`; None where it is to be left out. Raises BadCell where it has no tests that can be read."""
        texts = [*map(cells.text, _listed(row.get(self.asserts)))]
        entry, setup = (cells.text(row.get(column)) if column else "" for column in (self.entry, self.setup))
        try:
            return as_check(texts, entry or None, setup, self.shown)
        except NoCase as no:
            if self.unreadable == "leave_out":
                return None
            raise cells.BadCell(
                f"{no}: not a call on literals and what it has to return (tests.unreadable: leave_out skips such rows)"
            ) from no

    def asked(self, question: str, check: Mapping[str, JsonValue]) -> str:
        """`question` with the tests that are shown."""
        visible = cast(list[tuple[list[str], str]], check["visible"])
        lines = [f"{check['entry']}({', '.join(arguments)}) == {expected}" for arguments, expected, *_ in visible]
        return "\n".join([f"{question}\n\nFor example:\n", *lines]) if lines else question


def _listed(value: object) -> Iterator[object]:
    yield from cast(list[object], value) if isinstance(value, list) else [value]
