"""What changed task by task: champion's and challenger's answers to the same tasks, paired and sorted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from selftaught.records import Split, TaskScore
from selftaught.report.data import RoundReport
from selftaught.report.formatting import split_rank

Change = Literal["gained", "lost", "right", "wrong"]
CHANGES: dict[Change, str] = {"gained": "gained", "lost": "lost", "right": "both right", "wrong": "both wrong"}
"""What can happen to a task, in the order in which the page lists it, and what the page calls it."""

SHOWN: dict[Change, int] = {"gained": 400, "lost": 400, "right": 30, "wrong": 60}
"""How many tasks of each kind the page carries: all that changed in any ordinary round, a sample of the rest."""


@dataclass(frozen=True, slots=True)
class TaskChange:
    """One task as both models answered it."""

    champion: TaskScore
    challenger: TaskScore

    @property
    def change(self) -> Change:
        """Gained or lost when the value moved; else both right, or both wrong when neither scored anything."""
        before, after = self.champion.value, self.challenger.value
        if before != after:
            return "gained" if after > before else "lost"
        return "right" if after > 0 else "wrong"

    @property
    def split(self) -> Split:
        """The set that the task belongs to."""
        return self.challenger.split


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that the page carries, and how many there were of each kind before any were left out."""

    shown: tuple[TaskChange, ...]
    totals: dict[tuple[Split, Change], int]

    def total(self, change: Change) -> int:
        """How many tasks changed so, over all splits."""
        return sum(n for (_, kind), n in self.totals.items() if kind == change)

    def splits(self) -> list[Split]:
        """The splits that have scores, report set first."""
        return sorted({split for split, _ in self.totals}, key=split_rank)

    def left_out(self) -> dict[Change, int]:
        """How many tasks of each kind the page does not carry, where it leaves any out."""
        carried = Counter(pair.change for pair in self.shown)
        return {change: n for change in CHANGES if (n := self.total(change) - carried[change])}


def changes(scores: Iterable[TaskScore], round: RoundReport) -> Changes:
    """The tasks that both models of `round` were judged on, under its deciding metric; by kind, then by task id."""
    pairs = sorted(_pairs([s for s in scores if s.metric == round.metric], round), key=_rank)
    return Changes(tuple(_first(pairs)), dict(Counter((pair.split, pair.change) for pair in pairs)))


def without_texts(score: TaskScore) -> TaskScore:
    """The numbers of a score."""
    return score.model_copy(update={"question": "", "answer": None, "texts": ()})


def one_text(score: TaskScore) -> TaskScore:
    """A score with what the page shows of it."""
    return score.model_copy(update={"texts": score.texts[:1]})


def read_on_page(scores: Iterable[TaskScore], round: RoundReport) -> set[str]:
    """The ids of the scores whose texts the page shows."""
    return {score.id for pair in changes(scores, round).shown for score in (pair.champion, pair.challenger)}


def _pairs(scores: Sequence[TaskScore], round: RoundReport) -> Iterator[TaskChange]:
    before = {(s.split, s.task): s for s in scores if s.model == round.champion.digest}
    for after in scores:
        same_task = before.get((after.split, after.task))
        mine = round.challenger and after.model == round.challenger.digest
        if mine and same_task and not (same_task.errors or after.errors):
            yield TaskChange(same_task, after)


def _rank(pair: TaskChange) -> tuple[int, str, str]:
    # Task ids are content hashes, so the first of a kind are a fair sample of it.
    return list(CHANGES).index(pair.change), pair.challenger.task, pair.split


def _first(pairs: Iterable[TaskChange]) -> Iterator[TaskChange]:
    seen: Counter[Change] = Counter()
    for pair in pairs:
        seen[pair.change] += 1
        if seen[pair.change] <= SHOWN[pair.change]:
            yield pair
