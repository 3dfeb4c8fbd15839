"""Runs the curators of a stage one after the other, streaming their examples.

Which rollouts become examples is the curators' business; writing them is `selftaught.records.dataset`'s. Of an example
that has passed, its id is kept.
"""

from collections.abc import Iterator, Sequence

from selftaught.blocks import Curator
from selftaught.records import Example, Group


def curate(groups: Sequence[Group], curators: Sequence[Curator], seed: int) -> Iterator[Example]:
    """The examples of all `curators`, in their order; an example that an earlier curator gave is dropped.

    Raises RoundFailed, after the last example of a curator, when it has not found enough: what came before is to be
    thrown away then.
    """
    known = set[str]()
    for curator in curators:
        own: list[str] = []
        for example in curator.curate(groups, seed):
            own.append(example.id)
            if example.id not in known:
                yield example
        curator.check(len(own))
        known.update(own)
