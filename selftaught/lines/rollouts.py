"""Showing and exporting a round's answers: one row per rollout, with its task and its verdicts.

What is read are the verified groups that a finished round keeps in the store for a time. The rows are JSON Lines, or a
folder that `datasets.load_dataset` reads, with a card. Trees and the engine's token ids stay in the store: steps with
labels are `selftaught steps export`, training examples are pushed with a model.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from selftaught.core.errors import BadInput
from selftaught.core.files import replacing, writing
from selftaught.platform import Platform
from selftaught.records import Group, Rollout, Task, Verdict, struct_of
from selftaught.records.parquet import MESSAGES, write_rows
from selftaught.report.data import RoundReport
from selftaught.round.history import newest_of, records

Row = Mapping[str, Any]

_string, _int, _bool = pa.string(), pa.int64(), pa.bool_()
SCHEMA = pa.schema(
    [
        ("task", _string),
        ("prompt", MESSAGES),
        ("answer", _string),
        ("source", _string),
        ("rollout", _int),
        ("completion", MESSAGES),
        ("passed", _bool),
        ("verdicts", pa.list_(struct_of(Verdict))),
        ("hinted", _bool),
        ("temperature", pa.float64()),
        ("finish_reason", _string),
        ("prompt_tokens", _int),
        ("completion_tokens", _int),
        ("model", _string),
    ]
)
"""The columns of an export. `prompt` and `completion` are messages, as TRL and `datasets` know them."""

DATA = "data/train-00000-of-00001.parquet"


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The verified groups of a round, and whose they are."""

    line: str
    campaign: str
    round: int
    digest: str
    groups: Iterator[Group]


def of_round(platform: Platform, line: str, campaign: str = "", number: int = 0) -> Rollouts:
    """The groups of round `number` of a campaign of `line`; of the last one that finished where that is 0.

    Raises BadInput where there is no such round, or what it answered is not kept any more.
    """
    campaign = newest_of(platform, line, campaign).campaign
    report = _report((record.round for _, record in records(platform, line, campaign)), line, campaign, number)
    digest = next((each.digest for each in report.datasets if each.kind == "verified"), "")
    if not digest or not platform.store.has("datasets", digest):
        why = f"are not in the store any more ({digest[:8]})" if digest else "were never verified"
        raise BadInput(
            f"{line}: the rollouts of round {report.round} {why}. `gc` keeps them for a time (--keep-rollouts): name a "
            "later round, or run the next one."
        )
    return Rollouts(line, campaign, report.round, digest, platform.rows(digest, Group))


def _report(rounds: Iterable[RoundReport], line: str, campaign: str, number: int) -> RoundReport:
    """Of several attempts at a round the last."""
    found = {report.round: report for report in rounds}
    if number and number not in found:
        known = ", ".join(map(str, sorted(found)))
        raise BadInput(f"{line}: campaign '{campaign}' has no finished round {number}. It has {known}.")
    return found[number or max(found)]


def rows(groups: Iterator[Group], task: str = "", passed: bool | None = None) -> Iterator[Row]:
    """The rollouts of those groups whose task's id begins with `task`; `passed` keeps those that did, or did not."""
    for group in groups:
        if group.id.startswith(task):
            for at, rollout in enumerate(group.rollouts):
                if passed in (None, group.passed(at)):
                    yield row(
                        group.task_of(rollout), rollout, group.verdicts[at] if group.verdicts else (), group.passed(at)
                    )


def row(task: Task, rollout: Rollout, verdicts: tuple[Verdict, ...], passed: bool) -> Row:
    """One rollout as a row of SCHEMA."""
    return {
        "task": task.id,
        "prompt": [message.to_row() for message in task.messages],
        "answer": task.answer,
        "source": task.source,
        "rollout": rollout.index,
        "completion": [turn.message.to_row() for turn in rollout.turns],
        "passed": passed,
        "verdicts": [_spelt_out(verdict) for verdict in verdicts],
        "hinted": rollout.hinted,
        "temperature": rollout.temperature,
        "finish_reason": rollout.finish_reason,
        "prompt_tokens": rollout.prompt_tokens,
        "completion_tokens": rollout.completion_tokens,
        "model": rollout.model,
    }


def _spelt_out(verdict: Verdict) -> Row:
    """The verdict with the fields that its row leaves out."""
    defaults = {"turn": verdict.turn, "external": list(verdict.external), "required": verdict.required}
    return verdict.to_row() | defaults


def export(found: Rollouts, chosen: Iterator[Row], to: Path) -> int:
    """Write `chosen` rows of `found` to `to` atomically: a file for `*.jsonl`, else a new folder.

    Returns how many there were. Raises BadInput for none, for a folder that is there, and for another kind of file.
    """
    if to.suffix == ".jsonl":
        return _as_lines(found, chosen, to)
    if to.suffix:
        raise BadInput(f"{to}: no kind of file that is written here. Name *.jsonl, or a folder for a data set.")
    if to.exists():
        raise BadInput(f"{to}: is there already. Name a folder that is not, or remove it.")
    return _as_data_set(found, chosen, to)


def _as_lines(found: Rollouts, chosen: Iterator[Row], to: Path) -> int:
    count = 0
    with writing(to) as file:
        for each in chosen:
            file.write(json.dumps(each, ensure_ascii=False) + "\n")
            count += 1
        require_some(count, found)
    return count


def _as_data_set(found: Rollouts, chosen: Iterator[Row], to: Path) -> int:
    with replacing(to) as folder:
        (folder / DATA).parent.mkdir()
        count = write_rows(folder / DATA, SCHEMA, chosen)
        require_some(count, found)
        (folder / "README.md").write_text(_card(found, count), encoding="utf-8")
    return count


def require_some(count: int, found: Rollouts) -> None:
    """Raise BadInput where none of `found` were chosen."""
    if not count:
        raise BadInput(f"{found.line}: round {found.round} has no such rollouts. Ask for others, or for all of them.")


def _card(found: Rollouts, count: int) -> str:
    """What a reader of the folder has to know; the hub and `datasets` read its head."""
    head = {
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": DATA}]}],
        "tags": ["selftaught"],
    }
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# Rollouts of {found.line}, round {found.round}\n\n"
        f"{count:,} answers that the model gave in round {found.round} of campaign {found.campaign}, a row each, with "
        "what the verifiers said. They are a model's: right, wrong and harmful ones are among them.\n\n"
        f"Data set of groups: `{found.digest}`. `passed` is true where every verifier passed the answer; `hinted` "
        "answers were given with the gold answer in sight; `model` is the digest of the model that answered.\n"
    )
