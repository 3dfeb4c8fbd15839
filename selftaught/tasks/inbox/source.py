"""The inbox source: what teams upload to a folder or a bucket, used by the next round once there is enough.

A round takes complete batches, oldest first. What a line's earlier rounds have fixed is handed in (`InboxHistory`):
batches that were used are not read again, questions that were seen are left out, and a problem stays in its set for
good. The set follows from the question's content hash; a question that shares its text, its template or a run of words
(numbers masked) with an earlier one follows that one, and one that shares them with two sets is left out.

Feedback is trained on and nothing else. It is there because of what a model answered, so a model that is measured on it
is measured on its own failures (regression to the mean: Barnett, van der Pols & Dobson 2005): held-out tasks are what
was uploaded as tasks, and no feedback adds one, removes one or changes its answer.

A broken batch (a damaged file, a row that cannot be used) is set aside and reported, and the others are used: on
a schedule nobody stands by, and one team's slip must not stop the others' for good. It stays unused, so it is taken up
as soon as it can be read. It does not know which batches were used; `selftaught.round.intake` does.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, PositiveInt, model_validator

from selftaught.blocks import Draw, OneOf, OnlyFor, TaskSource
from selftaught.core.errors import BadInput, NothingNew, StoreError, Unavailable
from selftaught.records import FEEDBACK, UPLOADED, Split, Task
from selftaught.tasks.inbox import batches
from selftaught.tasks.inbox.feedback import COLUMNS, Feedback, feedback, is_feedback
from selftaught.tasks.lean import AnyTask, LeanTask, lean
from selftaught.tasks.past import NOTHING, InboxHistory, TaskDraw
from selftaught.tasks.sameness import Marks, compared, text_number
from selftaught.tasks.sources.cells import reason
from selftaught.tasks.sources.rows import Columns, Table
from selftaught.tasks.splits import Sets, assigned, claims

SETS: tuple[Split, ...] = ("train", "gate", "report")
ONLY_FEEDBACK = (
    "feedback is trained on and never held out: upload tasks too, chosen before anyone saw an answer to them"
)


MOST_WAITING = batches.MOST_ROWS
"""Tasks that were not asked before, and rows of feedback, among which a round chooses: what its memory is sized for."""

WAIT = (
    f"{{}} of the batches were not read: they wait for those before them, which have {MOST_WAITING:,} rows and make "
    "no round. Remove what is of no use among these."
)


@dataclass(frozen=True, slots=True)
class Row:
    """A task that was uploaded, or that feedback made. The latter counts instead of one with the same question.

    `key` is equal for equal questions.
    """

    task: LeanTask
    key: int

    @property
    def corrects(self) -> bool:
        """Whether feedback made it."""
        return self.task.origin == "feedback"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that could be read: its rows, and what its feedback says.

    Not among its rows are tasks that were asked before (`again`), and those of a batch that waits for the ones before
    it (`later`): they are counted.
    """

    name: str
    rows: tuple[Row, ...]
    said: tuple[Feedback, ...] = ()
    again: int = 0
    later: int = 0

    @property
    def tasks(self) -> int:
        """How many tasks it brings."""
        return len(self.rows) + self.again + self.later


