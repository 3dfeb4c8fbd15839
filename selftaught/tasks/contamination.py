"""Contamination: does a training task, or a training example, give a held-out task away?

Looks at the tasks themselves and trusts no source: equal text in another form, equal (template, operands) for generated
tasks, and shared runs of 13 words with numbers masked, unless both were generated: templates are shared on purpose
(`selftaught.tasks.sameness` says what is compared). Of a source it takes one thing on trust: which words so many of its
rows share that they say nothing (`Common`), for a round's tasks are too few to tell. It does not find paraphrases;
`alike` warns of close ones.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from textwrap import shorten

from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Message, Split, Task, set_name
from selftaught.tasks.lean import AnyTask
from selftaught.tasks.sameness import NGRAM, Common, Marks, alike_words, compared, made_from, text_number
from selftaught.tasks.splits import Bare, Reasked

Known = AnyTask | Reasked
"""A task of this round or of an earlier one."""

SHOWN = 3
"""How many overlapping pairs a finding names; the rest is counted."""

PAIRS: tuple[tuple[Split, Split], ...] = (
    ("train", "gate"),
    ("train", "report"),
    ("train", "guard"),
    ("gate", "report"),
)
"""Which sets must not overlap: training with all that is held out, and the sets of decisions with the report's."""
APART: tuple[Split, ...] = ("train", "gate", "report")
"""What a named set must not overlap either: it may be one that a gate decides by, or one for reports."""


def require_disjoint(tasks: Iterable[Task], common: Common | None = None, trained: Sequence[Known] = ()) -> None:
    """Raise RoundFailed, naming the overlapping tasks, unless the sets that `tasks` fall into are disjoint.

    `trained` are the training tasks of the line's earlier rounds; `common` is what says nothing of a task.
    """
    sets = by_split(tasks)
    pairs: list[tuple[Split, Split]] = [*PAIRS, *((one, split) for split in sets if set_name(split) for one in APART)]
    known = common or compared([*(task for each in sets.values() for task in each), *trained]).common
    findings = [finding for one, other in pairs for finding in overlaps(sets[one], sets[other], known)]
    held_out = _held_out(sets)
    findings += [f"of earlier rounds: {finding}" for finding in overlaps(trained, held_out, known)]
    if findings:
        raise RoundFailed("\n  ".join(["The sets of tasks overlap, so no gain on them could be believed.", *findings]))


def by_split(tasks: Iterable[Task]) -> dict[Split, list[Task]]:
    """`tasks` by the set that each is in."""
    sets: dict[Split, list[Task]] = {"train": [], "gate": [], "report": [], "guard": []}
    for task in tasks:
        sets.setdefault(task.split, []).append(task)
    return sets


def _held_out(sets: Mapping[Split, list[Task]]) -> list[Task]:
    return [task for split, some in sets.items() if split != "train" for task in some]


def check_examples(examples: Iterable[Example], train: Mapping[str, Task], held_out: Sequence[Task]) -> list[str]:
    """What `examples` share with `held_out`: their tasks, and every turn of a user that is not its task's question.

    `train` holds the training tasks of all rounds by id; an example whose task is none of them, and was not written for
    one of them, is a finding of its own. Of a task that a model wrote, and of what it wrote, every message counts.
    What all questions begin and end with is taken from the tasks alone: an example may ask something else besides.
    """
    strangers, asked = list[str](), dict[str, Task]()
    for example in examples:
        if (example.drawn or example.task) not in train:
            strangers.append(example.task)
        asked.update((task.id, task) for task in _asked(example, train.get(example.task)))
    unknown = [f"{len(strangers)} examples were made from no training task: task {', '.join(strangers[:SHOWN])}"]
    known = _known(train.values(), held_out)
    return (unknown if strangers else []) + overlaps(list(asked.values()), held_out, known)


def _asked(example: Example, task: Task | None) -> Iterator[Task]:
    """The example's task, and what else is asked in it."""
    if task:
        yield task
    for message in example.messages():
        if (example.drawn or message.role == "user") and (task is None or message.content != task.question):
            yield Task(messages=(Message(role="user", content=message.content),), source="example")


