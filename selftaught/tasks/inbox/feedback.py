"""Feedback: people's corrections of a model's answers, as rows that become tasks.

A row has `given` (the final answer that was given: what would be marked, not the entire reply), either `task` (the id
of a task that a round has used or a batch has brought) or `prompt` (the question as it was asked), and `right` (true or
false), `answer` (the correct answer) or both. `answer` counts where it is there; otherwise an answer that was right is
the correct one. An answer that was wrong, with nobody saying what is right, makes no task: nothing could be verified
against it. Other columns are ignored. What is made of it is only ever trained on
(`selftaught.tasks.inbox.source`).
"""

from dataclasses import dataclass

from selftaught.core.errors import BadInput
from selftaught.tasks.sources import cells
from selftaught.tasks.sources.rows import Row, Table

COLUMNS = ("given", "task", "prompt", "right", "answer")
"""The columns of feedback."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One row: where it stands, the task's id or the prompt, and the correct answer (None: nobody said)."""

    location: str
    task: str
    prompt: str
    answer: str | None


def is_feedback(table: Table) -> bool:
    """Whether the rows of `table` tell of answers: some of them have a column `given`."""
    return "given" in table.columns or any("given" in row for _, row in table.rows())


def feedback(table: Table) -> list[Feedback]:
    """The rows of `table`. Raises BadInput, naming the location, on one that says too little or contradicts itself."""
    return [_feedback(location, row) for location, row in table.rows()]


def _feedback(location: str, row: Row) -> Feedback:
    task, prompt = _text(location, row, "task"), _text(location, row, "prompt")
    if bool(task) == bool(prompt):
        raise BadInput(
            f"{location}: {'both' if task else 'neither'} 'task' {'and' if task else 'nor'} 'prompt'. "
            "Name the task by its id, or give the prompt that was answered: one of the two."
        )
    return Feedback(location, task, prompt, _correct(location, row))


def _correct(location: str, row: Row) -> str | None:
    """The correct answer, or None where an answer was wrong and nobody said what is right."""
    given, answer, right = _text(location, row, "given"), _text(location, row, "answer"), row.get("right")
    if right is not None and not isinstance(right, bool):
        raise BadInput(f"{location}: right: {cells.shown(right)}: should be true or false, without quotes.")
    if row.get("given") is None:
        raise BadInput(f"{location}: no 'given'. Add the answer that was given, or leave the column out of all rows.")
    if right is None and not answer:
        raise BadInput(f"{location}: neither 'right' (true or false) nor the correct 'answer'. Add one of the two.")
    if right and not (answer or given):
        raise BadInput(f"{location}: given: '': was right, and is empty. Give the answer.")
    return answer or (given if right else None)


def _text(location: str, row: Row, column: str) -> str:
    """What stands in `column`, a number as text; empty where there is nothing."""
    try:
        return cells.text(row.get(column))
    except cells.BadCell as bad:
        raise BadInput(f"{location}: {column}: {bad}.") from None
