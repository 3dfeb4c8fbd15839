"""Pools: the rows of files that each set of a round is drawn from.

The rows of a file are shared out by their text, and keep the set that a round has used them in, whatever is added to
the file later (`splits.assigned`). A set may have rows of its own. Those of the gate and the report set are theirs:
what shares a mark with one is not trained on (nor gated on, where it is the report's), and what the file would have
given that set is trained on. Guard rows are kept where no other row is the same problem. What an earlier round has
trained on is no longer held out by anybody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import shorten
from typing import Generic, TypeVar

from selftaught.records import Split
from selftaught.tasks.lean import AnyTask
from selftaught.tasks.sameness import Asked, Common, Marks, compared, masked, text_number
from selftaught.tasks.splits import ORDER, PromptedSource, Sets, assigned, claims, families, pool, words

P = TypeVar("P", bound=Asked)


@dataclass(frozen=True, slots=True)
class Pools(Generic[P]):
    """The rows that each set is drawn from, and what so many of them share that it says nothing.

    `main` are the rows that were shared out, with the `marks` that they were joined by.
    """

    sets: Mapping[Split, Sequence[P]]
    common: Common
    main: Sequence[P]
    marks: Sequence[Marks]

    def joined(self) -> str:
        """Which of the rows are one problem, and why, in words; empty where none are."""
        several = [family for family in families(self.marks) if len(family) > 1]
        if not several:
            return ""
        most = max(several, key=len)
        one, other = (self.main[each].question for each in most[:2])
        return (
            f"{sum(map(len, several))} of {len(self.main)} rows are one problem with others; the most, {len(most)}, "
            f"are one with '{shorten(one, 60)}' and '{shorten(other, 60)}' ({_reason(self.main[most[0]], one, other)})"
        )


def _reason(row: Asked, one: str, other: str) -> str:
    if row.template is not None:
        return f"template '{shorten(row.template, 40)}'"
    said, again = masked(one), masked(other)
    found = SequenceMatcher(None, said, again, autojunk=False).find_longest_match()
    return f"both say '{shorten(' '.join(said[found.a : found.a + found.size]), 100)}'"


def pools(source: PromptedSource, given: Mapping[Split, Sequence[P]], past: Sequence[AnyTask]) -> Pools[P]:
    """Share out the rows `given` for `train`, beside those that are `given` for other sets alone.

    `past` are the tasks that the line has used.
    """
    fixed = list({task.id: task for task in past if task.split != "guard"}.values())
    own: tuple[Split, ...] = tuple(split for split in ("gate", "report") if given[split])
    rows: list[tuple[Split, P]] = [(split, row) for split in (*own, "train") for row in given[split]]
    asked = [*map(source.bare, fixed), *(row for _, row in rows), *given["guard"]]
    found = compared(asked)
    sets = _sets(source, fixed, rows, found.marks, own)
    made: dict[Split, list[P]] = {split: [] for split in ORDER}
    for (came, row), split in zip(rows, sets[len(fixed) :], strict=True):
        if split is not None and (split == came or (came == "train" and split not in own)):
            made[split].append(row)
    taken = {mark for own in found.marks[: len(sets)] for mark in own}
    guarded = zip(given["guard"], found.marks[len(sets) :], strict=True)
    made["guard"] = [row for row, marks in guarded if taken.isdisjoint(marks)]
    main = len(sets) - len(given["train"])
    return Pools(made, source.framed(found.common), given["train"], found.marks[main : len(sets)])


def _sets(
    source: PromptedSource,
    fixed: Sequence[AnyTask],
    rows: Sequence[tuple[Split, Asked]],
    marks: Sequence[Marks],
    own: Sequence[Split],
) -> Sets:
    """The set of each of the `fixed` tasks and of the `rows`, which came for a set."""
    used = claims(lambda task: text_number(source.bare(task).question), fixed)
    claimed: dict[int, Split] = {one: task.split for one, task in enumerate(fixed)}
    reported = {mark for one, (came, _) in enumerate(rows, len(fixed)) if came == "report" for mark in marks[one]}
    for one, (came, row) in enumerate(rows, len(fixed)):
        if marks[one] and (known := used.get(text_number(row.question))):
            claimed[one] = known
        elif came == "report" or (came == "gate" and reported.isdisjoint(marks[one])):
            claimed[one] = came

    def name(one: int) -> str:
        if one < len(fixed):
            return source.named(fixed[one])
        row = rows[one - len(fixed)][1]
        return row.template or " ".join(words(row.question))

    def pooled(name: str) -> Split:
        split = pool(name)
        return "train" if split in own else split

    return assigned(marks[: len(fixed) + len(rows)], claimed, name, pooled)
