"""Rounds that resume from the trees of earlier ones: with the policy that grew them, and from nothing once it has
moved.

The steps of complete rounds in this process, on simulated engines, with training tasks that are the same in every
round.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from selftaught.platform import Platform
from selftaught.records import Group, Task, dataset
from selftaught.round import history
from selftaught.round.job import Job, ModelRef
from selftaught.round.reuse import earlier_trees, reusable
from selftaught.state.journal import remove_journal, stored_journals
from selftaught.state.round_key import RoundKey
from tests.campaign.test_kill_search import timeless
from tests.rounds import (
    REPOSITORY,
    SEARCH,
    Round,
    database,
    engines,
    environment,
    model,
    platform,
    recipe,
    recorded_blocks,
    requests,
)
from tests.waiting import until

__all__ = ["database", "engines", "model", "platform", "recorded_blocks", "requests"]

REUSING = SEARCH | {"reuse": True, "control": 0, "limits": {"iterations": 1, "depth": 3}}
CURATE = {"type": "tree_traces", "threshold": 0, "minimum": 1}


def searching(model: Path, gain: float, sample: Mapping[str, Any] = REUSING, **stage: Any) -> dict[str, Any]:
    """A recipe that searches the same tasks in every round; with a `gain` of 0 the gate refuses."""
    train = {"type": "nudge", "gain": gain}
    return recipe(model, tasks={"type": "again"}, sample=sample, curate=CURATE, train=train, **stage)


def rounds(folder: Path, fields: dict[str, Any], *numbers: int) -> list[Round]:
    return [Round(folder / str(number), fields, number=number) for number in numbers]


def groups(round: Round) -> list[Group]:
    return dataset.read(Path(round.made["verified"].path), Group)


def begun(round: Round) -> list[str]:
    """The digests of the data sets that the round's trees continued from."""
    return [group.tree.begun.trees for group in groups(round) if group.tree and group.tree.begun]


