"""Groups apart by task: a group that holds tasks which a model wrote is one group for each of its tasks."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import overload

from typing_extensions import override

from selftaught.records import Group


class Parts(Sequence[Group]):
    """The parts of groups, one a task, computed again for whoever iterates."""

    def __init__(self, groups: Sequence[Group], left_out: AbstractSet[str] = frozenset()) -> None:
        self._groups, self._left_out = groups, left_out
        self.drawn: dict[str, str] = {}
        """The drawn task in whose group each written one stood, by their ids, as far as anyone has iterated."""

    @override
    def __iter__(self) -> Iterator[Group]:
        for group in self._groups:
            self.drawn.update((task.id, group.id) for task in group.minted)
            yield from (part for _, part in group.without(self._left_out).parts())

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
