"""What benchmarks give the runners of steps for a journal and for progress: nothing is kept, nothing shown."""

from selftaught.records import Group


class Memory:
    """A journal that forgets: each group is made into a row, as a real journal does it, and dropped."""

    def read(self) -> dict[str, Group]:
        """No groups."""
        return {}

    def append(self, group: Group, /) -> None:
        """The row alone."""
        group.to_row()


def nothing(*_: float, **__: float) -> None:
    """Progress that nobody sees."""
