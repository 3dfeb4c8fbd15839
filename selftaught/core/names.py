"""Valid names of model lines and campaigns."""

import re

from selftaught.core.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def named(name: str, option: str) -> str:
    """`name`, when a line or campaign may be called that: it becomes part of paths, addresses and MLflow's names."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{option} '{name}': letters, digits, dashes, dots and underscores only, the first no dot.")
    return name
