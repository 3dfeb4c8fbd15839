"""Code blocks: finding the program that an answer gives. Nothing of it is parsed or run here.

A program is what is fenced (the last block that defines the function asked for, or else the last one), or without a
fence the lines from the first `def` or `import` on, up to where they go over into prose. A script needs no function,
and is the whole answer where nothing is fenced: an expression is one.
"""

import re
from collections.abc import Iterator
from itertools import takewhile
from textwrap import dedent

FENCE = "```"
_BEGINS = re.compile(
    r"(?:async\s+def|def|class)\s+\w|@\w|import\s+[\w.]+(?:,\s*[\w.]+|\s+as\s+\w+)*\s*$|from\s+[\w.]+\s+import\s"
)
_GOES_ON = re.compile(rf"\s|$|#|[)\]}}]|if\s+__name__|[A-Za-z_]\w*\s*(?::\s*\w[^=]*)?=|(?:{_BEGINS.pattern})")


def program(text: str, function: str) -> str | None:
    """The program in `text` that should define `function`; None where there is none.

    >>> program("Sure:\\n```python\\ndef f(x):\\n    return x\\n```", "f")
    'def f(x):\\n    return x\\n'
    """
    if blocks := list(_fenced(text)):
        defines = re.compile(rf"^(?:(?:async\s+)?def\s+{function}\b|{function}\s*=)", re.MULTILINE)
        return next((block for block in reversed(blocks) if defines.search(block)), blocks[-1])
    return _bare(text.splitlines(keepends=True))


def script(text: str) -> str:
    """What an interpreter is to run of `text`.

    >>> script("17 * 3")
    '17 * 3'
    """
    return [text, *_fenced(text)][-1]


def _fenced(text: str) -> Iterator[str]:
    """What stands between fences; the last one may be open, where an answer was cut off."""
    for part in text.split(FENCE)[1::2]:
        language, _, body = part.partition("\n")
        if block := dedent(body or language).strip("\n"):
            yield block + "\n"


def _bare(lines: list[str]) -> str | None:
    begin = next((at for at, line in enumerate(lines) if _BEGINS.match(line)), None)
    return None if begin is None else "".join(takewhile(_GOES_ON.match, lines[begin:]))
