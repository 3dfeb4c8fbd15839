"""Which set a problem belongs to: the same one in every round, every campaign and for every size asked for.

A problem's structure is its (template, operands) where it was generated and its text otherwise. The structure's hash
puts it into the train, gate or report pool, so a model is never tested on what it, or an ancestor of it, was trained
on. Where problems come and go in files, those that are the same (`sameness`) are in one set, and what a line has used
stays in its set for good, whatever joins it later (`assigned`). Guard tasks come from templates, files or generators of
their own and have no pool. Finding overlaps between sets that were made elsewhere is `contamination`'s business.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, NoReturn

from selftaught.blocks import TaskSource
from selftaught.core.errors import BadInput
from selftaught.records import Message, Split, Task
from selftaught.tasks.lean import AnyTask, LeanTask
from selftaught.tasks.sameness import Common, Marks, made_from, masked

SHARES: dict[Split, float] = {"train": 0.6, "gate": 0.2, "report": 0.2}
"""The part of all problems that each pool holds."""

PATIENCE = 1000
"""So many candidates refused in a row mean that a generator has nothing new: at a share of 0.2 chance is 1e-97."""

ORDER: tuple[Split, ...] = ("train", "gate", "report", "guard")
"""Of two sets that have the same problem, the first keeps it: what was trained on cannot be held out any more."""

_EDGES = ".,;:!?\"'()[]"


class PromptedSource(TaskSource):
    """A source whose tasks are a question, with a system message and an instruction after it where they are given."""

    system: str = ""
    """System message of every task; there is none where it is empty."""
    instruction: str = ""
    """Said after every question, such as the form that the answer is to have."""
    between: ClassVar[str] = " "
    """What stands between the two."""

    def prompt(self, question: str) -> str:
        """`question` with the instruction after it."""
        return f"{question}{self.between}{self.instruction}" if self.instruction else question

    def messages(self, question: str) -> tuple[Message, ...]:
        """The prompt that asks `question`."""
        asked = Message(role="user", content=self.prompt(question))
        return (Message(role="system", content=self.system), asked) if self.system else (asked,)

    def asked(self, prompt: str, instruction: str | None = None) -> str:
        """The question in a prompt, which may end with an `instruction`: this source's, where no other is given."""
        said = self.instruction if instruction is None else instruction
        return prompt.removesuffix(said).rstrip() if said else prompt

    def bare(self, task: AnyTask) -> "Bare":
        """What `task` is compared by: its question without the instruction that its round's recipe had."""
        instruction = task.instruction if isinstance(task, LeanTask) else None
        return Bare(self.asked(task.question, instruction), task.template, task.operands)

    def asked_now(self, task: AnyTask) -> "Reasked":
        """`task` with this source's instruction in place of the one that its round's recipe had."""
        bare = self.bare(task)
        return Reasked(self.prompt(bare.question), bare.template, bare.operands, task=task)

    def framed(self, common: Common) -> Common:
        """`common` of bare questions as it is of prompts, which all end with the instruction."""
        return Common(common.before, (*common.after, *masked(self.instruction)), common.marks)

    def named(self, task: AnyTask) -> str:
        """What the pool of `task` is the hash of: the same for a file of rows and for a drop."""
        return task.template or " ".join(words(self.bare(task).question))


@dataclass(frozen=True, slots=True)
class Bare:
    """A question, and how it was made where it was made from a template."""

    question: str
    template: str | None = None
    operands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reasked(Bare):
    """An earlier round's `task` as the present recipe would ask it: its prompt, under the id that it had."""

    task: AnyTask = field(kw_only=True)

    @property
    def id(self) -> str:
        """As the task's, which takes time to make and is needed of few."""
        return self.task.id

    @property
    def split(self) -> Split:
        """As the task's."""
        return self.task.split


def words(text: str) -> list[str]:
    """What a pool is the hash of: lower case, split at white space, punctuation around words dropped (operators stay).

    It is never changed, for problems would change their sets with it; what is the same is `sameness`'s to say.
    """
    return [word.strip(_EDGES) or word for word in text.casefold().split()]


def structure(task: Task) -> str:
    """The key by which two tasks are the same problem.

    (template, operands) where there is a template, with the operands in any order: 3 + 4 and 4 + 3 are one problem.
    The normalised question otherwise.
    """
    if task.template is not None:
        return made_from(task.template, task.operands)
    return " ".join(words(task.question))


def pool(key: str) -> Split:
    """The pool that the problem with this structure key belongs to."""
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if point < SHARES["train"]:
        return "train"
    return "gate" if point < SHARES["train"] + SHARES["gate"] else "report"


Sets = list[Split | None]


