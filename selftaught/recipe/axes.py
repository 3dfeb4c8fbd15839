"""The axes of a recipe, and the blocks on each of them."""

from collections.abc import Mapping

from selftaught.blocks import Block, registered
from selftaught.blocks.loading import load_blocks
from selftaught.core.errors import BadInput, did_you_mean

AXES: Mapping[str, str] = {
    "tasks": "task source",
    "sample": "sampler",
    "verify": "verifier",
    "curate": "curator",
    "train": "objective",
    "evaluate": "metric",
    "gate": "gate",
    "control": "control",
    "environment": "environment",
    "select": "selection",
    "expand": "expansion",
    "value": "node value",
    "backup": "back-up",
    "merge": "rule for duplicates",
}
"""Every axis of a recipe, and what one block on it is called."""


def blocks(axis: str) -> Mapping[str, type[Block]]:
    """Every block on `axis` by type, plug-ins included. Raises BadInput for an axis that does not exist."""
    if axis not in AXES:
        raise BadInput(f"unknown axis '{axis}'.{did_you_mean(axis, AXES)}\n  accepted: {', '.join(AXES)}")
    load_blocks()
    return registered(axis)
