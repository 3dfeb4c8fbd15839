"""A folder that is kept under a digest holds what has that digest, or nobody works with it.

Who may write to the store may replace a complete folder, its marker included; only the content tells.
"""

import json
import shutil
from pathlib import Path

import pytest

from selftaught.core.errors import StoreError
from selftaught.platform import Platform
from selftaught.records import Example, Task, dataset
from tests.registry_made import tiny_model
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]


def swapped(platform: Platform, kind: str, digest: str, other: Path) -> Path:
    """The store's folder of `digest`, replaced by all of `other` with a marker of its own."""
    folder = platform.settings.home / "store" / kind / digest
    shutil.rmtree(folder)
    platform.store.put(kind, digest, other)
    return folder


def test_another_model_under_a_champions_digest_is_not_served_or_trained(platform: Platform, tmp_path: Path):
    champion = platform.tracker.resolve("line", "champion")
    assert champion
    assert platform.model(champion.digest).is_dir()
    folder = swapped(platform, "models", champion.digest, tiny_model(tmp_path / "other"))
    with pytest.raises(StoreError, match=f"{folder}: is model .*, not {champion.digest[:8]}"):
        platform.model(champion.digest)


def test_other_tasks_under_a_rounds_digest_are_not_taken_by_its_prepare(
    platform: Platform, model: Path, tmp_path: Path
):
    round = Round(tmp_path / "round", recipe(model))
    round.prepare()
    tasks = Path(round.made["tasks"].path)
    other = [task.model_copy(update={"answer": "666"}) for task in dataset.read(tasks, Task)]
    dataset.write(tmp_path / "other", other, "tasks")
    swapped(platform, "datasets", round.job.tasks, tmp_path / "other")
    shutil.rmtree(tasks)
    again = Round(tmp_path / "round", recipe(model))
    with pytest.raises(SystemExit):
        again.prepare()


def test_other_examples_under_an_earlier_rounds_digest_are_not_replayed(tmp_path: Path):
    made = dataset.write(tmp_path / "examples", [], "examples")
    data = json.loads((tmp_path / "examples" / "manifest.json").read_text())
    assert dataset.proven(tmp_path / "examples", made.digest) == tmp_path / "examples"
    (tmp_path / "examples" / "manifest.json").write_text(json.dumps(data | {"digest": "f" * 64}))
    with pytest.raises(StoreError, match=f"is data set ffffffff, not {made.digest[:8]}"):
        dataset.read(dataset.proven(tmp_path / "examples", made.digest), Example)