class Inbox(Columns, type="inbox", formerly="dropped"):
    """Tasks that are uploaded into `path`, a folder or `s3://bucket/prefix`, as files of tasks or of feedback.

    A round takes batches until it has `train` training tasks, and at most `gate` and `report` of their held-out ones;
    with fewer than `at_least` new tasks, or none for one of the sets, there is nothing new.
    """

    resamples_gate: ClassVar[bool] = True
    path: Annotated[
        str,
        Field(description="the folder (from the working folder), or s3://bucket/prefix, that tasks are uploaded to"),
    ]
    train: Annotated[
        PositiveInt, Field(description="training tasks that are enough for a round; further batches wait for the next")
    ] = 1000
    gate: Annotated[PositiveInt, Field(description="held-out tasks that a round's gate decides by, at most")] = 400
    report: Annotated[PositiveInt, Field(description="held-out tasks of a round for reports, at most")] = 400
    at_least: Annotated[PositiveInt, Field(description="new tasks below which a round has nothing to do")] = 50
    guard_from: Annotated[
        TaskSource | None,
        OneOf("tasks"),
        OnlyFor("guard"),
        Field(description="the source of the guard tasks; there has to be one where `guard` asks for some"),
    ] = None

    @model_validator(mode="after")
    def _guard_has_a_source(self) -> Self:
        if self.guard and (self.guard_from is None or self.guard_from.guard < self.guard):
            raise ValueError(
                f"guard: {self.guard} asks for guard tasks; name a source with as many in guard_from, such as "
                f"{{type: word_problems, guard: {self.guard}}}"
            )
        return self

    def take(self, draw: Draw, past: InboxHistory = NOTHING) -> TaskDraw:
        """The tasks of the next round after `past`.

        Raises NothingNew when there are too few, BadInput when the folder is not there, StoreError and Unavailable
        when the bucket cannot be listed.
        """
        return self.taken(draw, past, *self.waiting(past))

    def taken(self, draw: Draw, past: InboxHistory, waiting: Sequence[Batch], broken: Mapping[str, str]) -> TaskDraw:
        """The tasks of the next round out of the batches that are `waiting`.

        Raises NothingNew when there are too few.
        """
        guard = self._guard(draw)
        selection = _Selection(past, self._seen(past), waiting, guard, self)
        used: list[str] = []
        for batch in waiting:
            if not self._enough(selection.sizes) and not batch.later:
                selection.add(batch)
                used.append(batch.name)
        if selection.sizes.total() < self.at_least or not all(selection.sizes[split] for split in SETS):
            raise NothingNew(self._too_few(selection, waiting, list(broken.values())))
        return TaskDraw(
            [*self._capped(selection), *guard], tuple(used), tuple(broken.values()), selection.counts, selection.common
        )

    def upload(self, files: Sequence[Path], on: date) -> Batch:
        """Upload `files` to `path` as of the day `on`, once every row has been read.

        Raises BadInput, naming file and line, on a row that cannot be used, and what `drops.write` raises.
        """
        return replace(self.read(files), name=batches.write(files, self.path, on))

    def read(self, files: Sequence[Path]) -> Batch:
        """What `files` would be as a batch. Raises BadInput, naming file and line, on a row that cannot be used."""
        tables = [batches.read_file(file, str(file), self._columns) for file in files]
        return self._batch("", batches.bounded(", ".join(map(str, files)), tables))

    def held_out(self, past: InboxHistory) -> list[Task]:
        """The newest `gate` gate tasks of all batches after `past`. Raises as `take` does, but for NothingNew."""
        seen = self._seen(past)
        newest, _ = self._waiting(past, seen, self._unused(past)[::-1])
        waiting = newest[::-1]
        selection = _Selection(past, seen, waiting, (), self)
        for batch in waiting:
            selection.add(replace(batch, rows=tuple(row for row in batch.rows if not row.corrects)))
        return selection.tasks("gate")[-self.gate :]

    # Reading --------------------------------------------------------------------------------------------------------

    def waiting(self, past: InboxHistory) -> tuple[list[Batch], dict[str, str]]:
        """The batches that were not used, by date, and what is wrong with those that cannot be, by name."""
        return self._waiting(past, self._seen(past), self._unused(past))

    def _unused(self, past: InboxHistory) -> list[str]:
        return [name for name in batches.names(self.path) if name not in past.drops]

    def _seen(self, past: InboxHistory) -> dict[int, str | None]:
        """The answers of what was asked, by question."""
        return {self.key(task): task.answer for task in past.seen}

    def _waiting(
        self, past: InboxHistory, seen: Mapping[int, str | None], names: Sequence[str]
    ) -> tuple[list[Batch], dict[str, str]]:
        """The batches `names` in their order, the first ones as far as there is room, and what is wrong with others."""
        broken: dict[str, str] = {}
        sizes, room = batches.sizes(self.path), _Room()
        readers = {name: lambda name=name: room.fitted(self._read(name, sizes.get(name, 0), seen)) for name in names}
        read = _readable(readers, broken)
        known = self._named(read, past, sizes)
        return _readable(
            {batch.name: lambda batch=batch: self._resolved(batch, known) for batch in read}, broken
        ), broken

    def _named(self, read: Sequence[Batch], past: InboxHistory, sizes: Mapping[str, int]) -> dict[str, LeanTask]:
        """The tasks that the feedback in `read` names, by id: of rounds, of what waits, and of what no round drew.

        A batch is used up with held-out tasks that no round had room for.
        """
        named = {said.task for batch in read for said in batch.said if said.task}
        tasks = (*past.assigned, *(row.task for batch in read for row in batch.rows)) if named else ()
        known = {id: lean(task) for task in tasks if (id := task.id) in named}
        for name in sorted(past.drops) if named - known.keys() else ():
            for batch in _readable({name: lambda name=name: self._read(name, sizes.get(name, 0), {})}, {}):
                known |= {id: row.task for row in batch.rows if (id := row.task.id) in named}
        return known

    @property
    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.wanted, *COLUMNS)))

    def _read(self, name: str, size: int, seen: Mapping[int, str | None]) -> Batch:
        """The batch `name` without what was asked before and has nothing new: its template may join others."""
        with batches.opened(self.path, name, size, self._columns) as tables:
            batch = self._batch(name, tables)
        rows = tuple(row for row in batch.rows if row.task.template or not _is_known(row, seen))
        return replace(batch, rows=rows, again=len(batch.rows) - len(rows))

    def _batch(self, name: str, tables: Sequence[Table]) -> Batch:
        rows, said = list[Row](), list[Feedback]()
        for table in tables:
            if is_feedback(table):
                said += feedback(table)
            else:
                rows += self._rows(name, table)
        return Batch(name, tuple(rows), tuple(said))

    def _rows(self, batch: str, table: Table) -> Iterator[Row]:
        for key, problem in self.different(table).items():
            yield Row(self._task(batch, problem.question, problem.answer, problem.template), key)

    def _task(self, batch: str, question: str, answer: str, template: str | None = None) -> LeanTask:
        source = f"{UPLOADED}{batch}"
        return LeanTask.of(Task(messages=self.messages(question), answer=answer, source=source, template=template))

    def key(self, task: AnyTask) -> int:
        """What is equal for tasks that ask the same question."""
        return text_number(self.bare(task).question)

    def _resolved(self, batch: Batch, known: Mapping[str, LeanTask]) -> Batch:
        """`batch` with the tasks that its feedback makes. Raises BadInput when it names a task that nobody knows."""
        made = (task for said in batch.said for task in self._corrected(batch.name, said, known))
        return replace(batch, rows=(*batch.rows, *(Row(task, self.key(task)) for task in made)), said=())

    def _corrected(self, batch: str, said: Feedback, known: Mapping[str, LeanTask]) -> Iterator[LeanTask]:
        if said.task and said.task not in known:
            raise BadInput(
                f"{said.location}: task: '{said.task}': no round of this line and no batch has this task. Name "
                "one that has been asked, or give its prompt."
            )
        if said.answer is None:
            return
        if said.task:
            yield replace(known[said.task], answer=said.answer, source=f"{FEEDBACK}{batch}")
        else:
            made = self._task(batch, self.asked(said.prompt), said.answer)
            yield replace(made, source=f"{FEEDBACK}{batch}")

    # Choosing -------------------------------------------------------------------------------------------------------

    def _guard(self, draw: Draw) -> list[Task]:
        if not self.guard or self.guard_from is None:
            return []
        return [task for task in self.guard_from.draw(draw) if task.split == "guard"][: self.guard]

    def _enough(self, sizes: Counter[Split]) -> bool:
        """Whether further batches have to wait."""
        return (
            sizes["train"] >= self.train and sizes.total() >= self.at_least and all(sizes[split] > 0 for split in SETS)
        )

    def _capped(self, selection: "_Selection") -> Iterator[Task]:
        """All that is new to train on, and the first held-out tasks that arrived."""
        most: dict[Split, int | None] = {"train": None, "gate": self.gate, "report": self.report}
        for split in SETS:
            yield from selection.tasks(split)[: most[split]]

    def _too_few(self, selection: "_Selection", waiting: Sequence[Batch], broken: Sequence[str]) -> str:
        sizes = ", ".join(f"{selection.sizes[split]} {split}" for split in SETS)
        left_out = ", ".join(f"{count} {name}" for name, count in selection.counts.items() if name != "new" and count)
        later = sum(batch.later > 0 for batch in waiting)
        return "\n  ".join(
            [
                f"{self.path}: {selection.sizes.total()} new tasks in {len(waiting)} batches that were not used "
                f"({sizes}"
                f"{'; ' + left_out if left_out else ''}); a round takes {self.at_least} or more (tasks.at_least), "
                "and some for each set.",
                *(
                    [ONLY_FEEDBACK]
                    if selection.feedback and not (selection.sizes["gate"] and selection.sizes["report"])
                    else []
                ),
                *([WAIT.format(later)] if later else []),
                *(f"set aside: {message}" for message in broken),
            ]
        )


