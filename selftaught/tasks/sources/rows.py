"""Tasks out of rows that someone else wrote: the part that the JSONL, Parquet and Hugging Face sources share.

Maps columns to problems, drops duplicates, and keeps what is one problem in one set: rows that share a run of words
(numbers masked), or that name the same template. A row that cannot be what it claims refuses its file, with the first
one's location and how many there are: rows of a task set are fixed, not skipped, or the set would be another one than
its owner thinks. It does not read files; the blocks do.
"""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, JsonValue, PositiveInt, model_validator
from typing_extensions import override

from selftaught.blocks import Draw, Over
from selftaught.core.errors import BadInput, did_you_mean
from selftaught.records import Split, Task
from selftaught.tasks.past import NOTHING, InboxHistory, TaskDraw
from selftaught.tasks.sameness import text_number
from selftaught.tasks.sources import cells
from selftaught.tasks.sources.assert_columns import AssertColumns
from selftaught.tasks.sources.pools import Pools, pools
from selftaught.tasks.splits import ORDER, SHARES, PromptedSource, seeded

MOST_ROWS = 1_000_000
"""Rows of one file or split that are read where no limit is given: what a step's memory is sized for."""
MOST_CHARACTERS = 1_000_000_000
"""Characters in the named columns of one file or split."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the location that each comes from (`gsm8k.jsonl:17`), for messages. They are reread at every call."""

    name: str
    read: Callable[[], Iterator[tuple[str, Row]]]
    columns: dict[str, None] = field(default_factory=dict[str, None])
    """The columns that were met; all of them before a row is read where the format says so."""

    def rows(self, limit: int | None = None) -> Iterator[tuple[str, Row]]:
        """The first `limit` rows, or all of them. Raises BadInput where they cannot be read, or are too many."""
        for number, (location, row) in enumerate(islice(cells.errors_named(self.name, self.read()), limit)):
            if number == MOST_ROWS and limit is None:
                raise BadInput(
                    f"{self.name}: has more than {MOST_ROWS:,} rows. Set tasks.limit to how many of them to take."
                )
            yield location, row


@dataclass(frozen=True, slots=True)
class Problem:
    """A row's question, answer and template, and its worked solution and tests, if these have columns."""

    question: str
    answer: str
    template: str | None
    reference: str = ""
    check: Mapping[str, JsonValue] = field(default_factory=dict[str, JsonValue])

    @property
    def operands(self) -> tuple[str, ...]:
        """None: a row's template says what it shares, and not how it was made."""
        return ()


class Columns(PromptedSource):
    """A source that says which columns of a row hold what."""

    over: ClassVar[Over] = "templates"

    question: str = "question"
    """Column of the question."""
    answer: str = "answer"
    """Column of the gold answer, or of the text in which `answer_pattern` finds it."""
    template: str | None = None
    """Column of the name of a row's template, if there is one: rows of one template stay in one set."""
    answer_pattern: re.Pattern[str] | None = None
    """Where the gold answer stands in its column: the first group, or the entire match. GSM8K: `'#### (.+)'`, in
    quotes: without them YAML takes it for a comment."""

    def draw(self, draw: Draw) -> list[Task]:
        """What the first round of a line would take; raises as `take` does."""
        return list(self.take(draw).tasks)

    @abstractmethod
    def take(self, draw: Draw, past: InboxHistory = NOTHING) -> TaskDraw:
        """The tasks of the next round after `past`; what that has used stays in its set.

        Raises BadInput when the source is missing, malformed or too small, NothingNew when too few tasks came since.
        """

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that are checked; readers leave the others where they are."""
        return tuple(dict.fromkeys(column for column in self.columns.values() if column is not None))

    @property
    def columns(self) -> Mapping[str, str | None]:
        """The columns by the field that names them; None where it names none."""
        return {"question": self.question, "answer": self.answer, "template": self.template}

    def problems(self, table: Table, limit: int | None = None) -> list[Problem]:
        """The first `limit` rows of `table` as problems, the first of those with equal questions; raises as below."""
        return list(self.different(table, limit).values())

    def different(self, table: Table, limit: int | None = None) -> dict[int, Problem]:
        """These by what their questions are known by (`text_number`).

        Raises BadInput, naming the location, on a table without rows, without a column, or with a cell that is empty or
        neither text nor a finite number.
        """
        if table.columns:
            self._check_columns(table)
        different: dict[int, Problem] = {}
        faults, count = _Faults(), _Count(table.name)
        for location, row in table.rows(limit):
            problem = self._problem(location, row, faults)
            if problem is not None:
                different.setdefault(text_number(problem.question), problem)
                count.add(problem)
        self._check_columns(table)
        faults.require_none()
        return different

    def _problem(self, location: str, row: Row, faults: "_Faults") -> Problem | None:
        """The row's problem; None where a cell is none, which `faults` then knows."""
        faults.rows += 1
        pattern = f" that matches '{self.answer_pattern.pattern}'" if self.answer_pattern else ""
        question = faults.cell(location, row, self.question, f"no text in column '{self.question}'", str)
        answer = faults.cell(location, row, self.answer, f"no answer in column '{self.answer}'{pattern}", self._gold)
        lack = f"no text in column '{self.template}'"
        template = faults.cell(location, row, self.template, lack, str) if self.template else None
        if not question or not answer or (self.template and not template):
            return None
        return Problem(question, answer, template)

    def _check_columns(self, table: Table) -> None:
        """Raise BadInput on a table without rows, or a column that is named here and is in no row."""
        columns = [column.encode(errors="backslashreplace").decode() for column in table.columns]
        if not columns:
            raise BadInput(f"{table.name}: has no rows. Name a file or split that holds tasks.")
        for name, column in self.columns.items():
            if column is not None and column not in columns:
                raise BadInput(
                    f"{table.name}: no column '{column}' (tasks.{name}).{did_you_mean(column, columns)} "
                    f"Its columns: {', '.join(columns[:SHOWN])}{', …' if len(columns) > SHOWN else ''}"
                )

    def _gold(self, text: str) -> str:
        if self.answer_pattern is None:
            return text
        found = self.answer_pattern.search(text)
        return (found[min(1, self.answer_pattern.groups)] or "").strip() if found else ""


