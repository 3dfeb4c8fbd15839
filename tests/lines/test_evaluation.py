"""A model measured outside a round: every answer can be had, the numbers follow from them, and MLflow has a run."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from selftaught.blocks import Context, Sampler, Verifier
from selftaught.cli.main import app
from selftaught.evaluation.checks import verifiers
from selftaught.evaluation.runner import evaluate
from selftaught.evaluation.self_correction import SelfCorrection
from selftaught.lines.evaluation import Measured, answers, evaluate_model
from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, Task
from selftaught.testing import ScriptedModel, sums
from selftaught.verification.runner import verify
from tests.rounds import database, model, platform, recipe, recorded_blocks, requests, written

__all__ = ["database", "model", "platform", "recorded_blocks", "requests"]
TWO = [{"name": "attempt"}, {"name": "second", "kind": "refinement", "ask": "Sure?"}]
METRICS = [{"type": "accuracy"}, {"type": "accuracy", "greedy": False, "k": 2}, {"type": "tokens"}]


@pytest.fixture
def printed(platform: Platform, requests: Path, model: Path, tmp_path: Path) -> Result:
    """`selftaught evaluate` on the simulated engine with `--out`."""
    file = written(tmp_path / "recipe.yaml", recipe(model, evaluate=METRICS))
    asked = ["evaluate", "champion", str(file), "--line", "line", "--out", str(tmp_path / "answers.jsonl"), "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    return result


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def test_every_answer_is_in_the_file_and_in_mlflow_are_the_means(printed: Result, platform: Platform, tmp_path: Path):
    found, summaries = rows(tmp_path), {each["metric"]: each for each in json.loads(printed.stdout)}
    assert summaries.keys() == {"accuracy", "mean@2", "tokens"}
    _the_numbers_follow_from_the_rows(found, summaries)
    _the_prompt_is_what_the_engine_was_sent(found, tmp_path / "requests.jsonl")
    _progress_says_what_of(printed.stderr)
    _mlflow_has_a_run(platform, summaries)


async def test_a_metric_of_several_scores_has_a_row_a_task():
    block = SelfCorrection.model_validate({"sample": {"type": "dialogue", "turns": TWO}})
    context = Context(models={"policy": ScriptedModel("The answer is 5.", "The answer is 6.")})

    async def sampled(wanted: Sequence[Task], sampler: Sampler) -> list[Group]:
        return [await sampler.sample(task, context) for task in wanted]

    async def verified(groups: Sequence[Group], by: Sequence[Verifier]) -> list[Group]:
        return await verify(groups, by, context, lambda *_, **__: None)

    tasks = sums()[:1]
    measured = await evaluate(tasks, [block], context, sampled, verified)
    groups = await verified(await sampled(tasks, block.sample), verifiers(block))
    (row,) = answers([block], Measured(measured, {block.name: groups}))
    assert (row["metric"], row["value"], len(row["answers"])) == ("self_correction", 0.0, 1)


def _the_numbers_follow_from_the_rows(found: list[dict[str, Any]], summaries: dict[str, Any]) -> None:
    for metric, summary in summaries.items():
        own = [row for row in found if row["metric"] == metric]
        assert len({row["task"] for row in own}) == len(own) == summary["n"] == 8
        assert sum(row["value"] for row in own) / 8 == pytest.approx(summary["mean"])
    for row in found:
        passed = [answer["passed"] for answer in row["answers"]]
        assert len(passed) == (2 if row["metric"] == "mean@2" else 1)
        if row["metric"] != "tokens":
            assert sum(passed) / len(passed) == row["value"]
        for answer in row["answers"]:
            assert answer["passed"] == all(verdict["passed"] for verdict in answer["verdicts"])
            assert answer["passed"] == (f" {row['gold']}." in answer["text"])


def _the_prompt_is_what_the_engine_was_sent(found: list[dict[str, Any]], requests: Path) -> None:
    sent = [json.loads(line) for line in requests.read_text().splitlines()]
    assert {row["prompt"][-1]["content"] for row in found} == {each["question"] for each in sent}


def _progress_says_what_of(text: str) -> None:
    assert re.search(r"^evaluate accuracy, tokens: 8/8 tasks ", text, re.MULTILINE)
    assert re.search(r"^evaluate mean@2: 8/8 tasks ", text, re.MULTILINE)


def _mlflow_has_a_run(platform: Platform, summaries: dict[str, Any]) -> None:
    client = platform.tracker.client
    experiment = client.get_experiment_by_name("selftaught/line")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id], "tags.`selftaught.kind` = 'measurement'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["report.mean_at_2"] == summaries["mean@2"]["mean"]
    assert run.data.metrics["report.accuracy.high"] == summaries["accuracy"]["high"]
    assert platform.tracker.rounds("line", "line") == []


def test_a_measurement_that_fails_leaves_no_file(platform: Platform, model: Path, tmp_path: Path, monkeypatch):
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selftaught.lines.evaluation.measure", fail)
    out = tmp_path / "answers.jsonl"
    out.write_text("before\n")
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(platform, Recipe.parse(json.dumps(recipe(model))), "line", "champion", "report", out)
    assert out.read_text() == "before\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