def _readable(made: Mapping[str, Callable[[], Batch]], broken: dict[str, str]) -> list[Batch]:
    """The batches that can be made; what is wrong with the others goes to `broken`."""
    readable: list[Batch] = []
    for name, make in made.items():
        try:
            readable.append(make())
        except Unavailable:  # of none of them
            raise
        except (BadInput, StoreError) as error:
            broken[name] = str(error)
        # Strangers wrote it: whatever it makes a reader raise is this batch's alone.
        except Exception as error:  # noqa: BLE001
            broken[name] = f"batch '{name}': cannot be read ({type(error).__name__}: {reason(error)}). Upload it again."
    return readable


@dataclass(slots=True)
class _Room:
    """How much of what waits is in memory: tasks, and rows of feedback."""

    tasks: int = 0
    said: int = 0

    def fitted(self, batch: Batch) -> Batch:
        """`batch`, or its size alone where there is no room for it; feedback keeps out no batch that has tasks too."""
        tasks, said = self.tasks + len(batch.rows), self.said + len(batch.said)
        if tasks > MOST_WAITING or (not batch.rows and said > MOST_WAITING):
            return Batch(batch.name, (), later=batch.tasks + sum(each.answer is not None for each in batch.said))
        self.tasks, self.said = tasks, said
        return batch


