"""Runs the curators of a stage one after the other into one list of examples.

Which rollouts become examples is the curators' business; writing them is `selftaught.dataset`'s.
"""

from collections.abc import Sequence

from selftaught.blocks import Curator
from selftaught.records import Example, Group


def curate(groups: Sequence[Group], curators: Sequence[Curator], seed: int) -> list[Example]:
    """The examples of all `curators`, in their order; an example that an earlier curator gave is dropped.

    Raises RoundFailed when a curator has not found enough.
    """
    examples: list[Example] = []
    for curator in curators:
        own = list(curator.curate(groups, seed))
        curator.check(own)
        known = {example.id for example in examples}
        examples.extend(example for example in own if example.id not in known)
    return examples
