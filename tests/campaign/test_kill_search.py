"""kill -9 in the middle of a search, then the same command again: finished trees stay, the others are searched.

As in `test_kill`: the compiled pipeline, real processes, simulated engines. The search that nobody kills is one in this
process, which makes the same calls.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from selftaught.platform import Platform
from selftaught.recipe import Recipe
from selftaught.records import Group, dataset
from selftaught.round.adopt import adopt
from tests.campaign.test_kill import LINE, Run
from tests.rounds import (
    SEARCH,
    Round,
    database,
    engines,
    model,
    platform,
    recipe,
    recorded_blocks,
    requests,
    written,
)
from tests.waiting import until

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

CURATE = {"type": "tree_traces", "threshold": 0, "minimum": 1}


def journaled(run: Run) -> dict[str, Group]:
    """The trees that are in a journal, by task."""
    files = (run.home / "store" / "journals").glob("*/steps/sample/*.jsonl")
    complete = (line for file in files for line in file.read_text().split("\n")[:-1])
    return {group.id: group for group in map(Group.model_validate_json, complete)}


def searches(run: Run) -> list[dict[str, Any]]:
    """What the engines were asked to continue, in order."""
    lines = run.requests.read_text().splitlines() if run.requests.exists() else []
    return [asked for asked in map(json.loads, lines) if "path" in asked]


def timeless(group: Group) -> Group:
    """The group without the seconds that its search took."""
    assert group.tree
    spent = group.tree.spent.model_copy(update={"seconds": 0.0})
    return group.model_copy(update={"tree": group.tree.model_copy(update={"spent": spent})})


def trees(verified: Path) -> dict[str, Group]:
    return {group.id: timeless(group) for group in dataset.read(verified, Group)}


@pytest.mark.usefixtures("engines")
def test_a_killed_search_goes_on_with_the_unfinished_trees(tmp_path: Path, platform: Platform, model: Path):
    searching = recipe(model, sample=SEARCH, curate=CURATE)
    adopt(platform, Recipe.model_validate(searching), LINE)
    unkilled = Round(tmp_path / "whole", searching, LINE, LINE)
    for step in (unkilled.prepare, unkilled.search, unkilled.verify):
        step()
    killed = Run(tmp_path / "cut" / "home", written(tmp_path / "recorded.yaml", searching), 0.15)

    process = killed.start()
    assert until(lambda: len(journaled(killed)) >= 3, 600)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert until(lambda: not killed.processes())
    finished, asked = journaled(killed), len(searches(killed))
    assert 3 <= len(finished) < 12, "the kill came too late to tell"

    assert killed.start().wait() == 0, killed.log.read_text()[-3000:]
    done = {group.task.messages[-1].content for group in finished.values()}
    assert not done & {again["question"] for again in searches(killed)[asked:]}
    assert trees(killed.stored("verified")) == trees(Path(unkilled.made["verified"].path))
    after = journaled(killed)
    assert {key: after[key] for key in finished} == finished
