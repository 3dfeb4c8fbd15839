"""Why a server died, from its log: the first cause that it names, or else its last lines."""

import re

CAUSE = re.compile(
    r"^  Value error, (?P<config>.+?)(?: \[type=|$)"
    r"|(?:^|\] )(?:\w+\.)*(?P<error>(?!ValidationError)\w+(?:Error|Exception): .+)$",
    re.MULTILINE,
)
"""A refused setting as pydantic words it, or the last line of a traceback, bare or behind a logger's prefix."""
LONGEST = 300


def cause(log: str) -> str | None:
    """The first cause in `log`, in one line; None when the process was killed without a word."""
    found = CAUSE.search(log)
    return (found["config"] or found["error"])[:LONGEST].rstrip(".") if found else None


def last_lines(log: str, count: int = 5) -> str:
    """The last lines of `log`, in one."""
    return " / ".join(line.strip() for line in log.strip().splitlines()[-count:])
