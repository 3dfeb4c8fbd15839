"""Which set a problem belongs to: the same one in every round, every campaign and for every size asked for.

A problem's structure is its (template, operands) where it was generated and its text otherwise. The structure's hash
puts it into the train, gate or report pool for good, so a model is never tested on what it, or an ancestor of it, was
trained on. Guard tasks come from templates, files or generators of their own and have no pool. Finding overlaps
between sets that were made elsewhere is `contamination`'s business.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from random import Random

from selftaught.blocks import TaskSource
from selftaught.errors import BadInput
from selftaught.records import Message, Split, Task, canonical

SHARES: dict[Split, float] = {"train": 0.6, "gate": 0.2, "report": 0.2}
"""The part of all problems that each pool holds."""

PATIENCE = 1000
"""So many candidates refused in a row mean that a generator has nothing new: at a share of 0.2 chance is 1e-97."""

NGRAM = 13
"""Words in a run that two different problems do not share (GPT-3, Brown et al. 2020, appendix C)."""

Run = tuple[str, ...]

_EDGES = ".,;:!?\"'()[]"
_NUMBER = re.compile(r"\d[\d,.]*\d|\d")


class PromptedSource(TaskSource):
    """A source whose tasks are a question, with a system message and an instruction after it where they are given."""

    system: str = ""
    instruction: str = ""

    def messages(self, question: str) -> tuple[Message, ...]:
        """The prompt that asks `question`."""
        asked = Message(role="user", content=f"{question} {self.instruction}" if self.instruction else question)
        return (Message(role="system", content=self.system), asked) if self.system else (asked,)


def words(text: str) -> list[str]:
    """`text` normalised: lower case, split at white space, punctuation around words dropped (operators stay)."""
    return [word.strip(_EDGES) or word for word in text.casefold().split()]


def structure(task: Task) -> str:
    """The key by which two tasks are the same problem.

    (template, operands) where there is a template, with the operands in any order: 3 + 4 and 4 + 3 are one problem.
    The normalised question otherwise.
    """
    if task.template is not None:
        return canonical([task.template, sorted(task.operands)]).decode()
    return " ".join(words(task.question))


def runs(texts: Sequence[str], n: int = NGRAM, framed: Sequence[str] | None = None) -> list[set[Run]]:
    """For each text its runs of `n` words with numbers masked; a shorter text is one run.

    The words that all texts (or all of `framed`) begin or end with (a preamble, an instruction) belong to none of them.
    """
    before, after = _frame(map(_masked, texts if framed is None else framed))
    own = [_without(before, after, text) for text in map(_masked, texts)]
    return [{text[i : i + n] for i in range(max(1, len(text) - n + 1))} for text in own]


def _masked(text: str) -> Run:
    return tuple(_NUMBER.sub("#", word) for word in words(text))


def _frame(texts: Iterable[Run]) -> tuple[Run, Run]:
    """The words that all texts share at their beginning and end; none where there are not three texts to tell by."""
    different = set(texts)
    if len(different) < 3:
        return (), ()
    one, before = next(iter(different)), _common(different)
    after = _common(text[before:][::-1] for text in different)
    return one[:before], one[len(one) - after :]


def _without(before: Run, after: Run, text: Run) -> Run:
    """`text` without the words `before` and `after` it, where they are there."""
    begun = text[len(before) :] if text[: len(before)] == before else text
    return begun[: len(begun) - len(after)] if after and begun[-len(after) :] == after else begun


def _common(texts: Iterable[Run]) -> int:
    """How many first words all `texts` share."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return sum(1 for _ in columns)


def pool(key: str) -> Split:
    """The pool that the problem with this structure key belongs to."""
    point = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    if point < SHARES["train"]:
        return "train"
    return "gate" if point < SHARES["train"] + SHARES["gate"] else "report"


def take(candidates: Iterator[Task], split: Split, count: int) -> list[Task]:
    """The first `count` of endless `candidates` that are different problems and belong to `split`, marked as such.

    Raises BadInput when the candidates give nothing new any more.
    """
    taken: dict[str, Task] = {}
    refused = 0
    while len(taken) < count:
        task = next(candidates)
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


def _exhausted(task: Task, split: Split, asked: int, found: int) -> BadInput:
    return BadInput(
        f"tasks.{split}: {asked} different problems asked of template '{task.template}' ({task.source}), "
        f"but it has only about {found} for this set. Ask for fewer, or make the problems more varied."
    )