SHOWN = 30
"""Columns of a file that a message names."""


@dataclass(slots=True)
class _Faults:
    """What is wrong with the rows of a table: the first of them in words, and how many are like it."""

    rows: int = 0
    first: tuple[str, str, str] | None = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])

    def cell(self, location: str, row: Row, column: str, lack: str, read: Callable[[str], str]) -> str:
        """What `read` makes of the text in `column`; empty where there is none, or what stands there is none."""
        try:
            text = cells.text(row.get(column))
        except cells.BadCell as bad:
            return self._note(f"{location}: {column}: {bad}", column, "hold no text or number there")
        return (read(text) if text else "") or self._note(f"{location}: {lack}", column, "have none")

    def check(self, location: str, row: Row, tests: AssertColumns) -> Mapping[str, JsonValue] | None:
        """What the row's tests are; None where there are none."""
        try:
            return tests.check(row)
        except cells.BadCell as bad:
            self._note(f"{location}: {tests.asserts}: {bad}", tests.asserts, "have none there")
            return None

    def _note(self, problem: str, column: str, like: str) -> str:
        self.counts[column, like] += 1
        if self.first is None:
            self.first = problem, column, like
        return ""

    def require_none(self) -> None:
        """Raise BadInput, naming the first row, when there is something wrong."""
        if self.first is not None:
            problem, column, like = self.first
            count = self.counts[column, like]
            raise BadInput(f"{problem}; {count} of {self.rows} rows {like}. Complete or remove these rows.")


@dataclass(slots=True)
class _Count:
    """Characters of a table so far."""

    name: str
    characters: int = 0

    def add(self, problem: Problem) -> None:
        """Count the texts of `problem`. Raises BadInput when they become too many."""
        self.characters += len(problem.question) + len(problem.answer) + len(problem.reference)
        self.characters += len(str(problem.check)) if problem.check else 0
        if self.characters > MOST_CHARACTERS:
            raise BadInput(
                f"{self.name}: has more than {MOST_CHARACTERS:,} characters of text. Set tasks.limit to how many "
                "rows to take."
            )


