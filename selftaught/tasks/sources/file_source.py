"""Files of tasks: what the JSONL and the Parquet source share, which is where the files are."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from selftaught.core.errors import BadInput
from selftaught.records import Split
from selftaught.tasks.sources.rows import RowSource, Table


class FileSource(RowSource):
    """A source that reads one file, and others for the sets that have their own."""

    own_rows: ClassVar[Mapping[Split, str]] = {"gate": "gate_path", "report": "report_path", "guard": "guard_path"}
    path: Path
    """File of the training rows, and of all sets that have none of their own. Relative paths start at the
    working folder, wherever the recipe is."""
    gate_path: Path | None = None
    """A file of the gate set's own, such as the test file of a benchmark."""
    report_path: Path | None = None
    """A file of the report set's own."""
    guard_path: Path | None = None
    """The file of the guard tasks; there has to be one where `guard` asks for some."""

    @abstractmethod
    def read(self, path: Path) -> Table:
        """The rows of the file at `path`, which exists."""

    def table(self, split: Split = "train") -> Table:
        """The rows of the file of `split`. Raises BadInput when it is not there."""
        field = self.own_rows.get(split, "path")
        path = Path(getattr(self, field))
        if path.is_dir():
            raise BadInput(f"{path}: is a folder. Name a file in tasks.{field}.")
        if not path.is_file():
            raise BadInput(f"{path}: no such file (looked for {path.absolute()}). Check tasks.{field}.")
        return self.read(path)
