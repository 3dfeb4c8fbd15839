"""Downloads in the page: scores as CSV and rollouts as JSON lines, up to a size limit.

A page carries `IN_PAGE` bytes of each at most, and says what it leaves out. The same two files, with all rollouts up to
`MOST_ROLLOUTS` bytes, are artifacts of the round's run.
"""

import base64
import csv
import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from selftaught.records import Group, TaskScore
from selftaught.report.data import ReportData
from selftaught.report.formatting import short
from selftaught.report.reading import JudgedRollout, judged

SCORES, ROLLOUTS = "scores.csv", "rollouts.jsonl"
IN_PAGE = 1_000_000
"""Bytes of one download, as the page carries it."""
MOST_ROLLOUTS = 20_000_000
"""Bytes of rollouts that a run has as an artifact; the data set has all of them."""
COLUMNS = (
    "set", "metric", "role", "model", "task", "level", "template", "source", "value", "right", "answers",
    "not_judged", "tokens",
)  # fmt: skip
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?\Z")


@dataclass(frozen=True, slots=True)
class Download:
    """A file in the page: its name, what it holds and its address; no address where it is too large to be carried."""

    name: str
    rows: int
    size: int
    address: str


def downloads(data: ReportData) -> list[Download]:
    """The downloads of a page: the last round's scores, and the rollouts of the groups that it carries."""
    scores, rollouts = scores_csv(data), list(_lines(data.groups))
    packed = gzip.compress("".join(rollouts).encode(), mtime=0)
    return [
        _download(SCORES, len(data.scores), scores.encode(), "text/csv;charset=utf-8"),
        _download(f"{ROLLOUTS}.gz", len(rollouts), packed, "application/gzip"),
    ]


def _download(name: str, rows: int, content: bytes, kind: str) -> Download:
    coded = base64.b64encode(content).decode()
    return Download(name, rows, len(content), f"data:{kind};base64,{coded}" if len(coded) <= IN_PAGE else "")


def scores_csv(data: ReportData) -> str:
    """One row a score of the last round, in the order of `COLUMNS`; what is not a number begins like no formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for score in data.scores:
        writer.writerow(map(_cell, _score(data, score)))
    return out.getvalue()


def _score(data: ReportData, score: TaskScore) -> tuple[object, ...]:
    return (
        score.split,
        score.metric,
        _role(data, score.model),
        short(score.model),
        score.task,
        data.levels.get(score.task, ""),
        score.template or "",
        score.source,
        score.value,
        sum(score.passed),
        len(score.passed),
        score.errors,
        score.completion_tokens,
    )


def _role(data: ReportData, model: str) -> str:
    last = data.last
    if model == last.champion.digest:
        return "champion"
    return "challenger" if last.challenger and model == last.challenger.digest else "base"


def _cell(value: object) -> str:
    """A cell that no spreadsheet runs: text that begins like a formula gets an apostrophe (OWASP, CSV injection)."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not _NUMBER.match(text) else text


def rollout_lines(groups: Iterable[Group], most: int = MOST_ROLLOUTS) -> Iterator[str]:
    """The rollouts of `groups`, a line each, as many from the first on as take `most` bytes; ids are in random order.

    Groups are read as far as they are needed.
    """
    size = 0
    for line in _lines(groups):
        size += len(line)  # ASCII
        if size > most:
            return
        yield line


def _lines(groups: Iterable[Group]) -> Iterator[str]:
    for group in groups:
        for each in judged(group):
            yield json.dumps(_rollout(group, each)) + "\n"


def _rollout(group: Group, each: JudgedRollout) -> Mapping[str, object]:
    task, rollout = each.task, each.rollout
    return {
        "task": task.id,
        "messages": [message.to_row() for message in task.messages],
        "answer": task.answer,
        "level": task.level,
        "template": task.template,
        "source": task.source,
        "index": rollout.index,
        "model": rollout.model,
        "temperature": rollout.temperature,
        "finish_reason": rollout.finish_reason,
        "completion_tokens": rollout.completion_tokens,
        "turns": [turn.message.to_row() | {"kind": turn.kind} for turn in rollout.turns],
        "judgement": each.judgement,
        "verdicts": [verdict.to_row() for verdict in each.verdicts],
    }
