"""evaluate: both models answer the same tasks, each on an engine of its own, and nothing is measured twice."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from selftaught.records import Task, TaskScore, dataset
from selftaught.round.steps import evaluate
from tests.rounds import Round, recipe


@pytest.fixture
def trained(round: Round) -> Round:
    round.until_trained()
    return round


def _digest(round: Round, split: str) -> str:
    return cast(dict[str, str], cast(Any, round.made[f"{split}-scores"]).metadata)["digest"]


def _scores(round: Round, split: str) -> list[TaskScore]:
    return dataset.read(Path(round.made[f"{split}-scores"].path), TaskScore)


@pytest.mark.parametrize(("which", "splits"), [("gate", {"gate", "guard"}), ("report", {"report"})])
def test_both_models_answer_the_same_tasks(trained: Round, which: str, splits: set[str]):
    trained.evaluate(which)
    tasks = dataset.read(Path(trained.made["tasks"].path), Task)
    wanted = {task.id for task in tasks if task.split in splits}
    for model in (trained.job.champion.digest, trained.challenger):
        assert {score.task for score in _scores(trained, which) if score.model == model} == wanted
    assert len({score.id for score in _scores(trained, which)}) == 2 * len(wanted)


def test_scores_are_what_the_models_can_do(trained: Round):
    trained.evaluate("gate")
    challenger = [score.value for score in _scores(trained, "gate") if score.model == trained.challenger]
    champion = [score.value for score in _scores(trained, "gate") if score.model != trained.challenger]
    assert set(challenger) == {1.0}
    assert 0 < sum(champion) < len(champion) / 2


def test_each_answer_is_from_the_engine_of_its_model(trained: Round, engines: Path):
    trained.evaluate("gate")
    asked = [json.loads(line) for line in engines.read_text().splitlines()]
    names = [request["model"] for request in asked if request["temperature"] == 0]
    assert {name: names.count(name) for name in names} == {
        f"line-{trained.job.champion.digest[:8]}": 28,
        f"line-{trained.challenger[:8]}": 28,
    }


def test_what_was_measured_is_not_measured_again(trained: Round, engines: Path):
    trained.evaluate("report")
    asked = engines.read_text()
    first = _digest(trained, "report")
    del trained.made["report-scores"]
    trained.evaluate("report")
    assert engines.read_text() == asked
    assert _digest(trained, "report") == first


def test_a_verifier_that_was_fixed_measures_again(trained: Round, engines: Path, monkeypatch: pytest.MonkeyPatch):
    """The champion's kept scores would be of other conditions than the challenger's."""
    trained.evaluate("report")
    asked = len(engines.read_text().splitlines())

    def mended(verifiers: object) -> str:
        return "mended"

    monkeypatch.setattr("selftaught.round.steps.evaluate._code", mended)
    trained.evaluate("report")
    assert len(engines.read_text().splitlines()) == asked + 2 * 8


def test_the_model_that_the_line_began_with_answers_the_guard_tasks_alone(round: Round, tmp_path: Path):
    """In the first round it is the champion; after a promotion it is a third model."""
    assert round.run() == "promoted"
    later = Round(tmp_path / "later", recipe(Path(round.recipe["models"]["policy"]), train={"type": "nudge"}), number=2)
    later.until_trained()
    later.evaluate("gate")
    base = round.job.champion.digest
    assert base not in (later.job.champion.digest, later.challenger)
    measured = [score for score in _scores(later, "gate") if score.model == base]
    assert len(measured) == 4 and {score.split for score in measured} == {"guard"}
    both = [score for score in _scores(later, "gate") if score.model != base]
    assert len(both) == 2 * 28


def test_what_an_earlier_round_has_measured_costs_this_one_nothing(tmp_path: Path):
    """The cost of a round on its page: kept scores were paid for where they were made."""
    made = {
        "champion": {"seconds": 50.0, "new_tokens": 900.0, "unanswered": 1.0, "ended": 99.0},
        "challenger": {"seconds": 7.0, "new_tokens": 30.0, "unanswered": 2.0, "ended": 101.0},
    }  # fmt: skip
    parts = [
        SimpleNamespace(whose=name, manifest=SimpleNamespace(digest=name, counts=counts))
        for name, counts in made.items()
    ]
    job: Any = SimpleNamespace(started=100.0, tasks="tasks", recipe=SimpleNamespace(digest="recipe"))
    written = evaluate._write(job, [], cast(Any, parts), tmp_path / "scores")  # pyright: ignore[reportPrivateUsage]
    assert written.counts == {"seconds": 7.0, "new_tokens": 30.0, "unanswered": 3.0}
