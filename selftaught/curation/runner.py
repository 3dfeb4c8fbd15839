"""Runs the curators of a stage one after the other, streaming their examples.

Which rollouts become examples is the curators' business; writing them is `selftaught.records.dataset`'s. Of an example
that has passed, its id is kept.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from selftaught.blocks import Curator
from selftaught.blocks.boundary import examples_of
from selftaught.curation.parts import Parts
from selftaught.records import Example, Group


def curate(
    groups: Sequence[Group], curators: Sequence[Curator], seed: int, left_out: AbstractSet[str] = frozenset()
) -> Iterator[Example]:
    """The examples of all `curators`, in their order; an example that an earlier curator gave is dropped.

    Tasks that a model wrote are groups of their own to a curator; those of the ids `left_out` are not seen. Raises
    RoundFailed, after the last example of a curator, when it has not found enough: what came before is to be thrown
    away then.
    """
    known, parts = set[str](), Parts(groups, left_out)
    for curator in curators:
        own: list[str] = []
        for example in examples_of(curator, parts, seed):
            own.append(example.id)
            if example.id not in known:
                drawn = parts.drawn.get(example.task)
                yield example.model_copy(update={"drawn": drawn}) if drawn else example
        curator.check(len(own))
        known.update(own)
