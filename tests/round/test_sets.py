"""Rounds of a recipe with named sets: what is measured when, what the gate sees of it, and what the page tells."""

import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.core.errors import BadInput
from selftaught.lines.evaluation import evaluate_model
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Task, TaskScore, dataset
from selftaught.report.page import render
from selftaught.round.adopt import adopt
from selftaught.round.history import page_of
from selftaught.round.job import Job
from selftaught.state.round_key import RoundKey
from tests.rounds import Round, database, engines, platform, recipe, recorded_blocks, requests, tiny_model

__all__ = ["database", "engines", "platform", "recorded_blocks", "requests"]

SETS = {
    "ood": {"tasks": {"type": "word_problems", "levels": [2], "train": 1, "gate": 1, "report": 6}},
    "kept": {
        "tasks": {"type": "word_problems", "levels": [3], "train": 1, "gate": 1, "report": 5},
        "metrics": {"type": "accuracy", "greedy": False, "k": 2},
        "margin": 0.9,
    },
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "tiny")


@pytest.fixture
def asked(model: Path) -> dict[str, Any]:
    """A recipe of one round on problems of one level, with a set for reports and one that the gate looks at."""
    return recipe(model, tasks={"levels": [1], "guard": 0}, train={"type": "nudge"}) | {"sets": SETS}


def ran(platform: Platform, asked: dict[str, Any], folder: Path, number: int = 1) -> Round:
    adopt(platform, Recipe.parse(json.dumps(asked)), "line")
    made = Round(folder, asked, number=number)
    made.run()
    return made


def scores(round: Round, which: str) -> list[TaskScore]:
    return dataset.read(Path(round.made[f"{which}-scores"].path), TaskScore)


def counted(rows: list[TaskScore], split: str, metric: str) -> int:
    return sum((row.split, row.metric) == (split, metric) for row in rows)


def test_a_set_is_measured_once_for_both_models_and_the_gate_sees_only_the_one_with_a_margin(
    platform: Platform, engines: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    first = ran(platform, asked, tmp_path / "first")
    before, after = scores(first, "gate"), scores(first, "report")
    assert {row.split for row in before} == {"gate", "set.kept"}
    assert {row.split for row in after} == {"report", "set.ood"}
    assert (counted(before, "set.kept", "mean@2"), counted(after, "set.ood", "accuracy")) == (2 * 5, 2 * 6)
    checks = json.loads(Path(first.made["decision"].path).read_text())["checks"]
    assert [each["name"] for each in checks if each["name"].startswith("set.")] == ["set.kept"]

    page = page_of(platform, RoundKey("line", "campaign"))
    assert set(page.last.measured_on) == {"gate", "report", "set.kept", "set.ood"}
    html = render(page)
    assert "<td>set ood</td>" in html
    assert "The gate looked at set kept (" in html
    metrics = platform.tracker.client.get_run(first.job.run).data.metrics
    assert {"set.ood.accuracy.champion", "set.ood.accuracy.challenger", "set.kept.mean_at_2.gain"} <= {
        name.replace("@", "_at_") for name in metrics
    }


def test_a_set_is_the_same_in_the_next_round_and_the_base_model_answers_the_one_with_a_margin(
    platform: Platform, engines: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    first, second = (ran(platform, asked, tmp_path / str(number), number) for number in (1, 2))
    tasks = [
        {task.id for task in dataset.read(Path(each.made["tasks"].path), Task) if task.split == "set.ood"}
        for each in (first, second)
    ]
    assert tasks[0] == tasks[1]
    base, job = first.job.champion.digest, second.job
    if base not in (job.champion.digest, second.challenger):  # the first round was promoted
        measured = [row for row in scores(second, "gate") if row.model == base]
        assert {(row.split, row.metric) for row in measured} == {("set.kept", "mean@2")}


def test_a_model_is_measured_on_a_set_by_name(
    platform: Platform, engines: Path, asked: dict[str, Any], tmp_path: Path
) -> None:
    parsed = Recipe.parse(json.dumps(asked))
    (found,) = evaluate_model(platform, parsed, "line", parsed.policy, "set.kept")
    assert (found.split, found.metric, found.n) == ("set.kept", "mean@2", 5)
    with pytest.raises(BadInput, match=r"unknown held-out split 'kept'\..*\n  accepted: .*set\.ood, set\.kept"):
        evaluate_model(platform, parsed, "line", parsed.policy, "kept")


def test_a_round_of_before_there_were_sets_is_read(platform: Platform, asked: dict[str, Any], tmp_path: Path) -> None:
    del asked["sets"]
    adopt(platform, Recipe.parse(json.dumps(asked)), "line")
    made = Round(tmp_path / "first", asked)
    made.prepare()
    assert "sets" not in Path(made.made["job"].path).read_text()
    assert Job.read(made.made["job"].path).recipe.sets == {}
