"""Contamination: does a training task, or a training example, give a held-out task away?

Looks at the tasks themselves and trusts no source: exact text after normalisation, equal (template, operands) for
generated tasks, and shared runs of 13 words with numbers masked for tasks without a template. Generated tasks share
templates on purpose, so shared words say nothing of them. It does not find paraphrases.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
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
    """What the prompts of `examples` share with `held_out`; `train` holds the training tasks of all rounds by id.

    An example whose task is none of them is a finding of its own.
    """
    strangers = [example for example in examples if example.task not in train]
    shown = ", ".join(example.task for example in strangers[:SHOWN])
    unknown = [f"{len(strangers)} examples were made from no training task: task {shown}"]
    return (unknown if strangers else []) + overlaps([_asked(e, train.get(e.task)) for e in examples], held_out)


def _asked(example: Example, task: Task | None) -> Task:
    """The example's prompt as a training task, generated as `task` was."""
    plain = Task(messages=example.prompt, source="example")
    return plain.model_copy(update={"template": task.template, "operands": task.operands}) if task else plain


def overlaps(train: Sequence[Task], held_out: Sequence[Task], n: int = NGRAM) -> list[str]:
    """What `held_out` shares with `train`: one sentence for each kind of overlap, none when the two are disjoint."""
    both = [*train, *held_out]
    shared = _runs(both, n)
    kinds: dict[str, list[Marks]] = {
        "have the text of": [[tuple(words(task.question))] for task in both],
        "have the template and operands of": [[structure(task)] if task.template is not None else [] for task in both],
        f"share a run of {n} words (numbers masked, shorter texts whole) with": [
            shared.get(task.id, ()) for task in both
        ],
    }
    findings = (_finding(kind, marks, train, held_out) for kind, marks in kinds.items())
    return [finding for finding in findings if finding]


def _runs(tasks: Sequence[Task], n: int) -> Mapping[str, Marks]:
    """The runs of words of the tasks that have no template, by task id."""
    plain = [task for task in tasks if task.template is None]
    return {task.id: found for task, found in zip(plain, runs([task.question for task in plain], n), strict=True)}


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
