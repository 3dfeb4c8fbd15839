"""Hugging Face data sets: from the hub by name, or from a folder that `save_to_disk` wrote.

Data sets that come with loading scripts are refused by the `datasets` library; nothing here runs remote code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

from selftaught.errors import BadInput, Unavailable, did_you_mean
from selftaught.tasks.rows import RowSource, Table


class Rows(Protocol):
    """What is used of one split: `datasets.Dataset` has no types of its own."""

    def to_list(self) -> list[Mapping[str, Any]]:
        """Every row as a dictionary."""
        ...


class HuggingFace(RowSource, type="huggingface"):
    """Tasks from the rows of one split of `dataset` (a hub name or a folder), and guard tasks from another split."""

    guard_field: ClassVar[str] = "guard_split"
    dataset: str
    subset: str | None = None
    hf_split: str = "train"
    guard_split: str | None = None

    def table(self) -> Table:
        """The rows of `hf_split`."""
        return self._split(self.hf_split)

    def guard_table(self) -> Table:
        """The rows of `guard_split`."""
        assert self.guard_split is not None, "a source that asks for guard tasks has been validated to name their split"
        return self._split(self.guard_split)

    def _split(self, split: str) -> Table:
        splits = _on_disk(Path(self.dataset)) if Path(self.dataset).is_dir() else self._on_hub()
        if split not in splits:
            raise BadInput(
                f"{self.dataset}: no split '{split}'.{did_you_mean(split, splits)} Its splits: {', '.join(splits)}"
            )
        name = f"{self.dataset}[{split}]"
        rows = splits[split].to_list()
        return Table(name, rows, [f"{name} row {number}" for number in range(len(rows))])

    def _on_hub(self) -> Mapping[str, Rows]:
        """Every split of the data set on the hub. Raises Unavailable when the hub does not answer."""
        from datasets import load_dataset  # pyright: ignore[reportUnknownVariableType]
        from datasets.exceptions import DatasetNotFoundError

        try:
            return cast(Any, load_dataset)(self.dataset, self.subset)
        except DatasetNotFoundError:
            raise BadInput(
                f"{self.dataset}: no such folder here and no such data set on the Hugging Face hub. "
                f"Check tasks.dataset; a private one needs HF_TOKEN."
            ) from None
        except OSError as error:
            raise Unavailable(
                f"{self.dataset}: the Hugging Face hub cannot be reached ({error}). Check the network, or save "
                f"the data set where there is one (`save_to_disk`) and give that folder as tasks.dataset."
            ) from None
        except ValueError as error:
            raise BadInput(f"{self.dataset}: {error} Check tasks.subset.") from None


def _on_disk(folder: Path) -> Mapping[str, Rows]:
    """The splits of the data set in `folder`; one that was saved without splits goes by the name of its only split."""
    from datasets import Dataset, load_from_disk  # pyright: ignore[reportUnknownVariableType]

    try:
        loaded = cast(Any, load_from_disk)(str(folder))
    except FileNotFoundError:
        raise BadInput(f"{folder}: not a folder that `save_to_disk` wrote.") from None
    return {str(loaded.split or "train"): loaded} if isinstance(loaded, Dataset) else loaded
