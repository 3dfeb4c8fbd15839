"""gate: scores in, a decision with its reasons out; the scores here are written by hand, no engine is asked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from selftaught.evaluation.accuracy import Accuracy
from selftaught.evaluation.decision import decision_from_json
from selftaught.platform import Platform
from selftaught.records import Task, TaskScore, dataset
from selftaught.round.job import ModelRef
from tests.examples import imitated
from tests.round.test_fixed_gate import problems
from tests.rounds import Round, recipe

CHALLENGER = "c" * 64


@pytest.fixture
def measured(platform: Platform, model: Path, tmp_path: Path) -> Round:
    """A round with one training example, about to be measured."""
    round = Round(tmp_path / "round", recipe(model), challenger=CHALLENGER)
    round.prepare()
    train = next(task for task in _tasks(round) if task.split == "train")
    _examples(round, train)
    return round


def _tasks(round: Round) -> list[Task]:
    return dataset.read(Path(round.made["tasks"].path), Task)


def _examples(round: Round, *tasks: Task, under: Task | None = None) -> None:
    """Examples that ask `tasks`, said to be made from `under` where that is given."""
    rows = [imitated(task.question, "It is so.", task=(under or task).id) for task in tasks]
    dataset.write(Path(round.artifact("examples").path), rows, "examples")


def _scores(round: Round, champion: Callable[[int], bool], challenger: Callable[[int], bool]) -> None:
    models = {round.job.champion.digest: champion, round.challenger: challenger}
    held_out = [task for task in _tasks(round) if task.split in ("gate", "guard")]
    rows = [
        TaskScore(model=model, metric="accuracy", split=task.split, task=task.id, value=float(right(number)))
        for model, right in models.items()
        for number, task in enumerate(held_out)
    ]
    dataset.write(Path(round.artifact("gate-scores").path), rows, "scores")


def test_a_clear_gain_is_promoted(measured: Round):
    _scores(measured, lambda n: n % 2 == 0, lambda n: True)
    assert measured.gate() == "promoted"
    decision = decision_from_json(Path(measured.made["decision"].path).read_text())
    assert (decision.outcome, decision.gain) == ("promoted", 0.5)
    assert all(check.passed for check in decision.checks)
    figures = measured.made["gate-metrics"].metadata
    assert (figures["champion"], figures["challenger"], figures["gain"]) == (0.5, 1.0, 0.5)
    assert figures["outcome"] == "promoted"


def test_the_gate_is_told_what_values_a_metric_can_have(measured: Round, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Accuracy, "bounds", (-1.0, 1.0))
    _scores(measured, lambda n: n % 2 == 0, lambda n: True)
    measured.gate()
    checks = decision_from_json(Path(measured.made["decision"].path).read_text()).checks
    assert "guard tasks, where it has 0.500: " in next(check.reason for check in checks if check.name == "guard")


def test_a_loss_beside_the_model_that_the_line_began_with_refuses(measured: Round):
    """The gate knows which model that is: each round's loss is within the margin beside the champion before it."""
    base = "b" * 64
    job = measured.job.model_copy(update={"anchor": ModelRef(digest=base)})
    Path(measured.made["job"].path).write_text(job.model_dump_json())
    _scores(measured, lambda n: n % 2 == 0, lambda n: True)
    held_out = [task for task in _tasks(measured) if task.split in ("gate", "guard")]
    rows = dataset.read(Path(measured.made["gate-scores"].path), TaskScore)
    fields = {"metric": "accuracy", "split": "guard", "value": 1.0}
    rows += [TaskScore(model=base, task=task.id, **fields) for task in held_out if task.split == "guard"]
    half = [
        row.model_copy(update={"value": 0.0})
        if row.split == "guard" and row.model == measured.challenger and number % 2
        else row
        for number, row in enumerate(rows)
    ]
    dataset.write(Path(measured.made["gate-scores"].path), half, "scores")
    measured.gate()
    checks = decision_from_json(Path(measured.made["decision"].path).read_text()).checks
    assert not next(check for check in checks if check.name == "guard base").passed


def test_what_one_campaign_spent_on_a_file_is_gone_for_the_next(platform: Platform, model: Path, tmp_path: Path):
    """The gate knows it: the second campaign's first round may err half as much as the first one's."""
    file, alphas = tmp_path / "problems.jsonl", list[float]()
    file.write_text("".join(json.dumps(row) + "\n" for row in problems()))
    tasks = {"type": "jsonl", "path": str(file), "train": 40, "gate": 20, "report": 20, "guard": 0}
    for campaign in ("one", "two"):
        round = Round(tmp_path / campaign, recipe(model, tasks=tasks), campaign=campaign, challenger=CHALLENGER)
        round.prepare()
        _examples(round, next(task for task in _tasks(round) if task.split == "train"))
        _scores(round, lambda n: n % 2 == 0, lambda n: True)
        round.gate()
        alphas.append(decision_from_json(Path(round.made["decision"].path).read_text()).alpha)
    assert alphas == pytest.approx([0.0125, 0.00625])


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        pytest.param(lambda n: n % 2 == 0, lambda n: n % 2 == 1, id="as good"),
        pytest.param(lambda n: n > 2, lambda n: True, id="within the noise"),
        pytest.param(lambda n: True, lambda n: False, id="worse"),
    ],
)
def test_anything_less_is_refused_with_a_reason(measured: Round, champion, challenger):
    _scores(measured, champion, challenger)
    assert measured.gate() == "refused"
    decision = decision_from_json(Path(measured.made["decision"].path).read_text())
    assert any(not check.passed and check.reason for check in decision.checks)


def test_equal_scores_give_the_same_decision(measured: Round):
    _scores(measured, lambda n: n % 2 == 0, lambda n: n % 3 > 0)
    measured.gate()
    first = Path(measured.made["decision"].path).read_text()
    measured.gate()
    assert Path(measured.made["decision"].path).read_text() == first


@pytest.mark.parametrize("split", ["gate", "report", "guard"])
@pytest.mark.parametrize("under_its_own_id", [True, False])
def test_a_held_out_task_among_the_examples_fails_the_round(
    measured: Round, capfd: pytest.CaptureFixture[str], split: str, under_its_own_id: bool
):
    """Whatever the scores say, whichever set it is of, and though it is said to be made from a training task."""
    _scores(measured, lambda n: False, lambda n: True)
    leaked = next(task for task in _tasks(measured) if task.split == split)
    trained = next(task for task in _tasks(measured) if task.split == "train")
    _examples(measured, leaked, under=None if under_its_own_id else trained)
    with pytest.raises(SystemExit):
        measured.gate()
    stderr = capfd.readouterr().err
    assert "training examples overlap held-out tasks" in stderr
    assert leaked.id in stderr
    assert not Path(measured.made["decision"].path).exists()


def test_the_decision_is_json_that_machines_read(measured: Round):
    _scores(measured, lambda n: False, lambda n: True)
    measured.gate()
    decision = json.loads(Path(measured.made["decision"].path).read_text())
    assert {"outcome", "gain", "low", "high", "p_value", "checks"} <= set(decision)
