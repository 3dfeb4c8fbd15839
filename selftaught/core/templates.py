"""Templates: texts with slots in braces, such as {task}.

Braces that are no slot stay as they are, since LaTeX and code are full of them, and what is filled in is not looked at
again. Which slots there are is the business of whoever fills them.
"""

import re
from collections.abc import Mapping

SLOT = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[A-Za-z0-9_-]+)?)\}")


def slots(*texts: str | None) -> frozenset[str]:
    """The names in braces that may be slots."""
    return frozenset(slot for text in texts for slot in SLOT.findall(text or ""))


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with the slots filled in that `values` has.

    >>> filled("{tag} \\\\frac{1}{2} of {task}", {"tag": "<good>", "task": "4?"})
    '<good> \\\\frac{1}{2} of 4?'
    """
    return SLOT.sub(lambda slot: values.get(slot[1], slot[0]), template)
