"""What can be taken along: the numbers of the data, nothing that runs, and no more than a page can carry."""

import base64
import csv
import gzip
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.report import downloads as module
from selftaught.report.data import ReportData
from selftaught.report.downloads import COLUMNS, downloads, rollout_lines, scores_csv
from selftaught.report.page import render
from tests.report.sample_report import HOSTILE, LEVELS, MODELS, sample
from tests.report.test_report_reading import reviewed
from tests.report.test_report_tally import group


def table(data: ReportData) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(scores_csv(data), newline="")))


def test_scores_are_a_row_each_with_the_numbers_of_the_data():
    data = sample(3)
    rows = table(data)
    assert len(rows) == len(data.scores)
    assert tuple(rows[0]) == COLUMNS
    for row, score in zip(rows, data.scores, strict=True):
        assert (row["set"], row["metric"], row["task"]) == (score.split, score.metric, score.task)
        assert float(row["value"]) == score.value
        assert (int(row["right"]), int(row["answers"])) == (sum(score.passed), len(score.passed))
        assert int(row["level"]) == LEVELS[row["template"]]
    means = {
        role: sum(float(r["value"]) for r in rows if (r["role"], r["set"]) == (role, "report")) / 200
        for role in ("champion", "challenger")
    }
    shown = {kind.by: kind for kind in data.kinds if kind.by == "level"}
    assert shown
    total = sum(kind.n * kind.challenger for kind in data.kinds if kind.by == "level")
    assert means["challenger"] == pytest.approx(total / 200)


def test_the_model_that_the_line_began_with_is_told_from_the_two():
    data = sample(3)
    anchor = data.scores[0].model_copy(update={"model": MODELS[0].digest, "split": "guard"})
    assert [row["role"] for row in table(data.model_copy(update={"scores": (*data.scores[:2], anchor)}))] == [
        "champion", "challenger", "base",
    ]  # fmt: skip


@given(st.text(min_size=1, max_size=20))
def test_no_cell_is_a_formula_and_every_text_reads_back(text: str):
    data = sample(1)
    score = data.scores[0].model_copy(update={"template": text, "source": f"={text}"})
    written = scores_csv(data.model_copy(update={"scores": (score,)}))
    (row,) = csv.DictReader(io.StringIO(written, newline=""))
    assert row["source"] == f"'={text}"
    assert row["template"] in (text, f"'{text}")
    assert not re.match("[=@\t\r]|[-+](?![0-9])", row["template"])


def test_numbers_below_zero_stay_numbers():
    score = sample(1).scores[0].model_copy(update={"value": -0.5, "template": "-3"})
    (row,) = table(sample(1).model_copy(update={"scores": (score,)}))
    assert (row["value"], row["template"]) == ("-0.5", "-3")
    tiny = score.model_copy(update={"value": -1.3877787807814457e-17})
    assert float(table(sample(1).model_copy(update={"scores": (tiny,)}))[0]["value"]) == tiny.value


def test_rollouts_are_a_line_each_with_every_turn_and_verdict():
    some = reviewed(group("+-", "!+", tokens=(7, 9), level=3, answer="4"), 0)
    first, second = (json.loads(line) for line in rollout_lines([some]))
    assert (first["task"], first["answer"], first["level"], first["judgement"]) == (some.id, "4", 3, "rejected")
    assert [turn["kind"] for turn in first["turns"]] == ["attempt", "feedback", "refinement"]
    assert first["turns"][2]["content"] == f"better {HOSTILE}"
    assert [verdict["passed"] for verdict in first["verdicts"]] == [True, False]
    assert (second["judgement"], second["completion_tokens"]) == ("error", 9)
    assert second["verdicts"][0]["error"] == "no answer in time"


def test_rollouts_of_any_number_of_groups_are_cut_at_a_size_and_read_no_further():
    read: list[int] = []

    def passing():
        for n in range(10**9):
            read.append(n)
            yield group("+", "-", number=n)

    text = "".join(rollout_lines(passing(), most=20_000))
    assert 15_000 < len(text) <= 20_000
    assert all(json.loads(line) for line in text.splitlines())
    assert len(read) <= len(text.splitlines()) / 2 + 1


def test_the_page_carries_both_files():
    data = sample(1)
    page = render(data)
    found = dict(re.findall(r'download="([^"]+)" href="data:[^,]+;base64,([^"]+)"', page))
    assert base64.b64decode(found["scores.csv"]).decode() == scores_csv(data)
    lines = gzip.decompress(base64.b64decode(found["rollouts.jsonl.gz"])).decode()
    assert lines == "".join(rollout_lines(data.groups))


def test_what_is_too_large_for_a_page_is_not_in_it_and_the_page_says_so(monkeypatch: pytest.MonkeyPatch):
    data = sample(1)
    scores, rollouts = downloads(data)
    monkeypatch.setattr(module, "IN_PAGE", len(scores.address) - 100)
    page = render(data)
    assert scores.address not in page
    assert rollouts.address in page
    assert "too large for this page" in page