class _Selection:
    """The new tasks of a round, as batch after batch is added; `sizes` is how many each set has.

    What was uploaded as a task has its set before any feedback is checked, whichever batch comes first and whichever
    the round takes.
    """

    def __init__(
        self,
        past: InboxHistory,
        seen: Mapping[int, str | None],
        waiting: Sequence[Batch],
        guard: Sequence[Task],
        source: Inbox,
    ) -> None:
        self._source, self._seen = source, seen
        self._new: dict[int, LeanTask] = {}
        self._left: Counter[str] = Counter()
        self.sizes: Counter[Split] = Counter()
        fixed = list({task.id: task for task in (*past.assigned, *guard)}.values())
        asked = _different(row for batch in waiting for row in batch.rows if not row.corrects)
        said = _different(row for batch in waiting for row in batch.rows if row.corrects)
        found = compared([source.bare(task) for task in (*fixed, *asked.values(), *said.values())])
        self.common = source.framed(found.common)
        settled = len(fixed) + len(asked)
        sets = self._assigned(fixed, asked, found.marks[:settled])
        self._sets = dict(zip(asked, sets[len(fixed) :], strict=True))
        held_out = {mark for own, split in zip(found.marks, sets, strict=False) if split != "train" for mark in own}
        self._trainable = {key: held_out.isdisjoint(own) for key, own in zip(said, found.marks[settled:], strict=True)}

    def _assigned(self, fixed: Sequence[AnyTask], asked: Mapping[int, AnyTask], marks: Sequence[Marks]) -> Sets:
        """The sets of all of them: `fixed` ones stay, as those of `asked` with the question of one."""
        every = [*fixed, *asked.values()]
        sets = claims(self._source.key, fixed)
        claimed: dict[int, Split] = {one: task.split for one, task in enumerate(fixed)}
        claimed |= {one: sets[key] for one, key in enumerate(asked, len(fixed)) if key in sets}
        return assigned(marks, claimed, lambda one: self._source.named(every[one]))

    def tasks(self, split: Split) -> list[Task]:
        """What is new of one set, in the order in which it arrived."""
        return [task.full() for task in self._new.values() if task.split == split]

    @property
    def feedback(self) -> bool:
        """Whether some of it is feedback."""
        return any(task.origin == "feedback" for task in self._new.values())

    @property
    def counts(self) -> dict[str, int]:
        """New tasks, duplicates of what was seen or dropped before, and those between two sets."""
        return {"new": len(self._new), "duplicates": self._left["duplicates"], "between sets": self._left["between"]}

    def add(self, batch: Batch) -> None:
        """Add what is new of a batch."""
        self._left["duplicates"] += batch.again
        for row in batch.rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        key = row.key
        known = self._new[key].answer if key in self._new else self._seen.get(key)
        if known is not None and (not row.corrects or known == row.task.answer):
            self._left["duplicates"] += 1
            return
        split = self._trained(key) if row.corrects else self._sets[key]
        if split is None or split not in SETS:
            self._left["between"] += 1
            return
        self.sizes[split] += key not in self._new
        self._new[key] = replace(row.task, split=split)

    def _trained(self, key: int) -> Split | None:
        """The training set, unless what feedback says of is held out, or between sets."""
        return "train" if self._trainable[key] else None


def _different(rows: Iterable[Row]) -> dict[int, LeanTask]:
    """The first of those with equal questions."""
    first: dict[int, LeanTask] = {}
    for row in rows:
        first.setdefault(row.key, row.task)
    return first


def _is_known(row: Row, seen: Mapping[int, str | None]) -> bool:
    return row.key in seen and seen[row.key] == row.task.answer