def trees_of(round: Round) -> str:
    return dataset.manifest(Path(round.made["verified"].path)).digest


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines take their time, so that a step can be killed amid its requests."""
    monkeypatch.setenv("RECORDED_SECONDS", "0.1")


@pytest.fixture
def refused(engines: Path, platform: Platform, model: Path, tmp_path: Path) -> list[Round]:
    """A refused round, and the one after it as far as its trees are verified."""
    first, second = rounds(tmp_path, searching(model, 0), 1, 2)
    assert first.run() == "refused"
    for step in (second.prepare, second.search, second.verify):
        step()
    return [first, second]


def test_a_round_with_the_same_policy_resumes_from_the_newest_trees(
    refused: list[Round], platform: Platform, model: Path, tmp_path: Path
):
    first, second = refused
    before = {group.id: group for group in groups(first)}
    assert begun(second) == [trees_of(first)] * 12
    for group in groups(second):
        had, tree = before[group.id].tree, group.tree
        assert had and had.growth and tree and tree.begun
        own = had.nodes[: had.growth.nodes]
        assert [(node.text, node.parent) for node in tree.nodes[: len(own)]] == [(n.text, n.parent) for n in own]
        assert tree.iterations == had.iterations + tree.spent.iterations
    # once it has a record too, it is the newest
    second.train(), second.evaluate("gate"), second.gate(), second.evaluate("report"), second.report()
    (third,) = rounds(tmp_path, searching(model, 0), 3)
    third.prepare()
    assert [past.trees for past in third.job.reused] == [trees_of(second), trees_of(first)]
    with earlier_trees(platform, third.job, dataset.read(Path(third.made["tasks"].path), Task)) as trees:
        assert {trees[task].trees for task in trees} == {trees_of(second)}
        assert set(trees) == set(before)
    record = history.recorded(platform, RoundKey("line", "campaign", 2))
    assert record
    named = {each.kind: each.digest for each in record.round.datasets}
    assert named["trees of line/campaign/1-0"] == trees_of(first)
    inputs = platform.tracker.client.get_run(second.job.run).inputs.dataset_inputs
    assert "trees of line/campaign/1-0" in [each.dataset.name for each in inputs]
    parents = dataset.manifest(Path(second.made["verified"].path)).parents
    assert trees_of(first) in parents.values()


def test_a_round_asks_for_no_step_that_an_earlier_one_has(refused: list[Round], requests: Path):
    asked = [line for line in map(json.loads, requests.read_text().splitlines()) if "path" in line]
    assert len(begun(refused[1])) == 12
    openings = [line for line in asked if not line["path"] and line["n"] == 2]
    assert len(openings) == len({line["question"] for line in openings}) == 12, "the root of each tree grows once"


@pytest.mark.usefixtures("engines")
def test_a_policy_that_has_moved_begins_from_nothing(platform: Platform, model: Path, tmp_path: Path):
    first, second = rounds(tmp_path, searching(model, 0.7), 1, 2)
    assert first.run() == "promoted"
    for step in (second.prepare, second.search, second.verify):
        step()
    assert second.job.sampler != first.job.sampler
    assert second.job.reused == ()
    assert begun(second) == []


def changed(job: Job, **stage: Any) -> Job:
    found = job.recipe.model_dump(mode="json")
    found["stages"] = [found["stages"][0] | stage]
    return job.model_copy(update={"recipe": type(job.recipe).model_validate(found)})


def test_what_trees_may_be_resumed_and_whose_values_hold(refused: list[Round], platform: Platform):
    job = refused[1].job

    def found(job: Job) -> list[bool]:
        return [past.valued for past in reusable(platform, job)]

    other = ModelRef(digest="f" * 64)
    assert found(job) == [True]
    assert found(job.model_copy(update={"campaign": "another"})) == [True], "it is the line's"
    assert found(job.model_copy(update={"roles": {"value": other}})) == [False]
    assert found(changed(job, sample=REUSING | {"value": {"type": "constant"}})) == [False]
    assert found(changed(job, verify=[{"type": "answer_match"}, {"type": "equations"}])) == [False]
    assert found(job.model_copy(update={"sampler": other})) == []
    assert found(changed(job, sample=REUSING | {"reuse": False})) == []
    assert found(changed(job, sample=REUSING | {"expand": SEARCH["expand"] | {"temperature": 0.9}})) == []
    quiet = job.recipe.model_copy(update={"chat_template": {"enable_thinking": False}})
    assert found(job.model_copy(update={"recipe": quiet})) == []
    platform.store.remove("datasets", trees_of(refused[0]))
    assert found(job) == [], "it has been removed"


STEP = "import sys; from selftaught.round.steps import sample; sample.run(sys.argv[1], 0, sys.argv[2], sys.argv[3])"


@pytest.mark.usefixtures("slowly")
def test_killed_it_resumes_from_the_same_trees(
    refused: list[Round], platform: Platform, requests: Path, tmp_path: Path
):
    """kill -9 of the step, then the step again, and once more as if there had been no kill."""
    third = Round(tmp_path / "third", refused[1].recipe, number=2, attempt=1, shards=1)
    third.prepare()
    assert [past.trees for past in third.job.reused] == [trees_of(refused[0])]

    def asked() -> list[str]:
        lines = map(json.loads, requests.read_text().splitlines())
        return [line["question"] for line in lines if "path" in line]

    def journaled() -> dict[str, Group]:
        (file,) = (platform.settings.home / "store" / "journals" / "line").rglob("*.jsonl")
        return {group.id: group for group in map(Group.model_validate_json, file.read_text().split("\n")[:-1])}

    def clean() -> None:
        for claim in platform.store.claims("steps/sample"):
            platform.store.release(claim)
        for journal in stored_journals(platform.store):
            remove_journal(platform.store, journal.name)

    clean()
    arguments = [third.made["job"].path, third.made["tasks"].path, str(tmp_path / "killed")]
    env = environment(platform.settings.home, SELFTAUGHT_ENGINES=os.environ["SELFTAUGHT_ENGINES"])
    process = subprocess.Popen([sys.executable, "-c", STEP, *arguments], env=env, cwd=REPOSITORY)
    assert until(lambda: any(platform.settings.home.rglob("journals/line/**/*.jsonl")) and len(journaled()) >= 2, 120)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished, before = journaled(), len(asked())
    assert 2 <= len(finished) < 12, "the kill came too late to tell"

    third.search()
    done = {group.task.messages[-1].content for group in finished.values()}
    assert not done & set(asked()[before:])
    again = dataset.read(Path(third.made["groups-0"].path), Group)
    clean()
    unkilled = Round(tmp_path / "unkilled", refused[1].recipe, number=2, attempt=1, shards=1)
    unkilled.prepare()
    unkilled.search()
    full = dataset.read(Path(unkilled.made["groups-0"].path), Group)
    assert [timeless(group) for group in again] == [timeless(group) for group in full]
    assert all(group.tree and group.tree.begun for group in full)