class RowSource(Columns):
    """A source that maps the columns of rows to tasks.

    A problem's set follows from its text (or its `template` column) and is the one that the line has used it in before;
    train and gate tasks are chosen again each round out of their pools. The gate and the report set may come from rows
    of their own: see `pools`. Guard tasks come from rows of their own and are none of the other sets' problems.
    """

    resamples_gate: ClassVar[bool] = False
    own_rows: ClassVar[Mapping[Split, str]]
    """The field that says where a set's own rows are."""
    limit: PositiveInt | None = None
    """So many rows of each file or split are checked, the first ones."""
    reference: str | None = None
    """Column of a worked solution, which only recipes that say so train on (`references`, `pairs`)."""
    tests: Annotated[AssertColumns | None, Field(exclude_if=lambda tests: tests is None)] = None
    """Columns of the tests that an answer, a program, has to pass (`verify: {type: tests}`)."""

    @property
    @override
    def columns(self) -> Mapping[str, str | None]:
        tests = self.tests.columns if self.tests else dict[str, str | None]()
        return {**super().columns, "reference": self.reference, **tests}

    @override
    def _problem(self, location: str, row: Row, faults: "_Faults") -> Problem | None:
        problem = super()._problem(location, row, faults)
        if self.reference is not None:
            solution = faults.cell(location, row, self.reference, f"no text in column '{self.reference}'", str)
            problem = replace(problem, reference=solution) if problem and solution else None
        if self.tests is not None:
            check = faults.check(location, row, self.tests)
            asked = self.tests.asked(problem.question, check) if problem and check else ""
            problem = replace(problem, question=asked, check=check) if problem and check else None
        return problem

    @abstractmethod
    def table(self, split: Split = "train") -> Table:
        """The rows of `split`'s own; those of the training set are also of the sets that have none."""

    @model_validator(mode="after")
    def _guard_has_rows(self) -> Self:
        if self.guard and getattr(self, self.own_rows["guard"]) is None:
            location = self.own_rows["guard"]
            raise ValueError(
                f"guard: {self.guard} asks for guard tasks of their own: name them in {location}, or leave guard out "
                "and set `guard: none` in the gate."
            )
        return self

    def take(self, draw: Draw, past: InboxHistory = NOTHING) -> TaskDraw:
        """Tasks out of the pools; raises BadInput on rows that cannot be used, or too few of them."""
        main = self.table()
        found = pools(self, {split: self._given(split, main) for split in ORDER}, past.assigned)
        self._check_sizes(main.name, found)
        chosen = [task for split in self.sizes() for task in self._chosen(split, found.sets[split], draw)]
        return TaskDraw(chosen, common=found.common)

    @override
    def reported(self, draw: Draw) -> list[Task]:
        """Out of the rows for reports, or all there are where these have none of their own."""
        own = getattr(self, self.own_rows["report"]) is not None
        table = self.table("report" if own else "train")
        problems = self.problems(table, self.limit)
        if len(problems) < self.report:
            raise BadInput(
                f"{table.name}: has {len(problems)} different questions, of which report asks for {self.report}. "
                "Ask for fewer."
            )
        return self._chosen("report", problems, draw)

    def _given(self, split: Split, main: Table) -> list[Problem]:
        """The problems of the rows that are `split`'s own; none where it has none, or asks for no tasks."""
        if split == "train":
            return self.problems(main, self.limit)
        given = getattr(self, self.own_rows[split]) is not None and self.sizes()[split] > 0
        return self.problems(self.table(split), self.limit) if given else []

    def _check_sizes(self, name: str, found: Pools[Problem]) -> None:
        """Raise BadInput when a pool has fewer problems than its set asks for."""
        asked = {split: (len(found.sets[split]), size) for split, size in self.sizes().items() if size}
        short = {split: counts for split, counts in asked.items() if counts[0] < counts[1]}
        if short:
            counts = ", ".join(f"{each} has {has} and asks for {size}" for each, (has, size) in (short | asked).items())
            shares = ", ".join(f"{split} {share:.0%}" for split, share in SHARES.items())
            fields = " and ".join(self.own_rows[split] for split in ("gate", "report"))
            joined = found.joined()
            raise BadInput(
                f"{name}: too few different problems: {counts}. A problem's set follows from "
                f"its text ({shares}; the same words with other numbers, or a run of 13 words in common, count as one "
                f"problem{': ' + joined if joined else ''}). Ask for fewer tasks, give more rows, or give rows of "
                f"their own in {fields}."
            )

    def _chosen(self, split: Split, problems: Sequence[Problem], draw: Draw) -> list[Task]:
        chosen = seeded(self.name, split, draw.seed(split)).sample(problems, self.sizes()[split])
        return [self._task(problem, split) for problem in chosen]

    def _task(self, problem: Problem, split: Split) -> Task:
        return Task(
            messages=self.messages(problem.question),
            answer=problem.answer,
            source=self.name,
            split=split,
            template=problem.template,
            texts={"reference": problem.reference} if problem.reference else {},
            check=problem.check,
        )
