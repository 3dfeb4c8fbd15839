"""Step data to a file and from one: a round's trees as rows of a format, and a file of such rows as value examples.

What is written is written atomically. A row that cannot be used is skipped and reported with its location. The
data set that an import makes is what `value_mse` trains on. It holds others' questions: no round uses it automatically,
and nobody has compared it with what a recipe holds out.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

from selftaught.core.errors import BadInput
from selftaught.core.files import writing
from selftaught.curation.base import distinct_examples
from selftaught.platform import Platform
from selftaught.records import Example, Group, Message, Regress, Segment, Task, content_id, dataset
from selftaught.round.history import newest_of, recorded
from selftaught.state.store import sha256_of
from selftaught.stepwise.formats import FORMATS, Name, Neutral, reader, written
from selftaught.stepwise.from_trees import Labels, solutions
from selftaught.stepwise.solution import BadRow, Solution
from selftaught.tasks.sources.parquet import read_parquet

Kept = Literal["soft", "hard"]


@dataclass(slots=True)
class Account:
    """How many rows were checked, what became of them, and what was set aside: its location, and why."""

    rows: int = 0
    solutions: int = 0
    examples: int = 0
    aside: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


# Out ----------------------------------------------------------------------------------------------------------------


def export(
    platform: Platform, line: str, campaign: str, to: Path, name: Name, labels: Labels, threshold: float | None
) -> Account:
    """Write the trees of the line's last finished round to `to`, a row each path.

    Raises BadInput when there is no such round, its groups are gone, or none of them has a tree in which anything is
    known of a step.
    """
    groups, account = _verified(platform, line, campaign), Account()
    with writing(to) as file:
        for group in groups:
            account.rows += 1
            for row in _rows(group, name, labels, threshold, account):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                account.solutions += 1
        if not account.solutions:
            raise BadInput(
                f"{line}: none of {account.rows} tasks has a tree that says anything of its steps.{_first(account)} "
                "Sample with `search` or `trie`, or, if no answer was right, pass --labels estimates."
            )
    return account


def _rows(group: Group, name: Name, labels: Labels, threshold: float | None, account: Account) -> Iterator[object]:
    try:
        for number, solution in enumerate(solutions(group, labels, threshold), 1):
            try:
                yield written(name, solution)
            except BadRow as bad:
                account.aside.append((f"task {group.id}, path {number}", str(bad)))
    except BadRow as bad:
        account.aside.append((f"task {group.id}", str(bad)))


def _verified(platform: Platform, line: str, campaign: str) -> Iterator[Group]:
    record = recorded(platform, newest_of(platform, line, campaign))
    assert record is not None
    digest = next(each.digest for each in record.round.datasets if each.kind == "verified")
    if not platform.store.has("datasets", digest):
        raise BadInput(
            f"{line}: the verified groups of its last finished round are not in the store any more ({digest[:8]}; `gc` "
            "keeps them for a time). Export after the next round, or keep them longer (--keep-trees)."
        )
    return platform.rows(digest, Group)


# In -----------------------------------------------------------------------------------------------------------------


def imported(file: Path, name: Name, to: Path, kept: Kept, neutral: Neutral, separator: str) -> Account:
    """Write the steps of `file` (*.jsonl, *.parquet) to the data set `to`, a value example each partial solution.

    Its label is what the step is worth (`soft`), or 1 or 0 (`hard`); its text is the steps so far, each with
    `separator` after it but one that ends the answer: an alternative that nobody continued would be known by it. What
    several rows have is one example with the mean of their labels, which is right or wrong where all say the same, and
    neither where they differ. Raises BadInput when `file` is none, `to` is there already, or no row can be used.
    """
    if to.exists():
        raise BadInput(f"{to}: is there already. Name a folder that is not, or remove it.")
    account, said, read = Account(), dict[str, _Said](), reader(name, neutral)
    for row in _read(file, name, read, account):
        account.solutions += len(row)
        for example in _of_row(row, kept, separator):
            said.setdefault(example.text_id, _Said()).add(example)
    if not said:
        raise BadInput(f"{file}: none of {account.rows} rows can be used as {name}.{_first(account)}")
    account.examples = len(said)
    with dataset.writing(to, "examples") as into:
        for row in _read(file, name, read, Account()):
            for example in _of_row(row, kept, separator):
                if (labelled := said.pop(example.text_id, None)) is not None:
                    into.add(labelled.of(example))
        counts = {
            "rows": float(account.rows),
            "solutions": float(account.solutions),
            "aside": float(len(account.aside)),
        }
        into.end({"source": sha256_of(file)}, "", counts)
    return account


def _of_row(solutions: Sequence[Solution], kept: Kept, separator: str) -> Iterator[Example]:
    """The partial solutions of a row's `solutions`, each once: alternatives repeat what stands before them."""
    return distinct_examples(chain.from_iterable(examples(each, kept, separator) for each in solutions))


def examples(solution: Solution, kept: Kept, separator: str) -> Iterator[Example]:
    """The partial solutions of `solution`, shortest first."""
    prompt, text = (Message(role="user", content=solution.prompt),), ""
    task = Task(messages=prompt, source="steps").id
    last = len(solution.steps) - 1
    for number, step in enumerate(solution.steps):
        text += step if solution.ended and number == last else step + separator
        right = solution.labels[number]
        yield Example(
            sequences=((Segment.context(prompt), Segment.answer(text, weights=())),),
            target=Regress(label=solution.worth(number) if kept == "soft" else float(right), right=right),
            task=task,
            rollout=content_id([task, text]),
        )


@dataclass(slots=True)
class _Said:
    """What rows say of one partial solution."""

    labels: Counter[float] = field(default_factory=Counter[float])
    rights: set[bool | None] = field(default_factory=set[bool | None])

    def add(self, example: Example) -> None:
        self.labels[example.regress.label] += 1
        self.rights.add(example.regress.right)

    def of(self, example: Example) -> Example:
        if len(self.labels) == len(self.rights) == 1:  # a mean of equal numbers may be another number
            return example
        mean = sum(label * count for label, count in self.labels.items()) / self.labels.total()
        right = self.rights.pop() if len(self.rights) == 1 else None
        return example.model_copy(update={"target": Regress(label=mean, right=right)})


def _first(account: Account) -> str:
    return f" First: {': '.join(account.aside[0])}." if account.aside else ""


def _read(
    file: Path, name: Name, read: Callable[[object], Sequence[Solution]], account: Account
) -> Iterator[Sequence[Solution]]:
    """The solutions of each row of `file`; a row that has none is noted in `account`."""
    for where, row in _rows_with_locations(file, name):
        account.rows += 1
        try:
            yield read(_parsed(row))
        except BadRow as bad:
            account.aside.append((where, str(bad)))


def _parsed(row: bytes | Mapping[str, object]) -> object:
    if not isinstance(row, bytes):
        return row
    try:
        return json.loads(row.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, nested too deep
        raise BadRow(f"no JSON ({error})") from None


def _rows_with_locations(file: Path, name: Name) -> Iterator[tuple[str, bytes | Mapping[str, object]]]:
    if not file.is_file():
        raise BadInput(f"{file}: no such file (looked for {file.absolute()}).")
    if file.suffix == ".parquet":
        yield from read_parquet(file, str(file), FORMATS[name].columns).rows()
    elif file.suffix == ".jsonl":
        with file.open("rb") as lines:
            yield from ((f"{file}:{at}", line) for at, line in enumerate(lines, 1) if line.strip())
    else:
        raise BadInput(f"{file}: no file of rows that is known here. Accepted: .jsonl, .parquet.")
