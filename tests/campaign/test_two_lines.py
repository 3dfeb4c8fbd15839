"""Two lines that run one recipe at once have equal keys for their steps: both end, with what the first one made.

Where they differ in a model that a step asks, that step is done for each.
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.canonical import canonical
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, TaskScore, dataset
from selftaught.round.adopt import adopt, adopt_roles
from selftaught.round.steps import evaluate, sample, train
from selftaught.serving.engines.pool import LocalEngines
from selftaught.serving.engines.remote import EngineServer
from tests.rounds import Round, database, model, platform, recipe, recorded_blocks, requests, tiny_model

__all__ = ["database", "model", "platform", "recorded_blocks", "requests"]


@pytest.fixture
def engines(platform: Platform, requests: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """An owner with room for the engines of both lines; in a run each line has its own."""
    home = platform.settings.home
    with LocalEngines(home, keep=4) as backend, EngineServer(backend, home) as owner:
        monkeypatch.setenv("SELFTAUGHT_ENGINES", owner.address)
        yield


@pytest.fixture
def lines(
    engines: None, platform: Platform, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Round, Round]:
    monkeypatch.setattr("selftaught.round.step.die_with_parent", lambda: None)
    found = recipe(model)
    adopt(platform, Recipe.parse(canonical(found).decode()), "other")
    return Round(tmp_path / "line", found), Round(tmp_path / "other", found, line="other")


def meanwhile(patch: pytest.MonkeyPatch, module: Any, name: str, do: Callable[[], object]) -> None:
    """Have the other line do `do` when this one comes to `name` for the first time."""
    called, left = getattr(module, name), [do]

    def first(*args: Any, **kwargs: Any) -> Any:
        if left:
            with ThreadPoolExecutor(1) as beside:  # where no event loop runs
                beside.submit(left.pop()).result()
        return called(*args, **kwargs)

    patch.setattr(module, name, first)


def test_lines_at_one_step_at_once_do_not_break_each_other(
    lines: tuple[Round, Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    line, other = lines
    for each in lines:
        each.prepare()
    # while the journal is open, while weights lie in the scratch folder, and while the journal of answers is open
    meanwhile(monkeypatch, sample, "sample", other.sample)
    line.sample()
    for each in lines:
        each.verify()
    meanwhile(monkeypatch, train, "check_model", other.train)
    line.train()
    meanwhile(monkeypatch, evaluate, "sample", lambda: other.evaluate("gate"))
    line.evaluate("gate")
    assert line.challenger == other.challenger
    for name in ("groups-0", "groups-1", "examples", "gate-scores"):
        assert line.made[name].metadata["digest"] == other.made[name].metadata["digest"]


@pytest.mark.usefixtures("engines")
def test_a_trained_model_that_was_removed_is_trained_again(platform: Platform, model: Path, tmp_path: Path):
    """As the error on a damaged one says to do."""
    found = recipe(model)
    adopt(platform, Recipe.parse(canonical(found).decode()), "line")
    round = Round(tmp_path / "line", found)
    round.until_trained()
    platform.store.remove("models", round.challenger)
    round.train()
    assert platform.store.has("models", round.challenger)


@pytest.mark.usefixtures("engines")
def test_lines_with_different_judges_share_no_verdict_and_no_score(platform: Platform, model: Path, tmp_path: Path):
    """Equal recipes but for the judge, on lines of one campaign: the one judge is always right, the other never."""
    agree = list[set[bool]]()
    for name, skill in (("line", 1.0), ("other", 0.0)):
        measured = {"type": "accuracy", "verify": {"type": "judged"}}
        found = recipe(
            model, verify={"type": "judged"}, curate={"type": "unfiltered", "per_task": 2}, evaluate=measured
        )
        found["models"]["judge"] = str(tiny_model(tmp_path / f"judge of {name}", skill))
        for adopted in (adopt, adopt_roles):
            adopted(platform, Recipe.model_validate(found), name)
        round = Round(tmp_path / name, found, line=name)
        round.until_trained()
        round.evaluate("report")
        agree += [set(_verdicts(round)), set(_scores(round))]
    assert agree == [{True}, {True}, {False}, {False}]


def _verdicts(round: Round) -> Iterator[bool]:
    """Whether each verdict of the round says what is so of the rollout."""
    for group in dataset.read(Path(round.made["verified"].path), Group):
        for index, rollout in enumerate(group.rollouts):
            yield group.passed(index) == (rollout.text == f"The answer is {group.task.answer}.")


def _scores(round: Round) -> Iterator[bool]:
    """Whether each score of the round says what is so of the answer."""
    for score in dataset.read(Path(round.made["report-scores"].path), TaskScore):
        yield score.value == (score.texts == (f"The answer is {score.answer}.",))
