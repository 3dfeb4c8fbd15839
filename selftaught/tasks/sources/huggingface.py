"""Hugging Face data sets: from the hub by name, or from a folder that `save_to_disk` wrote.

Data sets that come with loading scripts are refused by the `datasets` library; nothing here runs remote code.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from selftaught.core.errors import BadInput, Unavailable, did_you_mean
from selftaught.core.hub import http_error, silence
from selftaught.records import Split
from selftaught.tasks.sources.cells import as_written, reason
from selftaught.tasks.sources.extras import require
from selftaught.tasks.sources.rows import Row, RowSource, Table

BATCH = 1_000
"""Rows that are in memory at once."""


class Rows(Protocol):
    """What is used of one split: `datasets.Dataset` has no types of its own."""

    column_names: list[str]
    features: Mapping[str, Any]

    def select_columns(self, column_names: Sequence[str]) -> "Rows":
        """The rows with these columns alone."""
        ...

    def iter(self, batch_size: int) -> Iterator[Mapping[str, list[Any]]]:
        """The rows, so many at a time, each column as a list."""
        ...


class HuggingFace(RowSource, type="huggingface"):
    """Tasks from the rows of one split of `dataset` (a hub name or a folder), and of other splits for the sets that
    have their own.
    """

    own_rows: ClassVar[Mapping[Split, str]] = {"gate": "gate_split", "report": "report_split", "guard": "guard_split"}
    dataset: str
    """Name on the hub, or a folder that `save_to_disk` wrote."""
    subset: str | None = None
    """Configuration of a data set on the hub that has several."""
    hf_split: str = "train"
    """Split of the training rows, and of all sets that have none of their own."""
    gate_split: str | None = None
    """A split that is the gate set's own, such as `test`."""
    report_split: str | None = None
    """A split that is the report set's own."""
    guard_split: str | None = None
    """The split of the guard tasks; there has to be one where `guard` asks for some."""

    def table(self, split: Split = "train") -> Table:
        """The rows of the split of `split`. Raises BadInput when it is not there, or `datasets` is not installed."""
        require("datasets", f"tasks.type: {self.name}")
        splits = _on_disk(Path(self.dataset)) if Path(self.dataset).is_dir() else self._on_hub()
        wanted = str(getattr(self, self.own_rows.get(split, "hf_split")))
        if wanted not in splits:
            raise BadInput(
                f"{self.dataset}: no split '{wanted}'.{did_you_mean(wanted, splits)} Its splits: {', '.join(splits)}"
            )
        rows, name = splits[wanted], f"{self.dataset}[{wanted}]"
        return Table(name, lambda: _rows(rows, name, self.wanted), dict.fromkeys(rows.column_names))

    def _on_hub(self) -> Mapping[str, Rows]:
        """Every split of the data set on the hub. Raises Unavailable when the hub does not answer."""
        from datasets import load_dataset  # pyright: ignore[reportUnknownVariableType]
        from datasets.exceptions import DatasetNotFoundError

        if why := silence():
            raise self._out_of_reach(f"{why}. What is cached here is read with HF_HUB_OFFLINE=1")
        try:
            return cast(Any, load_dataset)(self.dataset, self.subset)
        except DatasetNotFoundError:
            raise BadInput(
                f"{self.dataset}: no such folder here and no such data set on the Hugging Face hub. "
                f"Check tasks.dataset; a private one needs HF_TOKEN."
            ) from None
        except OSError as error:
            raise self._out_of_reach(str(error)) from None
        except http_error() as error:
            raise self._out_of_reach(str(error)) from None
        except ValueError as error:
            raise BadInput(f"{self.dataset}: {error} Check tasks.subset.") from None

    def _out_of_reach(self, why: str) -> Unavailable:
        return Unavailable(
            f"{self.dataset}: the Hugging Face hub cannot be reached ({why}). Check the network, or save "
            f"the data set where there is one (`save_to_disk`) and give that folder as tasks.dataset."
        )


def _rows(rows: Rows, name: str, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    known = [column for column in columns if column in rows.column_names]
    features = [rows.features[column] for column in known]
    numbers = count()
    for batch in rows.select_columns(known).iter(BATCH):
        for cells in zip(*(batch[column] for column in known), strict=True):
            written = map(_written, cells, features)
            yield f"{name} row {next(numbers)}", dict(zip(known, written, strict=True))


def _written(cell: object, feature: Any) -> object:
    """`cell` as it was written: a class by its name, which is stored as a number (-1: none)."""
    if isinstance(cell, int) and hasattr(feature, "int2str"):
        return feature.int2str(cell) if cell >= 0 else None
    return as_written(cell, str(getattr(feature, "dtype", "")))


def _on_disk(folder: Path) -> Mapping[str, Rows]:
    """The splits of the data set in `folder`; one that was saved without splits goes by the name of its only split."""
    from datasets import Dataset, load_from_disk  # pyright: ignore[reportUnknownVariableType]

    try:
        loaded = cast(Any, load_from_disk)(str(folder))
    except (OSError, ValueError, KeyError) as error:  # what missing and damaged files look like
        raise BadInput(f"{folder}: not a folder that `save_to_disk` wrote ({reason(error)}).") from None
    one = isinstance(loaded, Dataset)
    return {str(loaded.split or "train"): cast(Any, loaded)} if one else loaded
