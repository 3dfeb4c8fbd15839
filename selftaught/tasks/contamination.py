"""Contamination: does a training task, or a training example, give a held-out task away?

Looks at the tasks themselves and trusts no source: exact text after normalisation, equal (template, operands) for
generated tasks, and shared runs of 13 words with numbers masked for tasks without a template. Generated tasks share
templates on purpose, so shared words say nothing of them. It does not find paraphrases.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from textwrap import shorten

from selftaught.errors import RoundFailed
from selftaught.records import Example, Split, Task
from selftaught.tasks.splits import NGRAM, runs, structure, words

SHOWN = 3
"""How many overlapping pairs a finding names; the rest is counted."""

PAIRS: tuple[tuple[Split, Split], ...] = (
    ("train", "gate"),
    ("train", "report"),
    ("train", "guard"),
    ("gate", "report"),
)
"""Which sets must not overlap: training with all that is held out, and the sets of decisions with the report's."""

Marks = Iterable[Hashable]


def require_disjoint(tasks: Iterable[Task]) -> None:
    """Raise RoundFailed, naming the overlapping tasks, unless the sets that `tasks` fall into are disjoint."""
    sets: dict[Split, list[Task]] = {"train": [], "gate": [], "report": [], "guard": []}
    for task in tasks:
        sets[task.split].append(task)
    findings = [finding for one, other in PAIRS for finding in overlaps(sets[one], sets[other])]
    if findings:
        raise RoundFailed("\n  ".join(["The sets of tasks overlap, so no gain on them could be believed.", *findings]))


def check_examples(examples: Sequence[Example], train: Mapping[str, Task], held_out: Sequence[Task]) -> list[str]:
    """What `examples` share with `held_out`: their tasks, and every turn of a user that is not its task's question.

    `train` holds the training tasks of all rounds by id; an example whose task is none of them is a finding of its own.
    What all questions begin and end with is taken from the tasks alone: an example may ask something else besides.
    """
    strangers = [example for example in examples if example.task not in train]
    shown = ", ".join(example.task for example in strangers[:SHOWN])
    unknown = [f"{len(strangers)} examples were made from no training task: task {shown}"]
    asked = {task.id: task for example in examples for task in _asked(example, train.get(example.task))}
    framed = [task.question for task in (*train.values(), *held_out) if task.template is None]
    return (unknown if strangers else []) + overlaps(list(asked.values()), held_out, framed=framed)


def _asked(example: Example, task: Task | None) -> Iterator[Task]:
    """The example's task, and what else is asked in it."""
    if task:
        yield task
    for message in (*example.prompt, *example.completion):
        if message.role == "user" and (task is None or message.content != task.question):
            yield Task(messages=(message,), source="example")


def overlaps(
    train: Sequence[Task], held_out: Sequence[Task], n: int = NGRAM, framed: Sequence[str] | None = None
) -> list[str]:
    """What `held_out` shares with `train`: one sentence for each kind of overlap, none when the two are disjoint.

    `framed` are the questions, these tasks' own if not given, that tell what all begin and end with.
    """
    both = [*train, *held_out]
    shared = _runs(both, n, framed)
    kinds: dict[str, list[Marks]] = {
        "have the text of": [[tuple(words(task.question))] for task in both],
        "have the template and operands of": [[structure(task)] if task.template is not None else [] for task in both],
        f"share a run of {n} words (numbers masked, shorter texts whole) with": [
            shared.get(task.id, ()) for task in both
        ],
    }
    findings = (_finding(kind, marks, train, held_out) for kind, marks in kinds.items())
    return [finding for finding in findings if finding]


def _runs(tasks: Sequence[Task], n: int, framed: Sequence[str] | None) -> Mapping[str, Marks]:
    """The runs of words of the tasks that have no template, by task id."""
    plain = [task for task in tasks if task.template is None]
    found = runs([task.question for task in plain], n, framed)
    return {task.id: own for task, own in zip(plain, found, strict=True)}


def _finding(kind: str, marks: Sequence[Marks], train: Sequence[Task], held_out: Sequence[Task]) -> str:
    """The sentence on the tasks of `held_out` that share a mark with one of `train`; empty where none does."""
    seen = {mark: task for task, own in zip(train, marks, strict=False) for mark in own}
    later = zip(held_out, islice(marks, len(train), None), strict=True)
    pairs = [(task, next((seen[mark] for mark in own if mark in seen), None)) for task, own in later]
    found = [_shown(task, twin) for task, twin in pairs if twin]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return (
        f"{len(found)} of {len(held_out)} tasks {kind} a task of another set: {'; '.join(found[:SHOWN])}{more}"
        if found
        else ""
    )


def _shown(task: Task, twin: Task) -> str:
    return f"{task.split} {task.id} and {twin.split} {twin.id} ({shorten(task.question, 60)!r})"
