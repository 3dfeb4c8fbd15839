"""Templates: texts with slots in braces, such as {task}.

Braces that are no slot stay as they are, since LaTeX and code are full of them, and what is filled in is not looked at
again. Which slots there are is the business of whoever fills them; here is what is nearly one, and so a mistake.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches

from pydantic import AfterValidator

SLOT = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)?)\}")


USUAL = frozenset({"task", "question", "problem", "prompt", "answer", "response", "reference", "feedback"})
"""What is taken for a slot in prompts, whether there is one or not; other words in braces are of code or LaTeX."""


def slots(*texts: str | None) -> frozenset[str]:
    """The names in braces that may be slots."""
    return frozenset(slot for text in texts for slot in SLOT.findall(text or ""))


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with the slots filled in that `values` has.

    >>> filled("{tag} \\\\frac{1}{2} of {task}", {"tag": "<good>", "task": "4?"})
    '<good> \\\\frac{1}{2} of 4?'
    """
    return SLOT.sub(lambda slot: values.get(slot[1], slot[0]), template)


def mistaken(used: Iterable[str], given: Sequence[str], named: Set[str] = USUAL) -> Iterator[str]:
    """What is wrong with the slots `used` in a text that has those `given`, a sentence each.

    Wrong is what is nearly one of them, or one of `named`.

    >>> list(mistaken({"taks", "n"}, ["task", "one"]))
    ['{taks} is not a slot. Did you mean {task}? There are {task}, {one}.']
    """
    for slot in sorted({*used} - {*given}):
        meant = get_close_matches(slot, given, 1, 0.75)
        if meant or slot in named:
            did = f" Did you mean {{{meant[0]}}}?" if meant else ""
            are = "There are" if len(given) > 1 else "There is"
            yield f"{{{slot}}} is not a slot.{did} {are} {', '.join(f'{{{each}}}' for each in given)}."


def with_slots(*given: str) -> AfterValidator:
    """What to annotate a text with that has the slots `given`, such that what is `mistaken` in it is refused."""

    def checked(text: str) -> str:
        for problem in mistaken(slots(text), given):
            raise ValueError(problem)
        return text

    return AfterValidator(checked)
