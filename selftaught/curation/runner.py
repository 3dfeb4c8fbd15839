"""Runs the curators of a stage one after the other, streaming their examples.

Which rollouts become examples is the curators' business; writing them is `selftaught.records.dataset`'s. Of an example
that has passed, its id is kept.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import overload

from typing_extensions import override

from selftaught.blocks import Curator
from selftaught.records import Example, Group


def curate(
    groups: Sequence[Group], curators: Sequence[Curator], seed: int, left_out: AbstractSet[str] = frozenset()
) -> Iterator[Example]:
    """The examples of all `curators`, in their order; an example that an earlier curator gave is dropped.

    Tasks that a model wrote are groups of their own to a curator; those of the ids `left_out` are not seen. Raises
    RoundFailed, after the last example of a curator, when it has not found enough: what came before is to be thrown
    away then.
    """
    known, parts = set[str](), _Parts(groups, left_out)
    drawn = {task.id: group.id for group in groups for task in group.minted}
    for curator in curators:
        own: list[str] = []
        for example in curator.curate(parts, seed):
            own.append(example.id)
            if example.id not in known:
                minted = example.task in drawn
                yield example.model_copy(update={"drawn": drawn[example.task]}) if minted else example
        curator.check(len(own))
        known.update(own)


class _Parts(Sequence[Group]):
    """The parts of groups, one a task, computed again for whoever iterates."""

    def __init__(self, groups: Sequence[Group], left_out: AbstractSet[str]) -> None:
        self._groups, self._left_out = groups, left_out

    @override
    def __iter__(self) -> Iterator[Group]:
        return (part for group in self._groups for _, part in group.without(self._left_out).parts())

    @override
    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Group: ...
    @overload
    def __getitem__(self, index: slice) -> list[Group]: ...
    @override
    def __getitem__(self, index: int | slice) -> Group | list[Group]:
        return list(self)[index]
