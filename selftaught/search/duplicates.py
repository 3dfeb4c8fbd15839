"""Duplicates: whether a new step says what a sibling says already.

Blocks of the axis `merge`. What becomes of a duplicate (it is dropped, and counted) is the expansion's business.
"""

import re
from abc import abstractmethod
from typing import Annotated

from pydantic import Field, PositiveInt

from selftaught.blocks import Block, Context
from selftaught.core.errors import NoAnswer
from selftaught.core.templates import filled, with_slots
from selftaught.records import Message, Task

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Duplicates(Block, axis="merge"):
    """When two steps are the same."""

    @abstractmethod
    async def same(self, task: Task, one: str, other: str, context: Context) -> bool:
        """Whether two steps from one node say the same. Raises what `ChatModel` raises."""


class Exact(Duplicates, type="exact"):
    """Equal text, white space apart."""

    async def same(self, task: Task, one: str, other: str, context: Context) -> bool:
        return one.split() == other.split()


class EditDistance(Duplicates, type="edit_distance"):
    """A small Levenshtein distance, and the same numbers in the same order. AlphaLLM's code: fewer than 20.

    AlphaLLM does not look at numbers, its steps are long sentences: `22 - 2 = 20` and `22 - 2 = 18` are two apart.
    """

    most: PositiveInt = 19
    """Characters to insert, delete or replace, at most."""

    async def same(self, task: Task, one: str, other: str, context: Context) -> bool:
        return _NUMBER.findall(one) == _NUMBER.findall(other) and within(one, other, self.most)


class Judged(Duplicates, type="judged"):
    """A model is asked and says yes. AlphaLLM (arXiv 2404.12253), its code's model-based state merge.

    The likelier of `Yes` and `No` as the first token of the answer counts. Steps that it refuses are not the same.
    """

    role: Annotated[str, Field(description="the role whose model is used")] = "policy"
    prompt: Annotated[
        str, with_slots("task", "one", "other"), Field(description="{task}, {one} and {other} are filled in")
    ] = (
        "Problem: {task}\n\nStep A: {one}\n\nStep B: {other}\n\n"
        "Do step A and step B say the same? Answer Yes or No, one word."
    )

    async def same(self, task: Task, one: str, other: str, context: Context) -> bool:
        asked = filled(self.prompt, {"task": task.question, "one": one, "other": other})
        try:
            ((yes, no),) = await context.tokens(self.role).odds([[Message(role="user", content=asked)]], ["yes", "no"])
        except NoAnswer:
            return False
        return yes > no


def within(one: str, other: str, most: int) -> bool:
    """Whether the Levenshtein distance of two texts is at most `most`: one row at a time, given up when it cannot be.

    >>> within("kitten", "sitting", 3), within("kitten", "sitting", 2)
    (True, False)
    """
    if abs(len(one) - len(other)) > most:
        return False
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, above = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(row[j - 1] + 1, above[j] + 1, above[j - 1] + (a != b)))
        if min(row) > most:
            return False
    return row[-1] <= most
