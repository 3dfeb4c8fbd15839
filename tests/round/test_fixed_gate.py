"""Two rounds on gate tasks that stay the same, with two metrics and two verifiers: what one measures is its own.

The problems come from a file, so that every round meets the same held-out ones; engines are recorded.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught.blocks import Draw
from selftaught.core.statistics import alpha_spending
from selftaught.records import TaskScore
from selftaught.report.data import ReportData
from selftaught.round.history import history, planned
from selftaught.tasks.sources.word_problems import WordProblems
from tests.campaign.test_local import Desk, desk
from tests.rounds import database, model, platform, recorded_blocks, requests

__all__ = ["database", "desk", "model", "platform", "recorded_blocks", "requests"]
SEVENS = r"7\.$"
VERIFIERS = [{"type": "answer_match"}, {"type": "rules", "forbid": [SEVENS]}]
METRICS = [
    {"type": "accuracy", "verify": VERIFIERS},
    {"type": "accuracy", "greedy": False, "k": 2, "verify": VERIFIERS},
]


@pytest.fixture
def rounds(desk: Desk, tmp_path: Path) -> list[ReportData]:
    """Both rounds; the first gains, and leaves room."""
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in problems()))
    tasks = {"type": "jsonl", "path": str(file), "train": 40, "gate": 20, "report": 20, "guard": 0}
    changes: dict[str, Any] = {"evaluate": METRICS, "verify": VERIFIERS, "train": {"type": "nudge", "gain": 0.5}}
    changes["gate"] = {"type": "paired_gain", "min_gain": 0.05, "guard": "none"}
    return [ended.report for ended in desk.campaign(2, tasks=tasks, **changes).run()]


def problems() -> list[dict[str, Any]]:
    """Problems that the simulated engine can solve."""
    drawn = WordProblems(levels=(1, 2), train=200, gate=1, report=1).draw(Draw(campaign=1, round=1))
    return [{"question": task.question, "answer": task.answer} for task in drawn if task.split == "train"]


def test_what_is_measured_twice_on_the_same_tasks_is_measured_by_itself(desk: Desk, rounds: list[ReportData]):
    one, two = rounds
    _the_second_round_has_less_of_the_budget(one, two)
    _no_round_is_among_those_before_it(desk)
    for each in rounds:
        scores = list(_measured(desk, each))
        _metrics_have_rollouts_of_their_own(scores)
        _both_verifiers_count(scores)


def _measured(desk: Desk, report: ReportData) -> Iterator[TaskScore]:
    """The round's scores in full: its record has the texts that the page shows."""
    for made in report.last.datasets:
        if made.kind in ("gate_scores", "report_scores"):
            yield from desk.platform.rows(made.digest, TaskScore)


def _the_second_round_has_less_of_the_budget(one: ReportData, two: ReportData) -> None:
    """What the first round spent is gone: the gate knows it."""
    assert one.last.gate and two.last.gate
    assert two.last.gate.alpha == pytest.approx(alpha_spending(2, 0.025, one.last.gate.alpha))


def _no_round_is_among_those_before_it(desk: Desk) -> None:
    """Nor when it is run again after its end: what it spent would be spent before it."""
    of: list[Any] = list(planned(desk.platform, "line").values())
    assert [[each.round for each in history(desk.platform, job)] for job in of] == [[], [1]]


def _metrics_have_rollouts_of_their_own(scores: Sequence[TaskScore]) -> None:
    assert {(s.metric, len(s.texts)) for s in scores} == {("accuracy", 1), ("mean@2", 2)}


def _both_verifiers_count(scores: Sequence[TaskScore]) -> None:
    for score in scores:
        assert score.value == pytest.approx(sum(score.passed) / len(score.passed))
        assert not any(
            passed and re.search(SEVENS, text) for text, passed in zip(score.texts, score.passed, strict=True)
        )
    right = [text for score in scores for text in score.texts if f" {score.answer}." in text]
    assert any(re.search(SEVENS, text) for text in right)
