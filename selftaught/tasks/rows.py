"""Tasks out of rows that somebody else wrote: the part that the JSONL, Parquet and Hugging Face sources share.

Maps columns to problems, drops duplicates, and keeps what is one problem in one set: rows that share a run of words
(numbers masked), or that name the same template. It does not read files; the blocks do.
"""

import re
from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import model_validator

from selftaught.blocks import Draw
from selftaught.errors import BadInput, did_you_mean
from selftaught.records import Split, Task
from selftaught.tasks.splits import SHARES, PromptedSource, pool, runs, seeded, words


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the place that each comes from (`gsm8k.jsonl:17`), for messages."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    places: Sequence[str]


@dataclass(frozen=True, slots=True)
class Problem:
    """A row's question, answer and template."""

    question: str
    answer: str
    template: str | None


Pools = dict[Split, list[Problem]]


class Columns(PromptedSource):
    """A source that says which columns of a row hold what."""

    question: str = "question"
    answer: str = "answer"
    template: str | None = None
    answer_pattern: re.Pattern[str] | None = None
    """Where the gold answer stands in its column: the first group, or the whole match. GSM8K: `#### (.+)`."""

    def problems(self, table: Table) -> list[Problem]:
        """The rows of `table` as problems, the first of those with equal questions.

        Raises BadInput, naming the place, on a table without rows, without a column, or with a cell that is empty.
        """
        self._check_columns(table)
        questions, answers = _texts(table, self.question), self._answers(table)
        templates = _texts(table, self.template) if self.template else [None] * len(table.rows)
        different: dict[str, Problem] = {}
        for made in zip(questions, answers, templates, strict=True):
            different.setdefault(" ".join(words(made[0])), Problem(*made))
        return list(different.values())

    def _check_columns(self, table: Table) -> None:
        """Raise BadInput on a table without rows, or a column that is named here and is in no row."""
        if not table.rows:
            raise BadInput(f"{table.name}: has no rows. Name a file or split that holds tasks.")
        columns = list(dict.fromkeys(column for row in table.rows for column in row))
        for field in ("question", "answer", "template"):
            column = getattr(self, field)
            if column is not None and column not in columns:
                raise BadInput(
                    f"{table.name}: no column '{column}' (tasks.{field}).{did_you_mean(column, columns)} "
                    f"Its columns: {', '.join(columns)}"
                )

    def _answers(self, table: Table) -> list[str]:
        values = [row.get(self.answer) for row in table.rows]
        texts = ["" if value is None else self._gold(str(value)) for value in values]
        pattern = f" that matches '{self.answer_pattern.pattern}'" if self.answer_pattern else ""
        _require_all(texts, table, f"no answer in column '{self.answer}'{pattern}")
        return texts

    def _gold(self, text: str) -> str:
        if self.answer_pattern is None:
            return text.strip()
        found = self.answer_pattern.search(text)
        return found[min(1, self.answer_pattern.groups)].strip() if found else ""


class RowSource(Columns):
    """A source that maps the columns of rows to tasks.

    A problem's set follows from its text (or its `template` column), so it is the same in every round and campaign;
    train and gate tasks are chosen anew each round out of their pools, which all rounds share. Guard tasks come from
    rows of their own and are none of the other sets' problems.
    """

    fresh: ClassVar[bool] = False
    guard_field: ClassVar[str]
    """The field that says where the guard set's rows are."""

    @abstractmethod
    def table(self) -> Table:
        """The rows of the train, gate and report sets."""

    @abstractmethod
    def guard_table(self) -> Table:
        """The rows of the guard set."""

    @model_validator(mode="after")
    def _guard_has_rows(self) -> Self:
        if self.guard and getattr(self, self.guard_field) is None:
            raise ValueError(f"guard: {self.guard} asks for guard tasks of their own; name them in {self.guard_field}")
        return self

    def draw(self, draw: Draw) -> list[Task]:
        """Tasks out of the pools; raises BadInput on rows that cannot be used, or too few of them."""
        main = self.table()
        pools = self._pools(self.problems(main), self.problems(self.guard_table()) if self.guard else [])
        self._check_sizes(main.name, pools)
        return [task for split in self.sizes() for task in self._chosen(split, pools[split], draw)]

    def _pools(self, problems: list[Problem], guard: list[Problem]) -> Pools:
        """The problems of each set; guard problems only where no other row is of their family."""
        pools: Pools = {"train": [], "gate": [], "report": [], "guard": []}
        keys = families([*problems, *guard])
        for key, problem in zip(keys, problems, strict=False):
            pools[pool(key)].append(problem)
        known = set(keys[: len(problems)])
        pools["guard"] = [p for key, p in zip(keys[len(problems) :], guard, strict=True) if key not in known]
        return pools

    def _check_sizes(self, name: str, pools: Pools) -> None:
        """Raise BadInput when a pool has fewer problems than its set asks for."""
        if any(len(pools[split]) < size for split, size in self.sizes().items()):
            counts = ", ".join(f"{split} {len(pools[split])} of {size}" for split, size in self.sizes().items() if size)
            shares = ", ".join(f"{split} {share:.0%}" for split, share in SHARES.items())
            raise BadInput(
                f"{name}: too few different problems for the sets asked for: {counts}. A problem's set follows from "
                f"its text ({shares}; the same words with other numbers count as one problem). "
                f"Ask for fewer tasks or give more rows."
            )

    def _chosen(self, split: Split, problems: list[Problem], draw: Draw) -> list[Task]:
        seed = draw.campaign if split == "report" else draw.round
        chosen = seeded(self.name, split, seed).sample(problems, self.sizes()[split])
        return [self._task(problem, split) for problem in chosen]

    def _task(self, problem: Problem, split: Split) -> Task:
        return Task(
            messages=self.messages(problem.question),
            answer=problem.answer,
            source=self.name,
            split=split,
            template=problem.template,
        )


def _texts(table: Table, column: str) -> list[str]:
    """What stands in `column`. Raises BadInput when some rows have nothing there."""
    texts = ["" if row.get(column) is None else str(row[column]).strip() for row in table.rows]
    _require_all(texts, table, f"no text in column '{column}'")
    return texts


def _require_all(texts: Sequence[str], table: Table, lack: str) -> None:
    """Raise BadInput, naming the first row, when some of `texts` are empty."""
    lacking = [place for place, text in zip(table.places, texts, strict=True) if not text]
    if lacking:
        raise BadInput(
            f"{lacking[0]}: {lack}; {len(lacking)} of {len(texts)} rows have none. Complete or remove these rows."
        )


def families(problems: Sequence[Problem]) -> list[str]:
    """A key for each problem, equal for problems that belong in one set: of one template, or linked by shared runs."""
    shared = runs([problem.question for problem in problems])
    leader = _linked([[p.template] if p.template else own for p, own in zip(problems, shared, strict=True)])
    names = [p.template or " ".join(words(p.question)) for p in problems]
    first: dict[int, str] = {}
    for one, name in zip(leader, names, strict=True):
        first[one] = min(name, first.get(one, name))
    return [first[one] for one in leader]


def _linked(marks: Sequence[Iterable[Hashable]]) -> list[int]:
    """Union-find: for each item the representative of all the items that it shares marks with, directly or not."""
    parent = list(range(len(marks)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    owner: dict[Hashable, int] = {}
    for item, own in enumerate(marks):
        for mark in own:
            parent[root(item)] = root(owner.setdefault(mark, item))
    return [root(item) for item in range(len(marks))]
