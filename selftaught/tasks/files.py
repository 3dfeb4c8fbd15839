"""Files of tasks: what the JSONL and the Parquet source share, which is where the file and its guard file are."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

from selftaught.errors import BadInput
from selftaught.tasks.rows import RowSource, Table


class FileSource(RowSource):
    """A source that reads one file, and a second one for the guard set. Relative paths start where the run starts."""

    guard_field: ClassVar[str] = "guard_path"
    path: Path
    guard_path: Path | None = None

    @abstractmethod
    def read(self, path: Path) -> Table:
        """The rows of the file at `path`, which exists."""

    def table(self) -> Table:
        """The rows of `path`."""
        return self._existing(self.path)

    def guard_table(self) -> Table:
        """The rows of `guard_path`."""
        assert self.guard_path is not None, "a source that asks for guard tasks has been validated to name their file"
        return self._existing(self.guard_path)

    def _existing(self, path: Path) -> Table:
        if not path.is_file():
            raise BadInput(f"{path}: no such file (looked for {path.absolute()}). Check tasks.path and guard_path.")
        return self.read(path)