def giving_away(minted: Sequence[Task], train: Iterable[Task], held_out: Sequence[Task]) -> frozenset[str]:
    """The ids of the `minted` tasks that share with `held_out` what `check_examples` looks for."""
    kinds = _kinds([*minted, *held_out], _known(train, held_out))
    found = set[str]()
    for _, marks in kinds:
        known = set(chain.from_iterable(marks[len(minted) :]))
        found |= {task.id for task, own in zip(minted, marks, strict=False) if not known.isdisjoint(own)}
    return frozenset(found)


def _known(known: Iterable[Task], held_out: Sequence[Task]) -> Common:
    """What says nothing, and the words that training tasks were seen to share when the round was fixed.

    Those of a template too: an example may say again what its own task says.
    """
    train = [task for task in known if task.split == "train"]
    found = compared([Bare(task.question) for task in (*train, *held_out)])
    shared = set[Hashable]().union(*found.marks[: len(train)]) & set[Hashable]().union(*found.marks[len(train) :])
    words = frozenset(mark for mark in shared if isinstance(mark, int))
    return Common(found.common.before, found.common.after, found.common.marks | words)


def overlaps(train: Sequence[Known], held_out: Sequence[Task], common: Common | None = None) -> list[str]:
    """What `held_out` shares with `train`: one sentence for each kind of overlap, none when the two are disjoint."""
    kinds = _kinds([*train, *held_out], common)
    findings = (_finding(kind, marks, train, held_out) for kind, marks in kinds)
    return [finding for finding in findings if finding]


def _kinds(tasks: Sequence[Known], common: Common | None) -> Iterator[tuple[str, Sequence[Marks]]]:
    """Each kind of overlap with the marks by which two of `tasks` have it."""
    yield "have the text of", [(text_number(task.question),) for task in tasks]
    made = (() if task.template is None else (made_from(task.template, task.operands),) for task in tasks)
    yield "have the template and operands of", list(made)
    runs = [tuple(mark for mark in own if isinstance(mark, int)) for own in compared(tasks, common).marks]
    yield f"share a run of {NGRAM} words (numbers masked, shorter texts in full) with", runs


def _finding(kind: str, marks: Sequence[Marks], train: Sequence[Known], held_out: Sequence[Task]) -> str:
    """The sentence on the tasks of `held_out` that share a mark with one of `train`; empty where none does."""
    wanted = {mark for own in marks[len(train) :] for mark in own}
    seen = {mark: task for task, own in zip(train, marks, strict=False) for mark in own if mark in wanted}
    later = zip(held_out, marks[len(train) :], strict=True)
    pairs = [(task, next((seen[mark] for mark in own if mark in seen), None)) for task, own in later]
    found = [_shown(task, twin) for task, twin in pairs if twin]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"{len(found)} of {len(held_out)} tasks {kind} a task of another set: {'; '.join(found[:SHOWN])}{more}"
        if found
        else ""
    )


def _shown(task: Task, twin: Known) -> str:
    return f"{task.split} {task.id} and {twin.split} {twin.id} ({shorten(task.question, 60)!r})"


# Close, and perhaps not the same --------------------------------------------------------------------------------------

ALIKE = 0.3
"""The part of two texts' runs of five words, of both together, from which on they count as similar."""


def alike(tasks: Iterable[Task]) -> str:
    """A warning of training tasks that are close to held-out ones without being the same; empty where there are none.

    By the Jaccard index of runs of five words with numbers masked: what a paraphrase or a few other words leave of a
    text (after Yang et al. 2023, arXiv 2311.04850, who ask an embedding instead). It decides nothing.
    """
    sets = by_split(task for task in tasks if task.template is None)
    held_out = _held_out(sets)
    close = alike_words([t.question for t in sets["train"]], [t.question for t in held_out], ALIKE)
    shown = "; ".join(_shown(held_out[j], sets["train"][i]) for i, j in close[:SHOWN])
    return (
        f"{len({j for _, j in close})} of {len(held_out)} held-out tasks read much like a training task: {shown}. "
        "Should they be one problem, give both the same `template`."
        if close
        else ""
    )
