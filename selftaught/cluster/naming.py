"""Names of a line's objects on a cluster: labels and annotations, and the name of a version."""

import re

from selftaught.core.errors import BadInput
from selftaught.inference.endpoint import served_name

LINE, DIGEST = "selftaught.io/line", "selftaught.io/digest"
MANAGED = {"app.kubernetes.io/managed-by": "selftaught"}
_LINE = re.compile(r"[a-z]([-a-z0-9]{0,37}[a-z0-9])?")
"""KServe labels a version's pods `isvc.<line>-<digest8>-predictor`, and a label's value has at most 63 characters."""


def version_name(line: str, digest: str) -> str:
    """The version's name. Raises BadInput when a Service cannot be called like the line."""
    if not _LINE.fullmatch(line):
        raise BadInput(
            f"line '{line}': on a cluster it is part of a Service's name: lower-case letters, digits and dashes, a "
            "letter first, at most 39. Choose another --line."
        )
    return served_name(line, digest)
