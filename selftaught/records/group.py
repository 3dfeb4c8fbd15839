"""Groups: one task with all its rollouts, its tree where it was searched, and their verdicts."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import chain
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from selftaught.records.added import Several
from selftaught.records.base import Record
from selftaught.records.rollout import Rollout, Verdict, passes
from selftaught.records.task import Task
from selftaught.records.tree import Tree


class Control(Record):
    """Independent answers to a task that was searched, sampled to hold the search against and for nothing else.

    They are no rollouts of the group, so nothing that trains, counts or shows those meets them. `budget` are the new
    tokens that the search took, hinted answers not counted; `requests` says how many of the rollouts each request gave,
    in order, of which a later one was made because the earlier ones had not come to the budget.
    """

    budget: int
    requests: tuple[int, ...] = ()
    rollouts: tuple[Rollout, ...] = ()
    verdicts: tuple[tuple[Verdict, ...], ...] = ()

    @property
    def tokens(self) -> int:
        """The new tokens of the answers: what the control cost."""
        return sum(rollout.completion_tokens for rollout in self.rollouts)

    def passed(self, index: int) -> bool:
        """Whether rollout `index` was verified and every required verifier passed it."""
        return passes(_on(self.verdicts, index))


class Group(Record):
    """One task with all its rollouts and, once verified, the verdicts on each: `verdicts[i]` is of `rollouts[i]`, those
    on its last answer first, in the order of the verifiers, then those on its earlier answers (`Verdict.turn`).

    A model that was asked to write tasks has its tasks in `minted`, and some rollouts may be attempts at those: a
    rollout's `task` says at which. Verifiers and curators work on each task's rollouts apart (`parts`).

    A group that was searched has its tree too, and its rollouts are the tree's answers: a rollout's `index` is that of
    its terminal node. Of some of a round's searches there is a `control`.
    """

    SCHEMA: ClassVar[int] = 2

    task: Task
    rollouts: tuple[Rollout, ...] = ()
    verdicts: tuple[tuple[Verdict, ...], ...] = ()
    tree: Tree | None = None
    control: Annotated[Control | None, Field(exclude_if=lambda control: control is None)] = None
    minted: Several[Task] = ()

    @cached_property
    def id(self) -> str:
        """The id of the task: a data set of groups has one a task."""
        return self.task.id

    def task_of(self, rollout: Rollout) -> Task:
        """The task that `rollout` attempts."""
        return next((task for task in self.minted if task.id == rollout.task), self.task)

    def parts(self) -> "Iterator[tuple[tuple[int, ...], Group]]":
        """A group for each task with its own rollouts and verdicts, and where these stand here; itself without minted
        tasks.
        """
        if not self.minted:
            yield tuple(range(len(self.rollouts))), self
            return
        for task in (self.task, *self.minted):
            at = tuple(i for i, rollout in enumerate(self.rollouts) if self.task_of(rollout) is task)
            rollouts, verdicts = self._at(at)
            yield at, Group(task=task, rollouts=rollouts, verdicts=verdicts)

    def without(self, minted: AbstractSet[str]) -> Self:
        """The group without the tasks of those ids, the attempts at them, and the rollouts that wrote them."""
        gone = tuple(task.question for task in self.minted if task.id in minted)
        if not gone:
            return self
        solved = {self.task.id, *(task.id for task in self.minted if task.answer is not None)}

        def wrote(rollout: Rollout) -> bool:
            text = rollout.text.strip()
            return rollout.task not in solved and any(question.startswith(text) for question in gone if text)

        kept = [at for at, each in enumerate(self.rollouts) if each.task not in minted and not wrote(each)]
        rollouts, verdicts = self._at(kept)
        left = tuple(task for task in self.minted if task.id not in minted)
        return self.model_copy(update={"rollouts": rollouts, "verdicts": verdicts, "minted": left})

    def _at(self, positions: Sequence[int]) -> tuple[tuple[Rollout, ...], tuple[tuple[Verdict, ...], ...]]:
        """The rollouts at `positions`, and their verdicts where there are any."""
        verdicts = tuple(self.verdicts[at] for at in positions) if self.verdicts else ()
        return tuple(self.rollouts[at] for at in positions), verdicts

    def verdicts_on(self, index: int, turn: str = "") -> list[Verdict]:
        """The verdicts on the last answer of rollout `index`, or on its answer in `turn`; none unverified."""
        return _on(self.verdicts, index, "" if self._is_last(index, turn) else turn)

    def _is_last(self, index: int, turn: str) -> bool:
        """Whether `turn` is the name of the last answer of rollout `index`, the verdicts on which name none."""
        rollout = self.rollouts[index]
        return bool(turn) and any(rollout.turns[at].name == turn for at in rollout.answers[-1:])

    def passed(self, index: int, turn: str = "") -> bool:
        """Whether rollout `index` was verified and every required verifier passed it, or its answer in `turn`."""
        return passes(self.verdicts_on(index, turn))

    def was_judged(self, index: int, turn: str = "") -> bool:
        """Whether rollout `index` was verified and every required verifier could judge it, or its answer in `turn`."""
        on = self.verdicts_on(index, turn)
        return bool(on) and not any(verdict.is_missing for verdict in on)

    @property
    def new_tokens(self) -> int:
        """The new tokens that it took: of the rollouts, or where a tree was searched, of the search; no control's."""
        return self.tree.spent.tokens if self.tree else sum(rollout.completion_tokens for rollout in self.rollouts)

    def accepted(self) -> Iterator[Rollout]:
        """The rollouts that every verifier passed, in order."""
        return (rollout for i, rollout in enumerate(self.rollouts) if self.passed(i))

    @model_validator(mode="after")
    def _aligned(self) -> Self:
        if self.verdicts and len(self.verdicts) != len(self.rollouts):
            raise ValueError(f"{len(self.verdicts)} verdict lists for {len(self.rollouts)} rollouts")
        return self


class Judged(Record):
    """The verdicts on a group and on its control, apart from it: what verification keeps as it goes."""

    task: str
    verdicts: tuple[tuple[Verdict, ...], ...]
    control: tuple[tuple[Verdict, ...], ...] | None = None

    @property
    def id(self) -> str:
        """The id of the task, as the group has it."""
        return self.task

    @property
    def errors(self) -> bool:
        """Whether a verifier could not judge one of the rollouts."""
        every = chain.from_iterable((*self.verdicts, *(self.control or ())))
        return any(verdict.error is not None for verdict in every)

    def on(self, group: Group) -> Group:
        """`group` with these verdicts instead of those that it had."""
        control = group.control and group.control.model_copy(update={"verdicts": self.control})
        return group.model_copy(update={"verdicts": self.verdicts, "control": control})


def _on(verdicts: Sequence[Sequence[Verdict]], index: int, turn: str = "") -> list[Verdict]:
    return [verdict for verdict in verdicts[index] if verdict.turn == turn] if verdicts else []