def assigned(
    marks: Sequence[Marks],
    claimed: Mapping[int, Split],
    name: Callable[[int], str],
    pooled: Callable[[str], Split] = pool,
) -> Sets:
    """The set of each problem, by its `marks`, the sets that some are `claimed` for, and what each is called.

    A problem that is claimed for a set stays there. Others that share marks, directly or not, are in one set: the one
    that some of them are claimed for, or else where the least of their names is `pooled`. Where they join problems of
    several sets, each follows those that it shares a mark with, and one between sets is in none. Nor is one that shares
    a mark with a problem of a set before its own in `ORDER`.
    """
    owners: dict[Hashable, set[Split]] = defaultdict(set)
    sets: Sets = [None if own else pooled(name(one)) for one, own in enumerate(marks)]
    for one, split in claimed.items():
        sets[one] = split
        _settle(owners, marks[one], split)
    for family in families(marks, claimed):
        found = _found(owners, (mark for one in family for mark in marks[one]))
        left = _followed(sets, owners, marks, family) if len(found) > 1 else family
        if left:
            split = next(iter(found)) if len(found) == 1 else pooled(min(map(name, left)))
            for one in left:
                sets[one] = split
                _settle(owners, marks[one], split)
    return [_kept(split, _found(owners, own)) for split, own in zip(sets, marks, strict=True)]


def claims(key: Callable[[AnyTask], int], tasks: Iterable[AnyTask]) -> dict[int, Split]:
    """The set that each question was used in, by its `key`; the first in `ORDER` of several."""
    sets: dict[int, Split] = {}
    for task in sorted(tasks, key=lambda task: ORDER.index(task.split)):
        sets.setdefault(key(task), task.split)
    return sets


def _followed(sets: Sets, owners: dict[Hashable, set[Split]], marks: Sequence[Marks], family: list[int]) -> list[int]:
    """Put each of a `family` between sets where what it shares a mark with is, in turn; those left share none."""
    while known := {one: found for one in family if (found := _found(owners, marks[one]))}:
        for one in known:
            found = _found(owners, marks[one])
            sets[one] = found.pop() if len(found) == 1 else None
            _settle(owners, marks[one], sets[one])
        family = [one for one in family if one not in known]
    return family


def _found(owners: Mapping[Hashable, set[Split]], marks: Iterable[Hashable]) -> set[Split]:
    return set[Split]().union(*(owners.get(mark, ()) for mark in marks))


def _settle(owners: dict[Hashable, set[Split]], marks: Iterable[Hashable], split: Split | None) -> None:
    if split is not None:
        for mark in marks:
            owners[mark].add(split)


def _kept(split: Split | None, found: set[Split]) -> Split | None:
    """`split`, unless a set before it in `ORDER` has the same problem."""
    return None if split and any(ORDER.index(other) < ORDER.index(split) for other in found) else split


def families(marks: Sequence[Marks], claimed: Container[int] = ()) -> list[list[int]]:
    """The problems that have marks and are not claimed, by what they share marks with, directly or not (union-find)."""
    free = [one for one, own in enumerate(marks) if own and one not in claimed]
    parent = {one: one for one in free}

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    owner: dict[Hashable, int] = {}
    for one in free:
        for mark in marks[one]:
            parent[root(one)] = root(owner.setdefault(mark, one))
    families: dict[int, list[int]] = defaultdict(list)
    for one in free:
        families[root(one)].append(one)
    return list(families.values())


def take(candidates: Iterator[Task], split: Split, count: int) -> list[Task]:
    """The first `count` of `candidates` that are different problems and belong to `split`, marked as such.

    Raises BadInput when the candidates end before, or give nothing new any more.
    """
    taken: dict[str, Task] = {}
    task, refused = None, 0
    while len(taken) < count:
        task = next(candidates, None) or _ended(task, split, count, len(taken))
        key = structure(task)
        refused = refused + 1 if key in taken or not _belongs(key, split) else 0
        if refused == 0:
            taken[key] = task.model_copy(update={"split": split})
        if refused == PATIENCE:
            raise _exhausted(task, split, count, len(taken))
    return list(taken.values())


def seeded(*parts: str | int) -> Random:
    """A generator of random numbers that follows from `parts` on every machine."""
    return Random("/".join(map(str, parts)))


def _belongs(key: str, split: Split) -> bool:
    return split == "guard" or pool(key) == split


def _ended(last: Task | None, split: Split, asked: int, found: int) -> NoReturn:
    if last is None:
        raise BadInput(f"tasks.{split}: {asked} problems asked of a generator that gives none at all.")
    raise _exhausted(last, split, asked, found)


def _exhausted(task: Task, split: Split, asked: int, found: int) -> BadInput:
    return BadInput(
        f"tasks.{split}: {asked} different problems asked of template '{task.template}' ({task.source}), "
        f"but it has only about {found} for this set. Ask for fewer, or make the problems more varied."
    )
