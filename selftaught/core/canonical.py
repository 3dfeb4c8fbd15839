"""Canonical serialisation, so that equal values have equal digests.

Nothing is imported here that an engine's image has not: the digest of a model is made of this as well.
"""

import json
from typing import Any


def canonical(value: Any) -> bytes:
    """`value` as canonical JSON: keys sorted, no white space, UTF-8; equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
