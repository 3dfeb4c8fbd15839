"""mcts: each shard searches its own tasks once, and what a complete round makes of trees is reported."""

import json
from pathlib import Path

import pytest

from selftaught.core.errors import RoundFailed
from selftaught.records import Example, Group, dataset
from selftaught.round.history import newest, page_of
from tests.rounds import SEARCH, Round, recipe

CURATE = [{"type": "tree_traces", "threshold": 0, "minimum": 1}, {"type": "step_values", "minimum": 1}]


@pytest.fixture
def round(platform, engines: Path, model: Path, tmp_path: Path) -> Round:
    """A round that searches."""
    return Round(tmp_path / "round", recipe(model, sample=SEARCH, curate=CURATE))


def _groups(round: Round) -> list[Group]:
    return [g for shard in (0, 1) for g in dataset.read(Path(round.made[f"groups-{shard}"].path), Group)]


def test_every_task_has_a_tree_whose_answers_are_its_rollouts(round: Round):
    round.prepare()
    round.search()
    groups = _groups(round)
    assert len({group.id for group in groups}) == 12
    for group in groups:
        assert group.tree and group.tree.spent.iterations == 3
        answers = [node.index for node in group.tree.nodes if node.terminal]
        assert [rollout.index for rollout in group.rollouts] == answers
        for rollout in group.rollouts:
            assert rollout.text == group.tree.text(rollout.index)
            assert bytes(rollout.turns[0].token_ids).decode() == rollout.text
    metadata = round.made["search-metrics-0"].metadata
    assert metadata["search.trees"] == 6
    assert metadata["search.ended.iterations"] == 6


def test_trees_that_were_journaled_are_not_searched_again(round: Round, engines: Path, platform):
    round.prepare()
    round.search()
    (key, *_) = platform.store.claims("steps/sample")
    digest = platform.store.claimed(key).decode()
    (shard,) = (s for s in (0, 1) if _digest(round, s) == digest)
    platform.store.release(key)
    journal = platform.store.directory / "journals" / "line" / f"{key}.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:4]))
    before, asked = {g.id: g for g in _groups(round)}, len(engines.read_text().splitlines())
    round.made.pop(f"groups-{shard}")
    round.search()
    again = [json.loads(line) for line in engines.read_text().splitlines()[asked:]]
    assert len({each["question"] for each in again}) == 2
    for group in _groups(round):
        assert _timeless(group) == _timeless(before[group.id])


def _digest(round: Round, shard: int) -> str:
    return round.made[f"groups-{shard}"].metadata["digest"]


def _timeless(group: Group) -> Group:
    assert group.tree
    spent = group.tree.spent.model_copy(update={"seconds": 0.0})
    return group.model_copy(update={"tree": group.tree.model_copy(update={"spent": spent})})


def test_a_round_of_search_is_told_with_its_trees(round: Round, platform):
    round.run()
    examples = dataset.read(Path(round.made["examples"].path), Example)
    assert {example.target.type for example in examples} == {"imitate", "regress"}
    report = page_of(platform, newest(platform, "line", "campaign"))
    assert report.last.search
    assert report.last.search.figures["search.trees"] == 12
    solved = sum(any(g.accepted()) for g in dataset.read(Path(round.made["verified"].path), Group))
    assert report.last.search.figures["search.solved"] == solved
    controls = [g.control for g in dataset.read(Path(round.made["verified"].path), Group) if g.control]
    assert report.last.search.figures["search.control.tasks"] == len(controls) == 2  # one of each shard's six
    assert all(len(control.verdicts) == len(control.rollouts) > 0 for control in controls)
    assert platform.tracker.metrics(round.job.run)["search.control.tasks"] == 2
    reported_on = (dataset.manifest(Path(round.made[f"groups-{shard}"].path)) for shard in (0, 1))
    trees = report.last.search.figures["search.spent.tokens"]
    assert sum(each.counts["new_tokens"] for each in reported_on) == trees + sum(control.tokens for control in controls)
    page = Path(round.made["page"].path).read_text()
    assert "Trees to look into" in page
    assert "Thought 0 of" in page
    assert "Against independent samples" in page


def test_a_search_whose_values_are_no_numbers_fails_the_round_and_says_so(round: Round, monkeypatch):
    from selftaught.inference.endpoint import Endpoint

    async def odds(*_):
        return [[float("nan"), 0.5]]

    monkeypatch.setattr(Endpoint, "odds", odds)
    round.prepare()
    with pytest.raises((RoundFailed, SystemExit)) as failed:
        round.search()
    assert "6 of 6 trees failed" in str(failed.value) or failed.type is SystemExit
