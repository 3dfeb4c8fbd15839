"""Replay: what earlier rounds trained on comes back once, as the newest of them had it."""

from pathlib import Path

import pytest

from selftaught.platform import Platform
from selftaught.records import Example, dataset
from selftaught.round.job import Job, ReplaySource
from selftaught.round.replay import replayed
from tests.examples import worth
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks

__all__ = ["database", "model", "platform", "recorded_blocks"]


def valued(text: str, label: float) -> Example:
    """A partial solution with what a round made of it: the same example in every round, whatever its label."""
    return worth("?", text, label)


def kept(platform: Platform, folder: Path, *examples: Example) -> ReplaySource:
    """An earlier round with these examples."""
    made = dataset.write(folder, examples, "examples")
    platform.store.put("datasets", made.digest, folder)
    return ReplaySource(tasks="", examples=made.digest)


@pytest.fixture
def job(platform: Platform, model: Path, tmp_path: Path) -> Job:
    """A round that replays."""
    round = Round(tmp_path / "round", recipe(model, replay=10))
    round.prepare()
    return round.job


def test_an_example_of_several_rounds_is_the_newest_ones(platform: Platform, job: Job, tmp_path: Path):
    first = kept(platform, tmp_path / "1", valued("a", 0.1), valued("b", 0.1), valued("c", 0.1))
    second = kept(platform, tmp_path / "2", valued("a", 0.2), valued("b", 0.2))
    third = kept(platform, tmp_path / "3", valued("a", 0.3))
    job = job.model_copy(update={"earlier": (first, second, third)})
    drawn = replayed(platform, job, [valued("d", 0.4).text_id])
    again = {each.completion[0].content: each.regress.label for each in drawn}
    assert again == {"a": 0.3, "b": 0.2, "c": 0.1}


def test_a_rounds_own_example_is_not_replayed(platform: Platform, job: Job, tmp_path: Path):
    job = job.model_copy(update={"earlier": (kept(platform, tmp_path / "1", valued("a", 0.1)),)})
    assert replayed(platform, job, [valued("a", 0.9).text_id]) == []
